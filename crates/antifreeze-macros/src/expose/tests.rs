//! Expansions as snapshots, and the advice for each mistake.

use proc_macro2::TokenStream;
use quote::quote;

use super::expose;

macro_rules! assert_expansion {
    ($expansion:expr) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!($expansion);
        })
    };
}

/// The expansion as rustfmt would print it, if nothing was wrong.
#[track_caller]
fn expanded(item: TokenStream) -> String {
    let (output, mistakes) = expose(quote!(), item);
    assert_eq!(mistakes.messages(), Vec::<String>::new());
    prettyplease::unparse(&syn::parse2(output).unwrap())
}

/// The mistakes in a block with these functions, which has to come out without its attributes.
#[track_caller]
fn mistakes(functions: &str) -> Vec<String> {
    let functions: TokenStream = functions.parse().unwrap();
    let (output, mistakes) = expose(quote!(), quote!(impl Account { #functions }));
    let output = output.to_string();
    assert!(output.starts_with("impl Account"), "{output}");
    for helper in [
        "oneway", "attr", "rename", "default", "args", "lock", "private", "quick",
    ] {
        assert!(!output.contains(&format!("# [{helper}")), "{output}");
    }
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
fn an_object() {
    assert_expansion!(expanded(quote! {
        impl Account {
            /// The balance.
            fn balance(&self) -> i64 { self.balance }
            pub fn deposit(&mut self, amount: i64, note: Option<String>) -> Result<i64, Broke> {
                self.balance += amount;
                Ok(self.balance)
            }
            #[oneway]
            #[callback]
            fn audit(&self, note: &str) {}
            #[quick]
            #[rename = "version"]
            fn version_of_bank() -> &'static str { "1" }
            #[private]
            fn secret(self) -> u8 { 1 }
            const LIMIT: i64 = 10;
        }
    }));
}

#[test]
fn async_methods() {
    assert_expansion!(expanded(quote! {
        impl Account {
            async fn settle(&mut self, bank: &str) -> Result<i64, Broke> { Ok(self.balance) }
            async fn owner(&self) -> &str { &self.owner }
            async fn version() {}
        }
    }));
}

#[test]
fn item_streams() {
    assert_expansion!(expanded(quote! {
        impl Shelf {
            fn books(&self) -> ItemStream<String> { todo!() }
            fn numbers(&self) -> impl Iterator<Item = u8> + use<> { 0.. }
            #[attr]
            async fn events(&self) -> Result<impl Stream<Item = Event> + use<>, Error> { todo!() }
            fn checked(&self) -> Result<antifreeze::ItemStream<u8>, Error> { todo!() }
        }
    }));
}

#[test]
fn a_local_object() {
    let (output, mistakes) = expose(
        quote!(local),
        quote! {
            impl<T: Clone> Account<T> {
                fn owner(&self) -> T { self.owner.clone() }
                async fn settle(&mut self) {}
            }
        },
    );
    assert_eq!(mistakes.messages(), Vec::<String>::new());
    assert_expansion!(prettyplease::unparse(&syn::parse2(output).unwrap()));
}

#[test]
fn attributes() {
    assert_expansion!(expanded(quote! {
        impl Account {
            #[attr]
            #[quick]
            fn owner(&self) -> &str { &self.owner }
            #[attr(set)]
            fn set_owner(&mut self, owner: Option<&str>) {}
            #[attr]
            fn size(&mut self) -> usize { 1 }
            #[attr(set)]
            #[rename = "color"]
            fn paint(&self, colour: Colour) -> Result<(), Error> { Ok(()) }
        }
    }));
}

#[test]
fn parameters() {
    assert_expansion!(expanded(quote! {
        impl Echo {
            fn borrow<'a>(&self, text: &'a str, numbers: &[i64], data: &[u8]) -> &'a str { text }
            fn maybe(&self, text: Option<&str>, data: Option<&[u8]>, map: &Map<Cow<'_, str>>) {}
            fn default(
                &self,
                #[default] count: u8,
                #[default = 2 + 3] more: i64,
                #[default = "x"] name: String,
                #[default = "y"] text: &str,
                #[default = b"z"] data: &[u8],
                #[default = Some("n")] maybe: Option<&str>,
            ) {}
            fn all(
                &self,
                #[rename = "first"] mut r#type: u8,
                #[args] rest: Vec<Value>,
                #[kwargs] options: BTreeMap<String, Value>,
            ) {}
            fn bytes(&self) -> &[u8] { &[] }
            fn checked_bytes(&self) -> Result<&[u8], Error> { Ok(&[]) }
        }
    }));
}

#[test]
fn a_generic_object() {
    assert_expansion!(expanded(quote! {
        #[cfg(feature = "shelf")]
        impl<T: Clone, const N: usize> store::Shelf<T, N> where T: Serialize {
            fn first(&self) -> Option<T> { self.0.first().cloned() }
            #[cfg(unix)]
            fn place(&self) -> Place { Place::Unix }
            #[cfg(windows)]
            fn place(&self) -> Place { Place::Windows }
            fn __len__(&self) -> usize { N }
        }
    }));
}

#[test]
fn an_object_without_functions() {
    assert_expansion!(expanded(quote!(impl Nothing {})));
}

#[test]
fn constructors_cannot_be_served() {
    refused(
        r#"
        fn new() -> Self {}                => a constructor cannot be served
        fn open() -> Result<Self, Error> {} => mark it `#[private]`
        fn copied(&self) -> Self {}        => a constructor cannot be served
        "#,
    );
}

#[test]
fn receivers_that_cannot_be_served() {
    refused(
        r#"
        fn x(self) {}             => `self` by value cannot be served: take `&self` or `&mut self`
        fn x(mut self) {}         => `self` by value
        fn x(self: Arc<Self>) {}  => take `&self` or `&mut self`
        fn x(self: &Arc<Self>) {} => take `&self` or `&mut self`
        "#,
    );
    accepted("fn x(self: &Self) {} fn y(self: &mut Self) {}");
}

#[test]
fn functions_that_cannot_be_served() {
    refused(
        r#"
        #[quick] async fn x(&self) {}              => it has nothing to promise
        fn x(&self) -> impl Future<Output = u8> {} => write `async fn`
        unsafe fn x(&self) {}                      => an unsafe function cannot be served
        fn x<T>(&self) {}                          => a generic method cannot be served
        fn x<const N: usize>(&self) {}             => a generic method cannot be served
        #[lock(read)] fn x(&self) {}               => the receiver chooses the lock
        #[lock] fn x(&self) {}                     => the receiver chooses the lock
        #[lock(none)] fn x(&mut self) {}           => only a `&self` method
        #[lock(none)] fn x() {}                    => only a `&self` method
        "#,
    );
    accepted("fn x<'a>(&self, y: &'a str) -> &'a str { y }");
    accepted("#[lock(none)] fn x(&self) {} #[lock(none)] async fn y(&self) {}");
    accepted("async fn x(&self) {} #[attr] async fn y(&self) -> u8 { 1 }");
}

#[test]
fn private_names() {
    refused(
        r#"
        fn _x(&self) {}                         => names that begin with `_` are private in Pyro
        fn __init__(&self) {}                   => `__init__` is private in Pyro
        #[rename = "_x"] fn x(&self) {}         => mark it `#[private]`
        #[attr(set)] fn set__x(&self, x: u8) {} => private in Pyro
        "#,
    );
    accepted("fn __len__(&self) -> usize { 1 }");
    accepted(r#"#[rename = "x"] fn _x(&self) {}"#);
    accepted("#[private] fn _x(self) {}");
}

#[test]
fn duplicate_names() {
    refused(
        r#"
        fn x(&self) {} #[rename = "x"] fn y(&self) {}                => `x` is exposed twice
        #[attr] fn x(&self) -> u8 {} #[rename = "x"] fn y(&self) {}  => `x` is exposed twice
        #[attr(set)] fn set_x(&self, x: u8) {} fn x(&self) {}        => `x` is exposed twice
        #[attr] fn x(&self) -> u8 {} #[attr] #[rename = "x"] fn y() -> u8 {} => `x` is exposed twice
        #[cfg(a)] #[attr] fn x() -> u8 {} #[attr(set)] fn set_x(x: u8) {}    => the same `#[cfg]`
        "#,
    );
}

#[test]
fn attributes_that_cannot_be_served() {
    refused(
        r#"
        #[attr] fn x(&self, y: u8) -> u8 {}               => an attribute is read without arguments
        #[attr] fn x(&self) {}                            => an attribute has a value
        #[attr(set)] fn set_x(&self) {}                   => take exactly one parameter
        #[attr(set)] fn set_x(&self, x: u8, y: u8) {}     => take exactly one parameter
        #[attr(set)] fn set_x(&self, #[default] x: u8) {} => remove `#[default]`
        #[attr(set)] fn x(&self, x: u8) {}                => Call it `set_x` for the attribute `x`
        #[attr] #[oneway] fn x(&self) -> u8 {}            => cannot be used oneway
        #[attr(get)] fn x(&self) -> u8 {}                 => `#[attr(set)]` on the one that writes
        "#,
    );
}

#[test]
fn parameters_that_cannot_be_decoded() {
    refused(
        r#"
        fn x(&self, (a, b): (u8, u8)) {}  => give this parameter a plain one
        fn x(&self, _: u8) {}             => give this parameter a plain one
        fn x(&self, a: impl Serialize) {} => decoded as one concrete type
        fn x(&self, a: &dyn Any) {}       => decoded as one concrete type
        fn x(&self, a: &mut u8) {}        => take the value and return it
        fn x(&self, a: &'static str) {}   => remove `'static`
        fn x(&self, a: Vec<&str>) {}      => as `String` for `&str`
        fn x(&self, a: &[&str]) {}        => as `String` for `&str`
        fn x(&self, #[cfg(a)] b: u8) {}   => write the function twice
        "#,
    );
}

#[test]
fn parameters_in_an_order_that_python_forbids() {
    refused(
        r#"
        fn x(&self, #[default] a: u8, b: u8) {}            => without a default cannot stand after
        fn x(&self, #[args] a: Vec<u8>, b: u8) {}          => can stand after `#[args]`
        fn x(&self, #[kwargs] a: M, #[args] b: Vec<u8>) {} => must be the last
        fn x(&self, #[rename = "b"] a: u8, b: u8) {}       => is called `b`
        "#,
    );
    accepted("fn x(&self, a: Option<u8>, b: u8, #[default] c: u8) {}");
}

#[test]
fn attributes_of_parameters() {
    refused(
        r#"
        fn x(&self, #[args] a: u8) {}                      => write `Vec<T>`
        fn x(&self, #[args] a: &[u8]) {}                   => write `Vec<T>`
        fn x(&self, #[kwargs] a: &M) {}                    => write `BTreeMap<String, T>`
        fn x(&self, #[args] #[kwargs] a: M) {}             => only one of
        fn x(&self, #[default] #[args] a: Vec<u8>) {}      => only one of
        fn x(&self, #[args] #[rename = "b"] a: Vec<u8>) {} => remove `#[rename]`
        fn x(&self, #[default(1)] a: u8) {}                => write `#[default]` or
        "#,
    );
}

#[test]
fn attributes_in_the_wrong_place() {
    refused(
        r#"
        #[default] fn x(&self) {}                   => this belongs to a parameter
        fn x(&self, #[oneway] a: u8) {}             => this belongs to a function
        #[idempotent] fn x(&self) {}                => in the `#[proxy]` trait
        #[oneway] #[oneway] fn x(&self) {}          => stands here twice
        #[oneway(always)] fn x(&self) {}            => write `#[oneway]`, it takes nothing
        #[rename("y")] fn x(&self) {}               => write `#[rename = "name"]`
        #[rename = "a b"] fn x(&self) {}            => not a name that Python can write
        #[private] #[quick] fn x(&self) {}          => the function is `#[private]`
        #[private] fn x(&self, #[default] a: u8) {} => the function is `#[private]`
        "#,
    );
}

#[test]
fn every_mistake_is_told_and_the_rest_still_works() {
    let (output, mistakes) = expose(
        quote!(),
        quote! {
            impl Account {
                async unsafe fn wait(self, a: impl Serialize, (b, c): (u8, u8)) {}
                fn _hidden(&self) {}
                fn balance(&self) -> i64 { 1 }
            }
        },
    );
    assert_eq!(mistakes.messages().len(), 5, "{:#?}", mistakes.messages());
    let output = output.to_string();
    assert!(output.contains("async unsafe fn wait"), "{output}");
    assert!(output.contains("name : \"balance\""), "{output}");
    assert!(!output.contains("name : \"wait\""), "{output}");
}

#[test]
fn items_that_cannot_be_exposed() {
    let rows = [
        (
            "impl Bank for Account { fn x (& self) { } }",
            "without a trait",
        ),
        ("struct Account ;", "stands on an impl block"),
        ("impl < 'a > Account < 'a > { }", "the object cannot borrow"),
        ("impl Account < '_ > { }", "the object cannot borrow"),
        ("impl (u8 , u8) { }", "only a type with a name"),
    ];
    for (item, words) in rows {
        let (output, mistakes) = expose(quote!(), item.parse().unwrap());
        let messages = mistakes.messages();
        let found = matches!(&messages[..], [message] if message.contains(words));
        assert!(found, "{item}\n{messages:#?}");
        assert_eq!(output.to_string(), item);
    }
}

#[test]
fn the_macro_takes_no_arguments() {
    let (_, mistakes) = expose(quote!(name = "X"), quote!(impl Account {}));
    assert_eq!(mistakes.messages().len(), 1);
}
