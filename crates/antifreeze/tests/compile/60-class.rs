use antifreeze::Class;

#[derive(Class)]
struct Order {
    id: u64,
}

#[derive(Class)]
#[class("shop.Order")]
struct Named {
    id: u64,
}

#[derive(Class)]
#[class = "shop.Pair"]
struct Pair(u64, u64);

#[derive(Class)]
#[class = "shop.Shape"]
enum Shape {
    Circle,
}

#[derive(Class)]
#[class = "shop.Box"]
struct Box<T> {
    inner: T,
}

fn main() {}
