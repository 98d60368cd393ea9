//! Expansions as snapshots, and the advice for each mistake.

use proc_macro2::TokenStream;
use quote::quote;

use super::proxy;

macro_rules! assert_expansion {
    ($expansion:expr) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!($expansion);
        })
    };
}

/// The expansion as rustfmt would print it, if nothing was wrong.
#[track_caller]
fn expanded(arguments: TokenStream, item: TokenStream) -> String {
    let (output, mistakes) = proxy(arguments, item);
    assert_eq!(mistakes.messages(), Vec::<String>::new());
    prettyplease::unparse(&syn::parse2(output).unwrap())
}

#[track_caller]
fn mistakes(functions: &str) -> Vec<String> {
    let functions: TokenStream = functions.parse().unwrap();
    let (output, mistakes) = proxy(quote!(), quote!(trait Account { #functions }));
    let output = output.to_string();
    assert!(output.contains("struct AccountProxy"), "{output}");
    mistakes.messages()
}

#[track_caller]
fn accepted(functions: &str) {
    assert_eq!(mistakes(functions), Vec::<String>::new());
}

/// Checks rows of `functions => words`: each has one mistake, whose message contains the words.
#[track_caller]
fn refused(rows: &str) {
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let (functions, words) = row.split_once("=>").unwrap();
        let messages = mistakes(functions);
        let found = matches!(&messages[..], [message] if message.contains(words.trim()));
        assert!(found, "{row}\n{messages:#?}");
    }
}

#[test]
fn a_proxy() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            /// Money.
            #[cfg(feature = "bank")]
            pub(crate) trait Account {
                /// What is there.
                #[idempotent]
                fn balance(&self) -> i64;
                fn deposit(&self, amount: i64, note: &str) -> Result<i64, BankError>;
                fn clear(&self);
                fn close(&self) -> Result<(), Error>;
                #[oneway]
                fn audit(&self, note: &str);
                #[rename = "move"]
                #[must_use]
                fn transfer<'a>(&'a self, to: &'a str) -> Vec<u8>;
            }
        }
    ));
}

#[test]
fn an_async_proxy() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            pub trait Account {
                #[idempotent]
                async fn balance(&self) -> i64;
                async fn send<'a>(&'a self, data: &[u8]) -> Result<(), Error>;
                #[oneway]
                async fn audit(&self, note: &str);
                #[attr]
                async fn owner(&self) -> String;
                #[attr(set)]
                async fn set_owner(&self, owner: &str);
            }
        }
    ));
}

#[test]
fn functions_that_wait_in_different_ways() {
    refused(
        r#"
        fn x(&self); async fn y(&self);              => before this one block: write a plain `fn`
        async fn x(&self); fn y(&self);              => before this one are awaited: write `async fn`
        fn x(&self); fn y(&self); async fn z(&self); => or a second trait
        "#,
    );
    accepted("async fn x(&self); async fn y(&self);");
}

#[test]
fn attributes() {
    assert_expansion!(expanded(
        quote!(name = "Remote"),
        quote! {
            trait Account {
                #[attr]
                fn owner(&self) -> String;
                #[attr(set)]
                fn set_owner(&self, owner: &str);
                #[attr]
                #[rename = "class"]
                #[idempotent]
                fn kind(&self) -> Result<Option<Kind>, Error>;
            }
        }
    ));
}

#[test]
fn arguments() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            pub trait Echo {
                fn bytes(&self, data: &[u8], more: Option<&[u8]>, r#type: Vec<u8>);
                fn any<T: DeserializeOwned>(&self, value: impl Serialize) -> T where T: Clone;
                fn all(&self, #[args] values: &[Value]) -> Value;
                fn both(&self, first: u8, #[kwargs] options: &Options) -> Value;
                #[oneway]
                fn hint(&self, #[kwargs] options: &Options);
            }
        }
    ));
}

#[test]
fn item_streams() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            trait Shelf {
                async fn books(&self, from: u64) -> Items<String>;
                async fn search(&self, #[kwargs] options: &Options) -> Result<Items<Book>, Error>;
                #[attr]
                async fn all(&self) -> antifreeze::tokio::Items<Book>;
            }
        }
    ));
}

#[test]
fn receivers() {
    refused(
        r#"
        fn x(&mut self); => take `&self`: a proxy is only a way to the object
        fn x(self);      => take `&self`
        fn x();          => a remote method is called on an object
        "#,
    );
}

#[test]
fn functions_that_cannot_be_called() {
    refused(
        r#"
        unsafe fn x(&self); => remove `unsafe`
        fn x(&self) {}      => the remote object has the body
        fn _x(&self);       => private in Pyro
        fn connect(&self);  => add `#[rename = "connect"]`
        fn x(&self, _: u8); => give this parameter a plain one
        const X: u8;        => holds only functions
        "#,
    );
}

#[test]
fn results() {
    refused(
        r#"
        fn x(&self) -> &str;                       => as `String` for `&str`
        fn x(&self) -> Vec<&'static str>;          => as `String` for `&str`
        fn x(&self) -> impl Iterator<Item = u8>;   => decoded as one concrete type
        fn x(&self) -> Result;                     => write `Result<T, Error>`
        #[oneway] fn x(&self) -> u8;               => a oneway call brings nothing back
        #[attr] fn x(&self);                       => an attribute has a value
        #[attr(set)] fn set_x(&self, x: u8) -> u8; => remove the return type
        "#,
    );
    accepted("#[oneway] fn x(&self) -> Result<(), Error>;");
}

#[test]
fn parameters() {
    refused(
        r#"
        #[attr] fn x(&self, a: u8) -> u8;           => read without arguments
        #[attr(set)] fn set_x(&self);               => take exactly one parameter
        #[attr(set)] fn set_x(&self, #[args] a: M); => written with one value
        #[attr(set)] fn x(&self, a: u8);            => Call it `set_x`
        fn x(&self, a: u8, #[args] b: Vec<u8>);     => holds all positional arguments
        fn x(&self, #[kwargs] a: M, b: u8);         => must be the last
        fn x(&self, #[args] #[kwargs] a: M);        => either `#[args]` or `#[kwargs]`
        "#,
    );
    let many: String = (0..17).map(|index| format!("a{index}: u8, ")).collect();
    refused(&format!("fn x(&self, {many}); => at most 16 arguments"));
}

#[test]
fn attributes_in_the_wrong_place() {
    refused(
        r#"
        #[quick] fn x(&self);                => how a method is served
        #[callback] fn x(&self);             => how a method is served
        #[private] fn x(&self);              => leave the method out of the trait
        #[lock(none)] fn x(&self);           => this says how a method is served
        #[attr] #[oneway] fn x(&self) -> u8; => cannot be used oneway
        fn x(&self, #[default] a: u8);       => the default belongs to the object
        fn x(&self, #[rename = "b"] a: u8);  => passes arguments by position
        "#,
    );
}

#[test]
fn items_that_cannot_be_a_proxy() {
    let rows = [
        ("", "struct Account;", "stands on a trait"),
        ("", "trait Account<T> {}", "no type parameters"),
        ("", "trait Account: Send {}", "no supertraits"),
        ("", "unsafe trait Account {}", "remove `unsafe`"),
        ("Remote", "trait Account {}", "write `#[proxy]` or"),
        (
            "class = \"X\"",
            "trait Account {}",
            "the name of the struct",
        ),
        (
            "name = \"a b\"",
            "trait Account {}",
            "the name of the struct",
        ),
    ];
    for (arguments, item, words) in rows {
        let (output, mistakes) = proxy(arguments.parse().unwrap(), item.parse().unwrap());
        let messages = mistakes.messages();
        let found = matches!(&messages[..], [message] if message.contains(words));
        assert!(found, "{arguments} {item}\n{messages:#?}");
        assert!(output.to_string().contains("struct Account"), "{output}");
    }
}

#[test]
fn a_serialized_blob_is_the_only_argument() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            trait Sink {
                fn take(&self, blob: &SerializedBlob) -> usize;
                #[idempotent]
                fn keep(&self, blob: antifreeze::SerializedBlob);
            }
        }
    ));
    refused(
        r#"
        fn x(&self, blob: SerializedBlob, n: u8);     => the only argument of its call
        #[oneway] fn x(&self, blob: &SerializedBlob); => remove `#[oneway]`
        "#,
    );
}
