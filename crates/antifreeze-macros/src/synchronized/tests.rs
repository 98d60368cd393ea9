//! Expansions as snapshots, and the advice for each mistake.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};

use super::synchronized;

macro_rules! assert_expansion {
    ($expansion:expr) => {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!($expansion);
        })
    };
}

fn home(place: Span) -> TokenStream {
    quote_spanned!(place=> ::antifreeze_sync)
}

/// The expansion as rustfmt would print it, if nothing was wrong.
#[track_caller]
fn expanded(arguments: TokenStream, item: TokenStream) -> String {
    let (output, mistakes) = synchronized(arguments, item, home);
    assert_eq!(mistakes.messages(), Vec::<String>::new());
    prettyplease::unparse(&syn::parse2(output).unwrap())
}

/// Checks rows of `arguments | item => words`: each has one mistake, whose message contains the
/// words, and leaves the item as it is.
#[track_caller]
fn refused(rows: &str) {
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let (code, words) = row.split_once("=>").unwrap();
        let (arguments, item) = code.split_once('|').unwrap();
        let item: TokenStream = item.parse().unwrap();
        let (output, mistakes) = synchronized(arguments.parse().unwrap(), item.clone(), home);
        let messages = mistakes.messages();
        let found = matches!(&messages[..], [message] if message.contains(words.trim()));
        assert!(found, "{row}\n{messages:#?}");
        assert_eq!(output.to_string(), item.to_string());
    }
}

/// Checks that each row of `arguments | item` is right.
#[track_caller]
fn accepted(rows: &str) {
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let (arguments, item) = row.split_once('|').unwrap();
        let (_, mistakes) = synchronized(arguments.parse().unwrap(), item.parse().unwrap(), home);
        assert_eq!(mistakes.messages(), Vec::<String>::new(), "{row}");
    }
}

#[test]
fn a_method() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            /// Adds money.
            #[must_use]
            pub(crate) fn deposit<'a, T>(&'a self, mut amount: T, (a, _): (u8, u8)) -> Result<&'a T, Broke>
            where
                T: Copy,
            {
                #![allow(unused)]
                let total = amount.checked_add(self.total()?)?;
                Ok(self.keep(total))
            }
        }
    ));
}

#[test]
fn a_free_function() {
    assert_expansion!(expanded(
        quote!(),
        quote! {
            unsafe fn r#move<T>(from: impl Into<T>) -> io::Result<impl Iterator<Item = T>> {
                other(from)
            }
        }
    ));
}

#[test]
fn an_async_function() {
    assert_expansion!(expanded(
        quote!(panic, read, &*account.rates),
        quote! {
            async fn rate(account: &Account) -> f64 {
                account.rate().await
            }
        }
    ));
}

#[test]
fn ways_to_lock() {
    let calls = [
        (
            quote!(),
            quote!(
                fn x() -> Result<(), E> {}
            ),
            "Mutex::lock(",
        ),
        (
            quote!(),
            quote!(
                async fn x() -> Result<(), E> {}
            ),
            "Mutex::lock_async(",
        ),
        (
            quote!(read, A),
            quote!(
                fn x() -> Result<(), E> {}
            ),
            "RwLock::read(",
        ),
        (
            quote!(read, A),
            quote!(
                async fn x() -> Result<(), E> {}
            ),
            "RwLock::read_async(",
        ),
        (
            quote!(write, A),
            quote!(
                fn x() -> Result<(), E> {}
            ),
            "RwLock::write(",
        ),
        (
            quote!(write, A),
            quote!(
                async fn x() -> Result<(), E> {}
            ),
            "RwLock::write_async(",
        ),
        (
            quote!(read),
            quote!(
                fn x(&self) -> Result<(), E> {}
            ),
            "RwLock::read(",
        ),
    ];
    for (arguments, item, call) in calls {
        let output = expanded(arguments, item);
        assert!(
            output.contains(&format!("::antifreeze_sync::{call}lock)")),
            "{output}"
        );
    }
}

#[test]
fn locks() {
    accepted(
        r#"
        LOCK                       | fn x() -> Result<(), E> {}
        LOCK,                      | fn x() -> Result<(), E> {}
        crate::bank::LOCK          | fn x() -> Result<(), E> {}
        self.bank.lock             | fn x(&mut self) -> Result<(), E> {}
        &*self.0                   | fn x(self: Arc<Self>) -> Result<(), E> {}
        LOCKS[index % LOCKS.len()] | fn x(index: usize) -> Result<(), E> {}
        read                       | fn x(&self) -> Result<(), E> {}
        write, panic, panic.lock   | fn x(panic: &X) {}
        read::LOCK                 | fn x() -> Result<(), E> {}
        "#,
    );
    refused(
        r#"
        "self.lock"       | fn x(&self) -> Result<(), E> {} => write the lock itself: `#[synchronized(self.lock)]`
        1                 | fn x(&self) -> Result<(), E> {} => write the lock: `#[synchronized(LOCK)]`
        lock = A          | fn x(&self) -> Result<(), E> {} => write only the lock
        A B               | fn x(&self) -> Result<(), E> {} => write `#[synchronized]`, or the lock
        A, B              | fn x(&self) -> Result<(), E> {} => a function holds one lock
        shared, A         | fn x(&self) -> Result<(), E> {} => a function holds one lock
        read, write, A    | fn x(&self) -> Result<(), E> {} => either `read` or `write`
        read, read        | fn x(&self) -> Result<(), E> {} => either `read` or `write`
        panic, A, panic   | fn x(&self) -> Result<(), E> {} => `panic` stands here twice
        read              | fn x() -> Result<(), E> {}      => `#[synchronized(read, LOCK)]`
        write             | fn x() -> Result<(), E> {}      => `#[synchronized(write, LOCK)]`
        "#,
    );
}

#[test]
fn results() {
    accepted(
        r#"
              | fn x() -> Result<(), E> {}
              | fn x() -> io::Result<()> {}
              | fn x() -> ::std::result::Result<(), E> {}
              | fn x() -> QueryResult {}
              | fn x() -> (Result<(), E>) {}
              | fn x() -> Result<impl Future, E> {}
        panic | fn x() {}
        panic | fn x() -> ! {}
        panic | fn x() -> impl Iterator<Item = u8> {}
        panic | fn x() -> Pin<&mut u8> {}
        "#,
    );
    refused(
        r#"
          | fn x() {}                             => write `#[synchronized(panic)]`
        A | fn x() {}                             => write `#[synchronized(panic, LOCK)]`
          | fn x() -> i64 {}                      => return a `Result` whose error is
          | fn x() -> Option<Result<(), E>> {}    => return a `Result` whose error is
          | fn x() -> &Result<(), E> {}           => return a `Result` whose error is
          | fn x() -> impl Future<Output = R> {}  => write `async fn`
          | fn x() -> Pin<Box<dyn Future>> {}     => write `async fn`
        panic | fn x() -> BoxFuture<'_, ()> {}    => write `async fn`
        "#,
    );
}

#[test]
fn functions_that_cannot_hold_a_lock() {
    refused(
        r#"
        | const fn x() -> Result<(), E> {}                  => remove `const`
        | fn x() -> Result<(), E>;                          => where the function has its body
        | #[af::synchronized(B)] fn x() -> Result<(), E> {} => the order of two matters
        "#,
    );
}

#[test]
fn items_that_are_no_functions() {
    refused(
        r#"
        | impl Account {}     => write it on each one
        | trait Account {}    => write it on each one
        | struct Account;     => a field `lock: Mutex<()>`
        | mod account {}      => `#[synchronized] fn
        | fn account() -> u8  => expected
        "#,
    );
}

#[test]
fn every_mistake_is_told() {
    let item = quote!(
        const fn x() -> u8 {}
    );
    let (_, mistakes) = synchronized(quote!("A", read, write), item, home);
    assert_eq!(mistakes.messages().len(), 4, "{:#?}", mistakes.messages());
}
