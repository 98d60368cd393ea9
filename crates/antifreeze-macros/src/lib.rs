//! The macros of Antifreeze: [`macro@expose`] for objects, [`macro@proxy`] for callers,
//! [`macro@synchronized`] for functions that hold a lock, and [`macro@Class`] for what they pass.
//!
//! Use them through the crate `antifreeze`, which exports them all, or `antifreeze-sync`, which
//! exports the last. What they generate names only that crate and the standard library, by absolute
//! paths, so nothing has to be imported.
//!
//! Each macro works in two phases, parse (from tokens to a model, noting every mistake) and expand
//! (from the model to tokens). Both are ordinary functions on [`proc_macro2`] tokens.

#![forbid(unsafe_code)]

mod attribute;
mod class;
mod diagnostics;
mod expose;
mod name;
mod parameter;
mod proxy;
mod synchronized;
mod types;

use proc_macro::TokenStream;

use quote::quote_spanned;

/// Lets other programs call the functions of an impl block.
///
/// The type can then be given to a `Daemon`, which serves it to Rust and Python alike.
///
/// ```no_run
/// use antifreeze::{Daemon, expose};
///
/// struct Account {
///     owner: String,
///     balance: i64,
/// }
///
/// #[expose]
/// impl Account {
///     /// With other readers.
///     fn balance(&self) -> i64 {
///         self.balance
///     }
///
///     /// Alone.
///     fn deposit(&mut self, amount: i64) -> Result<i64, String> {
///         if amount <= 0 {
///             return Err(format!("cannot deposit {amount}"));
///         }
///         self.balance += amount;
///         Ok(self.balance)
///     }
///
///     #[oneway]
///     fn audit(&self, note: &str, #[default = 1] level: u8) {
///         println!("{level} {note}");
///     }
///
///     #[attr]
///     fn owner(&self) -> &str {
///         &self.owner
///     }
///
///     #[attr(set)]
///     fn set_owner(&mut self, owner: String) {
///         self.owner = owner;
///     }
/// }
///
/// # fn main() -> Result<(), antifreeze::Error> {
/// let daemon = Daemon::bind("localhost:0")?;
/// daemon.register("account", Account { owner: "Ada".into(), balance: 0 })?;
/// daemon.serve()
/// # }
/// ```
///
/// # What is exposed
///
/// All functions of the block, whether `pub` or not, except those marked `#[private]`. Functions in
/// other impl blocks are not. Only one block of a type can be exposed.
///
/// `&self` methods of one object run together, `&mut self` methods alone; functions without `self`
/// take no lock. Names that begin with `_` are private in Pyro and refused, apart from Python's
/// special methods such as `__len__`.
///
/// # Async methods
///
/// An `async fn` runs as a task and occupies no thread while it waits, so thousands may. It has the
/// object until it ends, also while it awaits something else: with `&self` together with other
/// readers, with `&mut self` alone. Its future has to be `Send`, and must not block the thread that
/// polls it.
///
/// ```
/// use std::time::Duration;
///
/// use antifreeze::expose;
///
/// struct Valve {
///     open: bool,
/// }
///
/// #[expose]
/// impl Valve {
///     /// Nobody sees it half open.
///     async fn open(&mut self) {
///         tokio::time::sleep(Duration::from_millis(200)).await;
///         self.open = true;
///     }
/// }
/// ```
///
/// If the caller is lost or has no time left, the future is dropped at its next `.await`: what was
/// done until then stays done, and the object is let go. A oneway call runs to its end.
///
/// Under `#[expose(local)]` neither the type nor its futures have to be `Send`. Such an object is
/// registered with `Daemon::register_local`, and stays on a thread of its own, where its methods
/// interleave only at `.await`.
///
/// # Arguments and results
///
/// Arguments are decoded as the types of the parameters, by position or by the parameters' names.
/// A type needs `serde::Deserialize` as a parameter and `serde::Serialize` as a result.
///
/// - `&T` decodes what owns a `T` (`String` for `&str`, `Vec<T>` for `&[T]`) and passes a reference
///   to it. `&[u8]` is Python's `bytes`, in both directions, as is
///   [`Bytes`](https://docs.rs/bytes); a `Vec<u8>` is a list of numbers. Over serpent a stock client
///   gets bytes as a dict, for `serpent.tobytes`.
/// - An `Option` may be left out by the caller, and is then `None`.
/// - A `Proxy`, or a proxy that `#[proxy]` made, takes what Python and Rust send in place of a remote
///   object, and calls it; so callers can pass objects of their own. An `Object` that a daemon serves is
///   sent as such a proxy.
/// - A `SerializedBlob` as the first parameter takes an argument that was sent as one, undecoded.
/// - A `Result` is unpacked; its error becomes a Python exception. What counts is that the name of
///   the type is `Result`.
/// - A result may borrow from the object: it is encoded while the object is still locked.
/// - An `ItemStream`, an `impl Iterator` or an `impl Stream` is an item stream: the client takes one item
///   at a time, and no lock is held in between. `impl` types must not borrow from the object, so they end
///   in `+ use<>` and are `Send`. It is the names of the types that count.
///
/// # Attributes on functions
///
/// | attribute | meaning |
/// |---|---|
/// | `#[private]` | not exposed |
/// | `#[oneway]` | clients do not wait for it, and get no result; oneways of one client start in order, and run in order where a method takes `&mut self` |
/// | `#[attr]` | reads the remote attribute of this name, instead of being a method |
/// | `#[attr(set)]` | writes the remote attribute; the function is called `set_` and its name |
/// | `#[rename = "name"]` | the name that callers use |
/// | `#[lock(none)]` | a `&self` method that waits for no writer but one that runs |
/// | `#[quick]` | promises not to block, and may run where messages are read; not for an `async fn` |
/// | `#[callback]` | its errors are also reported here, as with Pyro's `@callback` |
///
/// # Attributes on parameters
///
/// | attribute | meaning |
/// |---|---|
/// | `#[default]`, `#[default = value]` | what a missing argument becomes |
/// | `#[args]` | a `Vec` of the positional arguments that are left, Python's `*args` |
/// | `#[kwargs]` | a map of the keyword arguments that are left, Python's `**kwargs` |
/// | `#[rename = "name"]` | the name for keyword arguments |
///
/// # Generic types
///
/// `#[expose] impl<T: Serialize> Shelf<T>` works. Each type parameter also has to be
/// `Send + Sync + 'static` where the object is registered; the macro adds these bounds.
#[proc_macro_attribute]
pub fn expose(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let (mut output, mistakes) = expose::expose(arguments.into(), item.into());
    output.extend(mistakes.to_compile_errors());
    output.into()
}

/// Turns a trait that describes a remote object into a struct that calls it.
///
/// ```no_run
/// use antifreeze::proxy;
///
/// #[proxy]
/// trait Account {
///     /// Money in the account.
///     #[idempotent]
///     fn balance(&self) -> i64;
///     fn deposit(&self, amount: i64) -> i64;
///     #[oneway]
///     fn audit(&self, note: &str, level: u8);
///     #[attr]
///     fn owner(&self) -> String;
///     #[attr(set)]
///     fn set_owner(&self, owner: &str);
/// }
///
/// let account = AccountProxy::connect("PYRONAME:bank.account")?;
/// let balance = account.deposit(10)?;
/// # Ok::<(), antifreeze::Error>(())
/// ```
///
/// The trait is consumed. The struct is called like it, with `Proxy` at the end; another name can
/// be chosen with `#[proxy(name = "BankAccount")]`. Attributes and docs of the trait and its
/// functions are kept.
///
/// # The struct
///
/// `AccountProxy::connect(uri)` connects, `AccountProxy::new(proxy)` uses a `Proxy` that is there,
/// and `as_proxy()` lends it. Clones share one session.
///
/// Each function becomes a method that can fail: `-> T` and `-> Result<T, E>` both become
/// `-> Result<T, antifreeze::Error>`. Functions take `&self`, because it is the object that knows
/// whether a method changes it. Arguments need `serde::Serialize`, results `serde::Deserialize`;
/// `&[u8]` is sent as Python's `bytes`, an only argument `&SerializedBlob` as it is. Functions may have
/// parameters for types (`value: impl Serialize`).
///
/// The struct itself can be an argument, a result, or a part of one: it travels as a `Proxy`.
///
/// A function that returns `Items<T>` asks for an item stream; that is `antifreeze::Items`, or
/// `antifreeze::tokio::Items` for async functions.
///
/// # Async functions
///
/// If all functions are `async fn`, so are the methods and `connect`, over an
/// `antifreeze::tokio::Proxy`. A proxy blocks or is awaited, not both: who wants both writes two
/// traits.
///
/// ```no_run
/// #[antifreeze::proxy]
/// trait Account {
///     async fn balance(&self) -> i64;
///     async fn deposit(&self, amount: i64) -> i64;
/// }
///
/// # async fn run() -> Result<(), antifreeze::Error> {
/// let account = AccountProxy::connect("PYRONAME:bank.account").await?;
/// let balance = account.deposit(10).await?;
/// # Ok(())
/// # }
/// ```
///
/// Their futures may be dropped at any time, see `antifreeze::tokio::Proxy`.
///
/// # Attributes on functions
///
/// | attribute | meaning |
/// |---|---|
/// | `#[oneway]` | send the call and do not wait |
/// | `#[idempotent]` | running it twice does no harm, so it is sent again if a connection is lost |
/// | `#[attr]` | reads the remote attribute of this name |
/// | `#[attr(set)]` | writes the remote attribute; the function is called `set_` and its name |
/// | `#[rename = "name"]` | the name that the object uses |
///
/// # Attributes on parameters
///
/// | attribute | meaning |
/// |---|---|
/// | `#[args]` | a list or tuple of all positional arguments, and the only one that is positional |
/// | `#[kwargs]` | a map or struct of keyword arguments |
#[proc_macro_attribute]
pub fn proxy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let (mut output, mistakes) = proxy::proxy(arguments.into(), item.into());
    output.extend(mistakes.to_compile_errors());
    output.into()
}

/// Runs a function while it holds a lock.
///
/// Functions with the same lock never run at once, and however one ends, its lock is free again.
///
/// ```
/// use antifreeze_sync::{LockError, Mutex, synchronized};
/// use std::error::Error;
///
/// static LEDGER: Mutex<()> = Mutex::named("ledger", ());
///
/// #[synchronized(LEDGER)]
/// fn post(amount: &str) -> Result<i64, Box<dyn Error>> {
///     Ok(amount.parse()?)
/// }
///
/// #[synchronized(LEDGER)]
/// fn close() -> Result<(), LockError> {
///     Ok(())
/// }
///
/// # fn main() -> Result<(), Box<dyn Error>> {
/// assert!(post("ten").is_err());
/// assert!(!LEDGER.is_locked());
/// close()?;
/// # Ok(())
/// # }
/// ```
///
/// # Which lock
///
/// | written | what is locked |
/// |---|---|
/// | `#[synchronized]` on a method | the field `self.lock`, a `Mutex` |
/// | `#[synchronized]` on a function without `self` | a `Mutex<()>` of its own; one for all types, if the function is generic |
/// | `#[synchronized(LOCK)]` | the `Mutex` that this names: a static, `self.other`, `*argument.lock`, an `Arc` of one |
/// | `#[synchronized(read, LOCK)]` | the `RwLock` that this names, with other readers |
/// | `#[synchronized(write, LOCK)]` | the `RwLock` that this names, alone |
///
/// `LOCK` is an expression, which may use the arguments. It is evaluated once, whenever the function
/// is called, and borrowed until the function is done. What data the lock has, if any, stays
/// untouched.
///
/// ```
/// use antifreeze_sync::{LockError, Mutex, RwLock, block_on, synchronized};
///
/// static RATE: RwLock<f64> = RwLock::named("rate", 1.1);
///
/// struct Account {
///     lock: Mutex<()>,
/// }
///
/// impl Account {
///     #[synchronized]
///     async fn deposit(&self, amount: f64) -> Result<f64, LockError> {
///         convert(amount).await
///     }
/// }
///
/// #[synchronized(read, RATE)]
/// async fn convert(amount: f64) -> Result<f64, LockError> {
///     Ok(amount * 2.0)
/// }
///
/// # fn main() -> Result<(), LockError> {
/// let account = Account { lock: Mutex::new(()) };
/// assert_eq!(block_on(account.deposit(1.0))?, 2.0);
/// # Ok(())
/// # }
/// ```
///
/// # How long it is held
///
/// From before the first statement until nothing is left of the body, its temporaries included:
/// after its last expression, `return`, `?` and a panic. Arguments that the body did not move away
/// are dropped later, and what a function returns is used without the lock: beware of iterators
/// that work only when they are asked.
///
/// An `async fn` gets the lock in the order of those who came, holds it also while it awaits
/// something else, and lets go of it if its future is dropped. Any other `fn` blocks until it has
/// the lock.
///
/// # Errors
///
/// The function was not run, and returns the `LockError` of the lock: if waiting would never end,
/// that is a deadlock with its report. Therefore the function returns a `Result`, and its error has
/// to be `From<LockError>`. With `panic`, as in `#[synchronized(panic)]` or
/// `#[synchronized(panic, LOCK)]`, it may return anything, and panics with the report.
///
/// The locks are not reentrant: a function that calls itself, or another one with the same lock, is
/// such a deadlock.
///
/// # With `&mut self`
///
/// As the lock is borrowed, the body may use all other fields, but not `self` as a whole. Share the
/// lock where it has to: with a field `lock: Arc<Mutex<()>>`, write
/// `#[synchronized(Arc::clone(&self.lock))]`.
#[proc_macro_attribute]
pub fn synchronized(arguments: TokenStream, item: TokenStream) -> TokenStream {
    synchronized_with(|at| quote_spanned!(at=> ::antifreeze_sync), arguments, item)
}

/// Lets a struct travel as an object of a Python class.
///
/// ```
/// use antifreeze::{Class, from_value, to_value};
///
/// #[derive(Class, Clone, Debug, PartialEq)]
/// #[class = "shop.Order"]
/// struct Order {
///     id: u64,
///     #[serde(default)]
///     notes: Vec<String>,
/// }
///
/// assert_eq!(Order::CLASS, "shop.Order");
/// let order = Order { id: 7, notes: Vec::new() };
/// let value = to_value(&order)?;
/// assert_eq!(value.to_string(), "{'__class__': 'shop.Order', 'id': 7, 'notes': []}");
/// assert_eq!(from_value::<Order>(value)?, order);
/// # Ok::<(), antifreeze::Error>(())
/// ```
///
/// It brings serde's `Serialize` and `Deserialize`, so such structs can be arguments, results, and
/// parts of others. The fields may have all attributes of serde, as may the struct, but for `rename`,
/// `tag`, `default`, `remote` and `crate`.
///
/// A Python program sends objects of that class as they are, and gets such objects if it has told
/// Pyro how to make them:
///
/// ```python
/// Pyro5.api.register_dict_to_class("shop.Order", lambda name, data: Order(data["id"], data["notes"]))
/// ```
///
/// # Errors
///
/// What comes as an object of another class is refused: a `TypeError` for a Python caller. A dict
/// without a class is taken for what its entries say, as Rust programs send it whose struct has no
/// class.
#[proc_macro_derive(Class, attributes(class, serde))]
pub fn class(item: TokenStream) -> TokenStream {
    let (mut output, mistakes) = class::class(item.into());
    output.extend(mistakes.to_compile_errors());
    output.into()
}

/// Runs a function while it holds a lock.
///
/// Functions with the same lock never run at once, and however one ends, its lock is free again. It
/// can be an `async fn`, too, which then holds the lock also while it awaits something else.
///
/// ```
/// use antifreeze::sync::{LockError, Mutex};
/// use antifreeze::synchronized;
///
/// static LEDGER: Mutex<()> = Mutex::named("ledger", ());
///
/// #[synchronized(LEDGER)]
/// fn post(amount: &str) -> Result<i64, Box<dyn std::error::Error>> {
///     Ok(amount.parse()?)
/// }
///
/// #[synchronized(LEDGER)]
/// fn close() -> Result<(), LockError> {
///     Ok(())
/// }
///
/// assert!(post("ten").is_err());
/// assert!(!LEDGER.is_locked());
/// close()?;
/// # Ok::<(), LockError>(())
/// ```
///
/// This is [`antifreeze_sync::synchronized`], which tells all about it, for programs that have the
/// locks from `antifreeze::sync`.
///
/// [`antifreeze_sync::synchronized`]: https://docs.rs/antifreeze-sync/latest/antifreeze_sync/attr.synchronized.html
#[proc_macro_attribute]
pub fn synchronized_in_antifreeze(arguments: TokenStream, item: TokenStream) -> TokenStream {
    synchronized_with(
        |at| quote_spanned!(at=> ::antifreeze::sync),
        arguments,
        item,
    )
}

fn synchronized_with(
    home: synchronized::Home,
    arguments: TokenStream,
    item: TokenStream,
) -> TokenStream {
    let (mut output, mistakes) = synchronized::synchronized(arguments.into(), item.into(), home);
    output.extend(mistakes.to_compile_errors());
    output.into()
}
