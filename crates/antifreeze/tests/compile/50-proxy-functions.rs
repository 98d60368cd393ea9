use antifreeze::proxy;

#[proxy]
trait Account {
    fn deposit(&mut self, amount: i64) -> i64;
    fn currency() -> String;
    async fn settle(&self);
    fn owner(&self) -> &str;
    fn connect(&self);
    fn balance(&self) -> i64 {
        1
    }
    #[oneway]
    fn audit(&self) -> i64;
    #[quick]
    fn limit(&self) -> i64;
    fn fine(&self) -> i64;
}

#[proxy]
trait AsyncAccount {
    async fn settle(&self);
    fn balance(&self) -> i64;
}

fn main() {
    // The proxy is there, with the methods that are right.
    let account = AccountProxy::connect("PYRO:account@localhost:9090").unwrap();
    account.fine().unwrap();
}
