use std::collections::BTreeMap;

use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    fn default_first(&self, #[default] a: i64, b: i64) -> i64 {
        a + b
    }

    fn rest_first(&self, #[args] rest: Vec<i64>, last: i64) -> i64 {
        rest.len() as i64 + last
    }

    fn keywords_first(&self, #[kwargs] named: BTreeMap<String, i64>, last: i64) -> i64 {
        named.len() as i64 + last
    }

    fn rest_of_nothing(&self, #[args] rest: i64) -> i64 {
        rest
    }
}

fn main() {}
