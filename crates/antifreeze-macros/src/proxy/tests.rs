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
fn mistakes(functions: TokenStream) -> Vec<String> {
    let (output, mistakes) = proxy(quote!(), quote!(trait Account { #functions }));
    let output = output.to_string();
    assert!(output.contains("struct AccountProxy"), "{output}");
    mistakes.messages()
}

/// Checks that there is one mistake, and that its message contains these words.
#[track_caller]
fn refused(functions: TokenStream, words: &str) {
    let messages = mistakes(functions);
    assert!(
        matches!(&messages[..], [message] if message.contains(words)),
        "{messages:#?}"
    );
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
fn receivers() {
    refused(
        quote!(
            fn x(&mut self);
        ),
        "take `&self`: a proxy is only a way to the object",
    );
    refused(
        quote!(
            fn x(self);
        ),
        "take `&self`",
    );
    refused(
        quote!(
            fn x();
        ),
        "a remote method is called on an object",
    );
}

#[test]
fn functions_that_cannot_be_called() {
    refused(
        quote!(
            async fn x(&self);
        ),
        "only proxies that block",
    );
    refused(
        quote!(
            unsafe fn x(&self);
        ),
        "remove `unsafe`",
    );
    refused(
        quote!(
            fn x(&self) {}
        ),
        "the remote object has the body",
    );
    refused(
        quote!(
            fn _x(&self);
        ),
        "private in Pyro",
    );
    refused(
        quote!(
            fn connect(&self);
        ),
        "add `#[rename = \"connect\"]`",
    );
    refused(
        quote!(
            fn x(&self, _: u8);
        ),
        "give this parameter a plain one",
    );
    refused(
        quote!(
            const X: u8;
        ),
        "holds only functions",
    );
}

#[test]
fn results() {
    refused(
        quote!(
            fn x(&self) -> &str;
        ),
        "as `String` for `&str`",
    );
    refused(
        quote!(
            fn x(&self) -> Vec<&'static str>;
        ),
        "as `String` for `&str`",
    );
    refused(
        quote!(
            fn x(&self) -> impl Iterator<Item = u8>;
        ),
        "decoded as one concrete type",
    );
    refused(
        quote!(
            fn x(&self) -> Result;
        ),
        "write `Result<T, Error>`",
    );
    refused(
        quote!(
            #[oneway]
            fn x(&self) -> u8;
        ),
        "a oneway call brings nothing back",
    );
    refused(
        quote!(
            #[attr]
            fn x(&self);
        ),
        "an attribute has a value",
    );
    refused(
        quote!(
            #[attr(set)]
            fn set_x(&self, x: u8) -> u8;
        ),
        "remove the return type",
    );
    assert!(
        mistakes(quote!(
            #[oneway]
            fn x(&self) -> Result<(), Error>;
        ))
        .is_empty()
    );
}

#[test]
fn parameters() {
    refused(
        quote!(
            #[attr]
            fn x(&self, a: u8) -> u8;
        ),
        "read without arguments",
    );
    refused(
        quote!(
            #[attr(set)]
            fn set_x(&self);
        ),
        "take exactly one parameter",
    );
    refused(
        quote!(
            #[attr(set)]
            fn set_x(&self, #[args] a: M);
        ),
        "written with one value",
    );
    refused(
        quote!(
            #[attr(set)]
            fn x(&self, a: u8);
        ),
        "Call it `set_x`",
    );
    refused(
        quote!(
            fn x(&self, a: u8, #[args] b: Vec<u8>);
        ),
        "holds all positional arguments",
    );
    refused(
        quote!(
            fn x(&self, #[kwargs] a: M, b: u8);
        ),
        "must be the last",
    );
    refused(
        quote!(
            fn x(
                &self,
                #[args]
                #[kwargs]
                a: M,
            );
        ),
        "either `#[args]` or `#[kwargs]`",
    );
    let many = (0..17).map(|index| quote::format_ident!("a{index}"));
    refused(quote!(fn x(&self #(, #many: u8)*);), "at most 16 arguments");
}

#[test]
fn attributes_in_the_wrong_place() {
    refused(
        quote!(
            #[quick]
            fn x(&self);
        ),
        "how a method is served",
    );
    refused(
        quote!(
            #[callback]
            fn x(&self);
        ),
        "how a method is served",
    );
    refused(
        quote!(
            #[private]
            fn x(&self);
        ),
        "leave the method out of the trait",
    );
    refused(
        quote!(
            #[lock(none)]
            fn x(&self);
        ),
        "there is no `#[lock]`",
    );
    refused(
        quote!(
            #[attr]
            #[oneway]
            fn x(&self) -> u8;
        ),
        "cannot be used oneway",
    );
    refused(
        quote!(
            fn x(&self, #[default] a: u8);
        ),
        "the default belongs to the object",
    );
    refused(
        quote!(
            fn x(&self, #[rename = "b"] a: u8);
        ),
        "passes arguments by position",
    );
}

#[track_caller]
fn item_refused(arguments: TokenStream, item: TokenStream, words: &str) -> String {
    let (output, mistakes) = proxy(arguments, item);
    let messages = mistakes.messages();
    assert!(
        matches!(&messages[..], [message] if message.contains(words)),
        "{messages:#?}"
    );
    output.to_string()
}

#[test]
fn items_that_cannot_be_a_proxy() {
    let kept = item_refused(
        quote!(),
        quote!(
            struct Account;
        ),
        "stands on a trait",
    );
    assert_eq!(kept, "struct Account ;");
    item_refused(
        quote!(),
        quote!(
            trait Account<T> {}
        ),
        "no type parameters",
    );
    item_refused(
        quote!(),
        quote!(
            trait Account: Send {}
        ),
        "no supertraits",
    );
    item_refused(
        quote!(),
        quote!(
            unsafe trait Account {}
        ),
        "remove `unsafe`",
    );
    item_refused(
        quote!(Remote),
        quote!(
            trait Account {}
        ),
        "write `#[proxy]` or",
    );
    item_refused(
        quote!(class = "X"),
        quote!(
            trait Account {}
        ),
        "the name of the struct",
    );
    item_refused(
        quote!(name = "a b"),
        quote!(
            trait Account {}
        ),
        "the name of the struct",
    );
}
