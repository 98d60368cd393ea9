//! The bytes of the benchmarked call, `calculator.add(20, 22)` and its answer 42, prepared.
//!
//! This is all that the rows without a Pyro library behind them know of the protocol.

use std::fmt;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

/// The id of the object that every server registers.
pub(crate) const OBJECT: &str = "calculator";
/// Length of a message's header.
pub(crate) const HEADER: usize = 40;

const MESSAGE_TYPE: usize = 6;
const SERIALIZER: usize = 7;
const FLAGS: usize = 8;
const SEQUENCE: usize = 10;
const DATA_LENGTH: usize = 12;
const CORRELATION_ID: usize = 20;

const CONNECT: u8 = 1;
const CONNECTOK: u8 = 2;
const INVOKE: u8 = 4;
const RESULT: u8 = 5;

/// The serializers that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub(crate) enum Serializer {
    Msgpack,
    Json,
    Serpent,
}

impl Serializer {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 3] = [Self::Msgpack, Self::Json, Self::Serpent];

    /// Its name in Pyro's configuration and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Msgpack => "msgpack",
            Self::Json => "json",
            Self::Serpent => "serpent",
        }
    }

    fn id(self) -> u8 {
        match self {
            Self::Serpent => 1,
            Self::Json => 3,
            Self::Msgpack => 4,
        }
    }
}

impl fmt::Display for Serializer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// What a client sends first.
pub(crate) fn connect(serializer: Serializer) -> Vec<u8> {
    message(
        CONNECT,
        serializer,
        match serializer {
            Serializer::Msgpack => b"\x82\xa9handshake\xa5hello\xa6object\xaacalculator",
            Serializer::Json => br#"{"handshake": "hello", "object": "calculator"}"#,
            Serializer::Serpent => {
                b"# serpent utf-8 python3.2\n{'handshake':'hello','object':'calculator'}"
            }
        },
    )
}

/// What a server answers to [`connect`].
pub(crate) fn connect_ok(serializer: Serializer) -> Vec<u8> {
    message(
        CONNECTOK,
        serializer,
        match serializer {
            Serializer::Msgpack => {
                b"\x82\xa9handshake\xa5hello\xa4meta\
                \x83\xa7methods\x91\xa3add\xa6oneway\x90\xa5attrs\x90"
            }
            Serializer::Json => {
                br#"{"handshake": "hello", "meta": {"methods": ["add"], "oneway": [], "attrs": []}}"#
            }
            Serializer::Serpent => {
                b"# serpent utf-8 python3.2\n\
                {'handshake':'hello','meta':{'methods':{'add'},'oneway':(),'attrs':()}}"
            }
        },
    )
}

/// The call.
pub(crate) fn request(serializer: Serializer) -> Vec<u8> {
    message(
        INVOKE,
        serializer,
        match serializer {
            Serializer::Msgpack => b"\x94\xaacalculator\xa3add\x92\x14\x16\x80",
            Serializer::Json => {
                br#"{"object": "calculator", "method": "add", "params": [20, 22], "kwargs": {}}"#
            }
            Serializer::Serpent => b"# serpent utf-8 python3.2\n('calculator','add',(20,22),{})",
        },
    )
}

/// The answer to [`request`].
pub(crate) fn reply(serializer: Serializer) -> Vec<u8> {
    message(
        RESULT,
        serializer,
        match serializer {
            Serializer::Msgpack => b"\x2a",
            Serializer::Json => b"42",
            Serializer::Serpent => b"# serpent utf-8 python3.2\n42",
        },
    )
}

/// Makes `answer` the answer to `question`: same sequence number, correlation id and its flag.
pub(crate) fn address_to(answer: &mut [u8], question: &[u8]) {
    for echoed in [FLAGS..DATA_LENGTH, CORRELATION_ID..CORRELATION_ID + 16] {
        answer[echoed.clone()].copy_from_slice(&question[echoed]);
    }
}

/// Gives a message its sequence number.
pub(crate) fn number(message: &mut [u8], sequence: u16) {
    message[SEQUENCE..DATA_LENGTH].copy_from_slice(&sequence.to_be_bytes());
}

/// Whether a client that wants to connect sent this.
pub(crate) fn is_connect(message: &[u8]) -> bool {
    message[MESSAGE_TYPE] == CONNECT
}

/// Whether this is the answer to call `sequence`.
pub(crate) fn is_reply_to(message: &[u8], sequence: u16) -> bool {
    message[MESSAGE_TYPE] == RESULT && message[SEQUENCE..DATA_LENGTH] == sequence.to_be_bytes()
}

/// The serializer that a message's header names.
pub(crate) fn serializer(message: &[u8]) -> Result<Serializer> {
    let id = message[SERIALIZER];
    let named = Serializer::ALL
        .into_iter()
        .find(|serializer| serializer.id() == id);
    named.with_context(|| format!("no bytes are prepared for serializer {id}"))
}

/// The length of the message that begins with these bytes, as soon as its header is complete.
pub(crate) fn length(bytes: &[u8]) -> Option<usize> {
    let lengths = bytes.get(DATA_LENGTH..CORRELATION_ID)?;
    let (data, annotations) = lengths.split_at(4);
    let read = |field: &[u8]| {
        field
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    Some(HEADER + read(data) + read(annotations))
}

fn message(kind: u8, serializer: Serializer, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..DATA_LENGTH - 4].copy_from_slice(&[
        b'P',
        b'Y',
        b'R',
        b'O',
        0x01,
        0xF6,
        kind,
        serializer.id(),
    ]);
    bytes[DATA_LENGTH..CORRELATION_ID - 4].copy_from_slice(&(payload.len() as u32).to_be_bytes());
    bytes[HEADER - 2..].copy_from_slice(&[0x4D, 0xC5]);
    bytes.extend_from_slice(payload);
    bytes
}
