//! What `#[expose]` and `#[proxy]` generate, used through a real daemon and a real proxy.

use std::collections::BTreeMap;
use std::num::ParseIntError;

use antifreeze::{Bytes, Daemon, Error, ErrorKind, Expose, Proxy, Running, Value};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Serves the object until the guard is dropped.
fn served(object: impl Expose) -> (Running, Proxy) {
    let daemon = Daemon::bind("localhost:0").unwrap();
    let uri = daemon.register("object", object).unwrap();
    let running = daemon.start().unwrap();
    (running, Proxy::connect(uri).unwrap())
}

/// The class of the exception that the call raised.
#[track_caller]
fn raised<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    error.remote().unwrap().class.clone()
}

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

#[derive(Default)]
struct Account {
    owner: String,
    balance: i64,
    notes: Vec<String>,
    password: Option<String>,
}

#[antifreeze::expose]
impl Account {
    #[attr]
    fn owner(&self) -> &str {
        &self.owner
    }

    #[attr(set)]
    fn set_owner(&mut self, owner: &str) -> Result<(), String> {
        if owner.is_empty() {
            return Err("nobody owns it".to_owned());
        }
        self.owner = owner.to_owned();
        Ok(())
    }

    #[attr(set)]
    #[rename = "password"]
    fn lock(&mut self, password: Option<&str>) {
        self.password = password.map(str::to_owned);
    }

    #[attr]
    fn locked(&self) -> bool {
        self.password.is_some()
    }

    #[quick]
    fn balance(&self) -> i64 {
        self.balance
    }

    fn deposit(&mut self, amount: i64) -> i64 {
        self.balance += amount;
        self.balance
    }

    fn withdraw(&mut self, amount: &str) -> Result<i64, ParseIntError> {
        self.balance -= amount.parse::<i64>()?;
        Ok(self.balance)
    }

    #[oneway]
    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn currency() -> &'static str {
        "EUR"
    }

    #[rename = "move"]
    fn move_to(&mut self, owner: String) {
        self.owner = owner;
    }

    #[private]
    fn reset(&mut self) {
        self.balance = 0;
    }

    fn close(&mut self) -> i64 {
        let balance = self.balance;
        self.reset();
        balance
    }

    #[callback]
    fn fail(&self) {
        panic!("on purpose");
    }

    fn __len__(&self) -> usize {
        self.notes.len()
    }
}

#[antifreeze::proxy]
trait Account {
    #[attr]
    fn owner(&self) -> String;
    #[attr(set)]
    fn set_owner(&self, owner: &str);
    #[idempotent]
    fn balance(&self) -> i64;
    fn deposit(&self, amount: i64) -> i64;
    fn withdraw(&self, amount: &str) -> Result<i64, ParseIntError>;
    #[oneway]
    fn note(&self, note: &str);
    fn notes(&self) -> Vec<String>;
    fn currency(&self) -> String;
    #[rename = "move"]
    fn move_to(&self, owner: &str);
}

#[test]
fn what_is_exposed() {
    let (_running, proxy) = served(Account::default());
    let metadata = proxy.metadata().unwrap();
    let methods = names([
        "__len__", "balance", "close", "currency", "deposit", "fail", "move", "note", "notes",
        "withdraw",
    ]);
    assert_eq!(metadata.methods, methods.into_iter().collect());
    assert_eq!(metadata.oneway, names(["note"]).into_iter().collect());
    assert_eq!(
        metadata.attrs,
        names(["locked", "owner", "password"]).into_iter().collect()
    );

    for hidden in ["reset", "move_to", "lock", "set_owner", "owner"] {
        let class = raised(proxy.call::<Value>(hidden, ()));
        assert_eq!(class, "builtins.AttributeError", "{hidden}");
    }
}

#[test]
fn methods_change_the_object() {
    let (_running, proxy) = served(Account::default());
    assert_eq!(proxy.call::<i64>("deposit", (10,)).unwrap(), 10);
    let keywords = BTreeMap::from([("amount", 5)]);
    assert_eq!(proxy.call_kw::<i64>("deposit", (), &keywords).unwrap(), 15);
    assert_eq!(proxy.call::<i64>("withdraw", ("4",)).unwrap(), 11);
    assert_eq!(proxy.call::<i64>("close", ()).unwrap(), 11);
    assert_eq!(proxy.call::<i64>("balance", ()).unwrap(), 0);
}

#[test]
fn errors_are_exceptions() {
    let (_running, proxy) = served(Account::default());
    assert_eq!(
        raised(proxy.call::<i64>("withdraw", ("ten",))),
        "builtins.ValueError"
    );
    assert_eq!(raised(proxy.set_attr("owner", "")), "builtins.RuntimeError");
    assert_eq!(
        raised(proxy.call::<i64>("deposit", ("ten",))),
        "builtins.TypeError"
    );
    assert_eq!(
        raised(proxy.call::<i64>("deposit", ())),
        "builtins.TypeError"
    );
    assert_eq!(
        raised(proxy.call::<i64>("deposit", (1, 2))),
        "builtins.TypeError"
    );
    let keywords = BTreeMap::from([("amounts", 5)]);
    assert_eq!(
        raised(proxy.call_kw::<i64>("deposit", (), &keywords)),
        "builtins.TypeError"
    );
    // The object is as it was.
    assert_eq!(proxy.call::<i64>("balance", ()).unwrap(), 0);
}

#[test]
fn a_callback_that_fails_ends_its_connection_and_nothing_else() {
    let (running, proxy) = served(Account::default());
    let other = Proxy::connect(running.daemon().uri_for("object").unwrap()).unwrap();
    assert_eq!(
        raised(proxy.call::<()>("fail", ())),
        "builtins.RuntimeError"
    );
    assert_eq!(other.call::<i64>("deposit", (1,)).unwrap(), 1);
}

#[test]
fn attributes() {
    let (_running, proxy) = served(Account::default());
    proxy.set_attr("owner", "Ada").unwrap();
    assert_eq!(proxy.attr::<String>("owner").unwrap(), "Ada");

    assert!(!proxy.attr::<bool>("locked").unwrap());
    proxy.set_attr("password", "secret").unwrap();
    assert!(proxy.attr::<bool>("locked").unwrap());
    proxy.set_attr("password", None::<&str>).unwrap();
    assert!(!proxy.attr::<bool>("locked").unwrap());

    assert_eq!(
        raised(proxy.attr::<Value>("password")),
        "builtins.AttributeError"
    );
    assert_eq!(
        raised(proxy.set_attr("locked", true)),
        "builtins.AttributeError"
    );
    assert_eq!(
        raised(proxy.attr::<Value>("balance")),
        "builtins.AttributeError"
    );
}

#[test]
fn a_typed_proxy() {
    let (running, proxy) = served(Account::default());
    let account = AccountProxy::new(proxy);
    account.set_owner("Ada").unwrap();
    account.deposit(10).unwrap();
    account.note("first").unwrap();
    // Oneways of one connection keep their order, and what follows them sees them.
    account.note("second").unwrap();
    assert_eq!(account.withdraw("3").unwrap(), 7);
    assert_eq!(raised(account.withdraw("three")), "builtins.ValueError");
    assert_eq!(account.owner().unwrap(), "Ada");
    account.move_to("Grace").unwrap();
    assert_eq!(account.currency().unwrap(), "EUR");

    let uri = running.daemon().uri_for("object").unwrap();
    let other = AccountProxy::connect(uri).unwrap();
    let clone = other.clone();
    assert_eq!(other.owner().unwrap(), "Grace");
    assert_eq!(clone.balance().unwrap(), 7);
    assert_eq!(account.notes().unwrap(), ["first", "second"]);
    assert_eq!(account.as_proxy().call::<usize>("__len__", ()).unwrap(), 2);
}

/// The same, for tasks.
#[antifreeze::proxy(name = "AsyncAccountProxy")]
trait Account {
    #[idempotent]
    async fn balance(&self) -> i64;
    async fn withdraw(&self, amount: &str) -> i64;
    #[oneway]
    async fn note(&self, note: &str);
    async fn notes(&self) -> Vec<String>;
    #[attr]
    async fn owner(&self) -> String;
    #[attr(set)]
    async fn set_owner(&self, owner: impl Serialize);
}

#[tokio::test]
async fn an_async_typed_proxy() {
    let (running, _) = served(Account::default());
    let uri = running.daemon().uri_for("object").unwrap();
    let account = AsyncAccountProxy::connect(uri).await.unwrap();
    account.set_owner("Ada").await.unwrap();
    assert_eq!(account.owner().await.unwrap(), "Ada");
    account.note("first").await.unwrap();
    account.note("second").await.unwrap();
    assert_eq!(account.notes().await.unwrap(), ["first", "second"]);
    assert_eq!(
        raised(account.withdraw("three").await),
        "builtins.ValueError"
    );
    let other = AsyncAccountProxy::new(account.as_proxy().clone());
    // They go where tasks go.
    let task = tokio::spawn(async move { account.withdraw("3").await });
    assert_eq!(task.await.unwrap().unwrap(), -3);
    assert_eq!(other.balance().await.unwrap(), -3);
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
struct Point {
    x: i64,
    y: i64,
}

struct Echo;

type Tuple = (i64, i64);
type Named = BTreeMap<String, i64>;

#[antifreeze::expose]
impl Echo {
    fn borrowed<'a>(&self, text: &'a str, numbers: &[i64], point: &Point) -> (&'a str, i64, i64) {
        (text, numbers.iter().sum(), point.x)
    }

    fn bytes(&self, data: &[u8], more: Option<&[u8]>) -> Bytes {
        [data, more.unwrap_or(b"-")].concat().into()
    }

    fn borrowed_bytes(&self) -> &[u8] {
        b"abc"
    }

    fn checked_bytes(&self, fail: bool) -> Result<&[u8], String> {
        if fail {
            Err("no bytes".to_owned())
        } else {
            Ok(b"abc")
        }
    }

    fn optional(&self, a: Option<i64>, b: i64, c: Option<&str>) -> (Option<i64>, i64, bool) {
        (a, b, c.is_some())
    }

    fn defaults(
        &self,
        a: i64,
        #[default] b: i64,
        #[default = a_default()] c: i64,
        #[default = "text"] d: String,
        #[default = "borrowed"] e: &str,
        #[default] f: Point,
    ) -> (i64, i64, i64, String, String, i64) {
        (a, b, c, d, e.to_owned(), f.y)
    }

    fn all(&self, first: i64, #[args] rest: Vec<i64>, #[kwargs] named: Named) -> (Tuple, Named) {
        ((first, rest.iter().sum()), named)
    }

    fn by_name(&self, #[rename = "from"] from_: i64, r#type: i64) -> i64 {
        from_ - r#type
    }

    /// Names that the expansion uses itself.
    fn names(&self, this: i64, out: i64, arguments: i64, invocation: i64) -> i64 {
        this + out * 10 + arguments * 100 + invocation * 1000
    }

    fn class(&self) -> &'static str {
        "not the one of the trait"
    }
}

fn a_default() -> i64 {
    7
}

#[antifreeze::proxy(name = "Remote")]
trait Echo {
    fn borrowed(&self, text: &str, numbers: &[i64], point: &Point) -> (String, i64, i64);
    fn bytes(&self, data: &[u8], more: Option<&[u8]>) -> Bytes;
    fn all(&self, #[args] values: &[i64], #[kwargs] named: &Named) -> (Tuple, Named);
    #[rename = "optional"]
    fn any<T: DeserializeOwned + 'static>(&self, a: impl Serialize, b: i64) -> T;
}

#[test]
fn borrowed_arguments_and_results() {
    let (_running, proxy) = served(Echo);
    let echo = Remote::new(proxy.clone());
    let point = Point { x: 3, y: 4 };
    assert_eq!(
        echo.borrowed("a", &[1, 2], &point).unwrap(),
        ("a".to_owned(), 3, 3)
    );

    assert_eq!(echo.bytes(b"ab", Some(b"c")).unwrap(), "abc");
    assert_eq!(echo.bytes(b"ab", None).unwrap(), "ab-");
    assert_eq!(proxy.call::<Bytes>("borrowed_bytes", ()).unwrap(), "abc");
    assert_eq!(
        proxy.call::<Bytes>("checked_bytes", (false,)).unwrap(),
        "abc"
    );
    assert_eq!(
        raised(proxy.call::<Bytes>("checked_bytes", (true,))),
        "builtins.RuntimeError"
    );
}

#[test]
fn arguments_that_may_be_missing() {
    let (_running, proxy) = served(Echo);
    type Optional = (Option<i64>, i64, bool);
    assert_eq!(
        proxy.call::<Optional>("optional", (1, 2)).unwrap(),
        (Some(1), 2, false)
    );
    assert_eq!(
        proxy.call::<Optional>("optional", ((), 2, "")).unwrap(),
        (None, 2, true)
    );
    let keywords = BTreeMap::from([("b", 2)]);
    let optional = proxy
        .call_kw::<Optional>("optional", (), &keywords)
        .unwrap();
    assert_eq!(optional, (None, 2, false));
    assert_eq!(
        Remote::new(proxy.clone()).any::<Optional>(1, 2).unwrap(),
        (Some(1), 2, false)
    );

    type Defaults = (i64, i64, i64, String, String, i64);
    let defaults = proxy.call::<Defaults>("defaults", (1,)).unwrap();
    assert_eq!(
        defaults,
        (1, 0, 7, "text".to_owned(), "borrowed".to_owned(), 0)
    );
    let all = (1, 2, 3, "d", "e", Point { x: 0, y: 6 });
    let defaults = proxy.call::<Defaults>("defaults", all).unwrap();
    assert_eq!(defaults, (1, 2, 3, "d".to_owned(), "e".to_owned(), 6));
    assert_eq!(
        raised(proxy.call::<Defaults>("defaults", ())),
        "builtins.TypeError"
    );
}

#[test]
fn all_the_arguments_that_are_left() {
    let (_running, proxy) = served(Echo);
    let named = Named::from([("x".to_owned(), 1), ("y".to_owned(), 2)]);
    let all = proxy
        .call_kw::<(Tuple, Named)>("all", (1, 2, 3), &named)
        .unwrap();
    assert_eq!(all, ((1, 5), named.clone()));
    assert_eq!(
        proxy.call::<(Tuple, Named)>("all", (1,)).unwrap(),
        ((1, 0), Named::new())
    );
    assert_eq!(Remote::new(proxy).all(&[1, 2, 3], &named).unwrap(), all);
}

#[test]
fn names_of_arguments() {
    let (_running, proxy) = served(Echo);
    let keywords = BTreeMap::from([("from", 5), ("type", 2)]);
    assert_eq!(proxy.call_kw::<i64>("by_name", (), &keywords).unwrap(), 3);
    assert_eq!(proxy.call::<i64>("names", (1, 2, 3, 4)).unwrap(), 4321);
    assert_eq!(
        proxy.call::<String>("class", ()).unwrap(),
        "not the one of the trait"
    );
}

/// An object whose methods depend on a type, on a number and on the platform.
struct Shelf<T, const SIZE: usize>(Vec<T>);

#[antifreeze::expose]
impl<T: Clone + Serialize + DeserializeOwned, const SIZE: usize> Shelf<T, SIZE> {
    fn put(&mut self, thing: T, #[default] more: &[T]) -> Result<usize, String> {
        if self.0.len() + more.len() >= SIZE {
            return Err(format!("there is room for {SIZE} things"));
        }
        self.0.push(thing);
        self.0.extend_from_slice(more);
        Ok(self.0.len())
    }

    fn first(&self) -> Option<&T> {
        self.0.first()
    }

    #[cfg(unix)]
    fn platform(&self) -> &'static str {
        "unix"
    }

    #[cfg(not(unix))]
    fn platform(&self) -> &'static str {
        "another"
    }
}

#[test]
fn a_generic_object() {
    let (_running, proxy) = served(Shelf::<Point, 2>(Vec::new()));
    let point = Point { x: 1, y: 2 };
    assert_eq!(proxy.call::<Option<Point>>("first", ()).unwrap(), None);
    assert_eq!(proxy.call::<usize>("put", (&point,)).unwrap(), 1);
    assert_eq!(
        raised(proxy.call::<usize>("put", (&point, [&point]))),
        "builtins.RuntimeError"
    );
    assert_eq!(
        proxy.call::<Option<Point>>("first", ()).unwrap(),
        Some(point)
    );
    let platform = if cfg!(unix) { "unix" } else { "another" };
    assert_eq!(proxy.call::<String>("platform", ()).unwrap(), platform);
}

macro_rules! counters {
    ($($name:ident: $count:ty),*) => {$(
        struct $name($count);

        #[antifreeze::expose]
        impl $name {
            fn add(&mut self, number: Option<$count>) -> $count {
                self.0 += number.unwrap_or(1);
                self.0
            }
        }
    )*};
}

counters!(Small: u8, Large: u64);

#[test]
fn objects_that_a_macro_writes() {
    let (_running, proxy) = served(Small(1));
    assert_eq!(proxy.call::<u8>("add", ()).unwrap(), 2);
    assert_eq!(
        raised(proxy.call::<u8>("add", (256,))),
        "builtins.OverflowError"
    );
    let (_running, proxy) = served(Large(1));
    assert_eq!(proxy.call::<u64>("add", (256,)).unwrap(), 257);
}
