use antifreeze::expose;

struct Account;

#[expose]
impl Clone for Account {
    fn clone(&self) -> Self {
        Self
    }
}

#[expose]
struct Other;

struct View<'a>(&'a str);

#[expose]
impl View<'_> {
    fn length(&self) -> usize {
        self.0.len()
    }
}

#[expose(name = "Third")]
impl Other {}

fn main() {}
