//! Who does what, and how long it took.

use std::fmt;
use std::path::PathBuf;

use antifreeze_serial::Serializer;
use serde::{Deserialize, Serialize};

use super::data::Dataset;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Codec {
    Serpent,
    Marshal,
    Json,
    Msgpack,
}

impl Codec {
    pub(super) const ALL: [Self; 4] = [Self::Serpent, Self::Marshal, Self::Json, Self::Msgpack];

    pub(super) fn serializer(self) -> Serializer {
        match self {
            Self::Serpent => Serializer::Serpent,
            Self::Marshal => Serializer::Marshal,
            Self::Json => Serializer::Json,
            Self::Msgpack => Serializer::Msgpack,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.serializer().name())
    }
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    Encode,
    Decode,
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Encode => "encode",
            Self::Decode => "decode",
        })
    }
}

/// What all contestants of one line do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contest {
    pub(super) codec: Codec,
    pub(super) dataset: Dataset,
    pub(super) operation: Operation,
}

impl Contest {
    /// All that make sense: JSON has no bytes.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Codec::ALL.into_iter().flat_map(|codec| {
            let datasets = Dataset::ALL.into_iter();
            let carried =
                move |dataset: &Dataset| (codec, *dataset) != (Codec::Json, Dataset::Bytes);
            datasets.filter(carried).flat_map(move |dataset| {
                [Operation::Encode, Operation::Decode].map(|operation| Self {
                    codec,
                    dataset,
                    operation,
                })
            })
        })
    }

    pub(super) fn contestants(self) -> Vec<Contestant> {
        use Contestant::{
            Python, RmpSerde, Rmpv, SerdeJson, SerdeJsonValue, Sonic, SonicValue, Typed, Value,
        };
        let mut contestants = vec![Typed];
        // A value of serpent's bytes is the dict of base64 that they are, which is another task.
        if (self.codec, self.dataset) != (Codec::Serpent, Dataset::Bytes) {
            contestants.push(Value);
        }
        contestants.push(Python);
        match self.codec {
            Codec::Json => contestants.extend([SerdeJson, SerdeJsonValue, Sonic, SonicValue]),
            Codec::Msgpack => contestants.extend([RmpSerde, Rmpv]),
            Codec::Serpent | Codec::Marshal => {}
        }
        contestants
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            codec,
            dataset,
            operation,
        } = self;
        write!(out, "{codec}, {operation} {dataset}")
    }
}

/// Who encodes and decodes, and into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Contestant {
    /// Ours, structs and vectors.
    Typed,
    /// Ours, values of any kind.
    Value,
    /// The codecs that Pyro5 uses, most of them in C.
    Python,
    SerdeJson,
    SerdeJsonValue,
    Sonic,
    SonicValue,
    /// Structs with names, as Python writes dicts.
    RmpSerde,
    Rmpv,
}

impl fmt::Display for Contestant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Typed => "ours, typed",
            Self::Value => "ours, `Value`",
            Self::Python => "Python",
            Self::SerdeJson => "serde_json, typed",
            Self::SerdeJsonValue => "serde_json, `Value`",
            Self::Sonic => "sonic-rs, typed",
            Self::SonicValue => "sonic-rs, `Value`",
            Self::RmpSerde => "rmp-serde, typed",
            Self::Rmpv => "rmpv, `Value`",
        })
    }
}

/// What one process shall do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) contestant: Contestant,
    #[serde(flatten)]
    pub(super) contest: Contest,
    /// What Python made of the dataset.
    pub(super) document: PathBuf,
    pub(super) effort: Effort,
}

/// How often.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Effort {
    /// Again and again for so long.
    Milliseconds(u64),
    /// So many times, without looking at the clock.
    Times(u64),
}

/// What a process says.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Of CPU, the median of all times; 0 if nobody looked at the clock.
    pub(super) nanoseconds: f64,
    /// Of one time; `None` in Python.
    pub(super) allocations: Option<u64>,
}
