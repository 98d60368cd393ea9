//! Nothing has to be imported, nothing of the user's gets in the way, and nothing is warned of.
#![no_implicit_prelude]
#![deny(warnings, missing_docs, unused_qualifications, unreachable_pub, single_use_lifetimes)]

/// Names of the prelude, with other meanings.
pub struct Ok;
/// Not the one of `core`.
pub struct Some;
/// Neither.
pub mod core {}
/// Neither.
pub mod std {}

/// An object.
pub struct Account;

#[::antifreeze::expose]
impl Account {
    fn text(&mut self, this: &str, #[default] out: &[u8]) -> usize {
        this.len() + out.len()
    }
    fn nothing() {}
    #[deprecated]
    fn old(&self) {}
    #[attr]
    fn name(&self) -> &str {
        "name"
    }
    #[attr(set)]
    fn set_name(&self, _name: &str) {}
    async fn later(&mut self, this: &str, #[default] out: &[u8]) -> usize {
        this.len() + out.len()
    }
    #[oneway]
    async fn note(&self) {}
    async fn free() {}
    #[deprecated]
    async fn older(&self) {}
    #[attr]
    async fn colour(&self) -> &str {
        "blue"
    }
}

/// What it passes.
#[derive(::antifreeze::Class)]
#[class = "bank.Transfer"]
pub struct Transfer {
    /// How much.
    pub amount: u64,
    note: ::std::string::String,
    #[serde(rename = "self")]
    r#type: ::std::option::Option<u8>,
}

/// Described without docs for its functions.
#[::antifreeze::proxy]
pub trait Account {
    fn text(&self, this: &str, out: &[u8]) -> usize;
    #[oneway]
    fn nothing(&self);
    #[attr]
    fn name(&self) -> usize;
    #[attr(set)]
    fn set_name(&self, uri: &str);
}

/// Described without docs for its functions.
#[::antifreeze::proxy]
pub trait AsyncAccount {
    async fn text(&self, this: &str, out: &[u8]) -> usize;
    #[oneway]
    async fn nothing(&self);
    #[attr]
    async fn name(&self) -> usize;
    #[attr(set)]
    async fn set_name(&self, uri: &str);
}

#[::antifreeze::proxy(name = "Unused")]
trait Account {
    fn balance(&self) -> usize;
}

fn main() {}
