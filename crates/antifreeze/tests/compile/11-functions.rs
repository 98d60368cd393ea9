use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    #[quick]
    async fn settle(&mut self) {}

    fn settle_later(&self) -> impl Future<Output = i64> {
        async { 1 }
    }

    unsafe fn poke(&mut self) {}

    fn put<T>(&mut self, thing: T) {
        drop(thing);
    }

    #[lock(read)]
    fn balance(&self) -> i64 {
        1
    }
}

fn main() {}
