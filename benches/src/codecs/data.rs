//! What is encoded and decoded.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// One of the values that all codecs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dataset {
    Nested,
    Ints,
    Floats,
    Texts,
    Bytes,
}

impl Dataset {
    pub(super) const ALL: [Self; 5] = [
        Self::Nested,
        Self::Ints,
        Self::Floats,
        Self::Texts,
        Self::Bytes,
    ];

    /// The name of its files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Ints => "ints",
            Self::Floats => "floats",
            Self::Texts => "texts",
            Self::Bytes => "bytes",
        }
    }

    /// The value for Python, which makes documents of it: JSON, and bytes as they are.
    pub(super) fn source(self) -> Result<Vec<u8>> {
        let mut random = fastrand::Rng::with_seed(4200);
        Ok(match self {
            Self::Nested => serde_json::to_vec(&network(&mut random))?,
            Self::Ints => serde_json::to_vec(&list(&mut random, int))?,
            Self::Floats => serde_json::to_vec(&list(&mut random, |random| random.f64() * 1e3))?,
            Self::Texts => serde_json::to_vec(&list(&mut random, text))?,
            Self::Bytes => bytes(&mut random).into_vec(),
        })
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Nested => "1 MB of nested dicts",
            Self::Ints => "100,000 ints",
            Self::Floats => "100,000 floats",
            Self::Texts => "100,000 short strings",
            Self::Bytes => "64 MiB of bytes",
        })
    }
}

/// Nested dicts, as a program that knows their keys has them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Network {
    name: String,
    version: i64,
    stations: Vec<Station>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Station {
    id: i64,
    name: String,
    active: bool,
    position: Position,
    owner: Owner,
    tags: Vec<String>,
    readings: Readings,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Position {
    x: f64,
    y: f64,
    z: f64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Owner {
    name: String,
    mail: String,
    address: Address,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Address {
    street: String,
    number: i64,
    city: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Readings {
    count: i64,
    mean: f64,
    last: Reading,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    time: i64,
    value: f64,
}

/// As many stations as make 1 MB of Python's JSON.
const STATIONS: usize = 2_320;

fn network(random: &mut fastrand::Rng) -> Network {
    Network {
        name: "measuring network".into(),
        version: 3,
        stations: (1..=STATIONS).map(|id| station(id, random)).collect(),
    }
}

fn station(id: usize, random: &mut fastrand::Rng) -> Station {
    let metres = |random: &mut fastrand::Rng| f64::from(random.i32(-900_000..900_000)) / 1e3;
    let name = text(random);
    Station {
        id: id as i64,
        name: format!("station {id:04}"),
        active: random.bool(),
        position: Position {
            x: metres(random),
            y: metres(random),
            z: metres(random),
        },
        owner: Owner {
            mail: format!("{name}@example.org"),
            name,
            address: Address {
                street: format!("{} street", text(random)),
                number: random.i64(1..300),
                city: if random.u8(..8) == 0 {
                    "Zürich".into()
                } else {
                    text(random)
                },
            },
        },
        tags: (0..3).map(|_| text(random)).collect(),
        readings: Readings {
            count: random.i64(0..100_000),
            mean: random.f64() * 100.0,
            last: Reading {
                time: random.i64(1_600_000_000..1_800_000_000),
                value: random.f64() * 100.0,
            },
        },
        note: (random.u8(..4) == 0).then(|| format!("it's {} again", text(random))),
    }
}

fn list<T>(random: &mut fastrand::Rng, element: impl Fn(&mut fastrand::Rng) -> T) -> Vec<T> {
    (0..100_000).map(|_| element(random)).collect()
}

/// Of all lengths up to ten digits.
fn int(random: &mut fastrand::Rng) -> i64 {
    i64::from(random.i32(..)) >> random.u32(0..32)
}

/// Letters, from four to twelve.
fn text(random: &mut fastrand::Rng) -> String {
    let len = random.usize(4..=12);
    (0..len).map(|_| random.lowercase()).collect()
}

fn bytes(random: &mut fastrand::Rng) -> ByteBuf {
    let mut bytes = vec![0; 64 << 20];
    random.fill(&mut bytes);
    ByteBuf::from(bytes)
}
