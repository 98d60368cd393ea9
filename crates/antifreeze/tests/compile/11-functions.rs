use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    async fn settle(&mut self) {}

    unsafe fn poke(&mut self) {}

    fn put<T>(&mut self, thing: T) {
        drop(thing);
    }

    fn all(&self) -> impl Iterator<Item = i64> {
        [1].into_iter()
    }

    #[lock(none)]
    fn balance(&self) -> i64 {
        1
    }
}

fn main() {}
