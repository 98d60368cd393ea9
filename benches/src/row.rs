//! What is measured: the rows of the tables.

use std::fmt;

use serde::Serialize;

use crate::wire::Serializer;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// Blocking TCP, the bytes of the msgpack call.
    Raw,
    /// Pyro messages in prepared bytes.
    Prepared,
    /// Ours; the server on the threads driver.
    Antifreeze,
    /// Stock Pyro5, thread server.
    Pyro5,
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Raw => "raw TCP",
            Self::Prepared => "prepared bytes",
            Self::Antifreeze => "Antifreeze",
            Self::Pyro5 => "Pyro5",
        })
    }
}

/// A client, a server, and the serializer they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) client: Peer,
    pub(crate) server: Peer,
    pub(crate) serializer: Serializer,
}

impl Row {
    /// The limit: what no remote call can beat.
    pub(crate) const RAW: Self = Self::new(Peer::Raw, Peer::Raw, Serializer::Msgpack);

    pub(crate) const fn new(client: Peer, server: Peer, serializer: Serializer) -> Self {
        Self {
            client,
            server,
            serializer,
        }
    }

    /// All rows, in the order in which each round runs them.
    pub(crate) fn all() -> Vec<Self> {
        let mut rows = vec![
            Self::RAW,
            Self::new(Peer::Prepared, Peer::Prepared, Serializer::Msgpack),
            Self::new(Peer::Prepared, Peer::Antifreeze, Serializer::Msgpack),
            Self::new(Peer::Antifreeze, Peer::Prepared, Serializer::Msgpack),
        ];
        for (client, server) in [
            (Peer::Antifreeze, Peer::Antifreeze),
            (Peer::Pyro5, Peer::Prepared),
            (Peer::Pyro5, Peer::Antifreeze),
            (Peer::Pyro5, Peer::Pyro5),
            (Peer::Antifreeze, Peer::Pyro5),
        ] {
            rows.extend(Serializer::ALL.map(|serializer| Self::new(client, server, serializer)));
        }
        rows
    }

    /// The same client and serializer against another server.
    pub(crate) fn against(self, server: Peer) -> Self {
        Self { server, ..self }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} → {}, {}",
            self.client, self.server, self.serializer
        )
    }
}
