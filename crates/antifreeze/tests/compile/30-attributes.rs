use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    #[attr]
    fn owner(&self, upper_case: bool) -> String {
        upper_case.to_string()
    }

    #[attr]
    fn nothing(&self) {}

    #[attr(set)]
    fn set_limits(&mut self, low: i64, high: i64) {
        let _ = low + high;
    }

    #[attr(set)]
    fn change_owner(&mut self, owner: String) {
        drop(owner);
    }

    #[attr(get)]
    #[oneway]
    fn colour(&self) -> String {
        String::new()
    }
}

fn main() {}
