use antifreeze_sync::synchronized;

#[synchronized]
struct Account;

#[synchronized]
impl Account {}

#[synchronized]
trait Bank {}

#[synchronized]
mod bank {}

fn main() {}
