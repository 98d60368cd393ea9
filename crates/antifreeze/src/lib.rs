//! Remote objects for Rust and Python that cannot freeze without saying why.
//!
//! Antifreeze speaks the Pyro5 wire protocol: unmodified Python programs call Rust objects, and
//! Rust programs call Python objects. `&self` methods of an object run together and `&mut self`
//! methods run alone: Rust's aliasing rule, carried over the network.
//!
//! # Serving
//!
//! [`expose`] the methods of a type, [`register`](Daemon::register) a value of it with a
//! [`Daemon`], and [`serve`](Daemon::serve).
//!
//! # Calling
//!
//! [`Proxy::connect`] to a URI, and [`call`](Proxy::call); or describe the object as a trait under
//! [`proxy`] and have typed methods. Tasks use [`tokio::Proxy`], or a trait of `async fn`.
//!
//! ```
//! use antifreeze::{Daemon, Proxy, expose};
//!
//! struct Account {
//!     balance: i64,
//! }
//!
//! #[expose]
//! impl Account {
//!     fn balance(&self) -> i64 {
//!         self.balance
//!     }
//!
//!     fn deposit(&mut self, amount: i64) -> i64 {
//!         self.balance += amount;
//!         self.balance
//!     }
//! }
//!
//! # fn main() -> Result<(), antifreeze::Error> {
//! let daemon = Daemon::bind("localhost:0")?;
//! let uri = daemon.register("account", Account { balance: 0 })?;
//! let running = daemon.start()?;
//!
//! let account = Proxy::connect(uri)?;
//! let balance: i64 = account.call("deposit", (10,))?;
//! assert_eq!(balance, 10);
//! running.stop()
//! # }
//! ```
//!
//! # Locks
//!
//! Methods may take locks of their own; those of [`sync`] cannot hang silently. Whoever waits in a
//! circle, for locks, for objects or for workers of a daemon, is told so within milliseconds by an
//! error that names everybody in it and all that they hold. A method returns it with `?`, and its
//! caller sees an `OSError` with the number 35 (`EDEADLK`).
//!
//! ```
//! use antifreeze::sync::{LockError, Mutex};
//! use antifreeze::{expose, synchronized};
//!
//! static LEDGER: Mutex<Vec<String>> = Mutex::named("ledger", Vec::new());
//! static REPORTS: Mutex<()> = Mutex::named("reports", ());
//!
//! struct Bank;
//!
//! #[expose]
//! impl Bank {
//!     fn note(&self, text: String) -> Result<usize, LockError> {
//!         let mut ledger = LEDGER.lock()?;
//!         ledger.push(text);
//!         Ok(ledger.len())
//!     }
//!
//!     #[synchronized(REPORTS)]
//!     fn report(&self) -> Result<Vec<String>, LockError> {
//!         Ok(LEDGER.lock()?.clone())
//!     }
//! }
//! ```
//!
//! # What it does not do yet
//!
//! TLS. A call that waits too long for its object is answered with an error; one whose method never returns is waited for as
//! long as its deadline says, which by default is for ever ([`Proxy::within`], [`Config::call_deadline`]).
//!
//! # What happens where nobody looks
//!
//! Refused peers, oneway calls that raise and connections that end are told to [`tracing`]; install a
//! subscriber to see them.
//!
//! [`tracing`]: https://docs.rs/tracing
#![forbid(unsafe_code)]

// So that the macros, which write `::antifreeze`, work in here, too.
extern crate self as antifreeze;

mod blob;
pub mod call;
mod chain;
mod client;
mod config;
mod daemon;
mod deadlock;
mod detector;
mod error;
mod foreign;
mod naming;
mod net;
mod rpc;
mod server;
mod sleep;
mod threads;
pub mod tokio;
mod uri;
pub mod waits;

pub use antifreeze_macros::{Class, expose, proxy, synchronized_in_antifreeze as synchronized};
pub use antifreeze_proto::{AnnotationId, Annotations, CorrelationId};
pub use antifreeze_serial::{
    BigInt, Bytes, Class, Complex, Date, Dict, Exception, FrozenSet, ProxyState, Serializer, Set,
    Str, Timestamp, UriObject, UriState, Value, from_value, num_bigint, register_dict_to_class,
    to_value, unregister_dict_to_class,
};

pub use antifreeze_detector::Opaque;
pub use blob::SerializedBlob;
pub use client::{Batch, BatchResults, Items, Proxy, ProxyBuilder, Returned};
pub use config::{Config, ConfigEntry, ConfigSource, IpVersion};
pub use daemon::{Daemon, DaemonBuilder, DaemonHandle, Running};
pub use deadlock::Deadlock;
pub use error::{Error, ErrorKind, Fault, Sent};
pub use naming::{NameServer, locate_ns};
pub use rpc::{
    AsyncReadGuard, AsyncWriteGuard, ClientInfo, CustomException, Expose, ExposeLocal, FailedCall,
    HandshakeInfo, InstanceMode, IntoObject, ItemStream, Metadata, Object, ReadGuard, WeakObject,
    WriteGuard,
};
pub use uri::{IntoUri, Location, Protocol, Uri};

/// Locks for threads and tasks that cannot hang silently.
pub mod sync {
    // Shadows the one of the glob, which looks for the locks in `::antifreeze_sync`.
    pub use antifreeze_macros::synchronized_in_antifreeze as synchronized;
    pub use antifreeze_sync::*;
}

/// What the macros write, and nobody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::rpc::{
        ArgumentError, Arguments, Class, Encoded, FromKeywords, Invocation, Member, MemberKind,
        Out, Running, Step,
    };
    pub use antifreeze_serial::ClassDict;
    pub use serde;
}
