//! The Pyro wire protocol, sans-I/O.
#![forbid(unsafe_code)]

pub mod annotations;
mod client;
mod compress;
mod config;
mod error;
mod few;
mod io;
pub mod message;
mod reader;
mod segments;
mod server;
mod time;
mod timer;
mod writer;

pub use annotations::{AnnotationId, Annotations};
pub use client::{Call, ClientConnection, ClientEvent, Connect, Response, Sent};
pub use config::{Config, Limits};
pub use error::{CloseCause, ProtocolError, UsageError};
pub use io::{Input, Output, RequestId, StateName};
pub use message::{CorrelationId, Flags, Header, Kind, Message, Seq, SerializerId};
pub use segments::Segments;
pub use server::{Accept, Handshake, Refuse, Reply, Request, ServerConnection, ServerEvent};
pub use time::Time;
pub use timer::Timer;
