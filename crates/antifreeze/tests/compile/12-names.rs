use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    fn _hidden(&self) {}

    fn __init__(&self) {}

    #[rename = "not a name"]
    fn named(&self) {}

    fn twice(&self) {}

    #[rename = "twice"]
    fn again(&self) {}
}

fn main() {}
