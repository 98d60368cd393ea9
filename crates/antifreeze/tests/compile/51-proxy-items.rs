use antifreeze::proxy;

#[proxy]
trait Shelf<T> {
    fn first(&self) -> T;
}

#[proxy]
trait Account: Send {
    const LIMIT: i64;
    fn balance(&self) -> i64;
}

#[proxy]
struct Other;

#[proxy(Third)]
trait Third {}

fn main() {}
