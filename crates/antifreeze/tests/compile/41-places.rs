use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    #[idempotent]
    fn balance(&self) -> i64 {
        1
    }

    #[default]
    fn deposit(&mut self, #[oneway] amount: i64) -> i64 {
        amount
    }

    #[oneway(sometimes)]
    #[rename("audit")]
    fn note(&self) {}

    #[private]
    #[quick]
    fn secret(&self) {}
}

fn main() {}
