use antifreeze::expose;

struct Account;

#[expose]
impl Account {
    fn pair(&self, (a, b): (i64, i64)) -> i64 {
        a + b
    }

    fn show(&self, what: impl std::fmt::Display) -> String {
        what.to_string()
    }

    fn fill(&self, text: &mut String) {
        text.push('x');
    }

    fn join(&self, texts: Vec<&str>) -> String {
        texts.concat()
    }

    fn keep(&self, text: &'static str) -> usize {
        text.len()
    }
}

fn main() {}
