//! Asking processes, and those whom they call.

use std::collections::HashSet;
use std::thread;

use antifreeze::waits::{Graph, PastDeadlock};
use antifreeze::{Config, Error, ErrorKind, Location, Proxy, Serializer, Uri};
use serde::Serialize;

/// How many processes are asked in all, and at a time.
const MOST: usize = 1000;
const AT_A_TIME: usize = 32;

/// All that was found out.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(super) struct World {
    pub(super) processes: Vec<Process>,
    pub(super) unreachable: Vec<Unreachable>,
}

/// A process that has answered.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(super) struct Process {
    /// Where it was asked.
    pub(super) address: String,
    /// Nobody named it, but another one has called it.
    pub(super) followed: bool,
    #[serde(flatten)]
    pub(super) graph: Graph,
    pub(super) deadlocks: Vec<PastDeadlock>,
}

/// One that has not.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(super) struct Unreachable {
    pub(super) address: String,
    pub(super) followed: bool,
    pub(super) why: String,
}

impl World {
    /// Asks who is there, and if they are to be followed, also those whom they call.
    pub(super) fn ask(places: &[Location], follow: bool, config: &Config) -> Self {
        let mut world = Self::default();
        let mut asked = HashSet::new();
        let mut next: Vec<_> = places.to_vec();
        let mut followed = false;
        while !next.is_empty() && asked.len() < MOST {
            next.retain(|place| asked.insert(place.clone()));
            for some in next.chunks(AT_A_TIME) {
                world.ask_some(some, followed, config);
            }
            next = match follow {
                true => world.called(),
                false => Vec::new(),
            };
            next.retain(|place| !asked.contains(place));
            followed = true;
        }
        world
    }

    fn ask_some(&mut self, places: &[Location], followed: bool, config: &Config) {
        let answers: Vec<_> = thread::scope(|scope| {
            let asking = places
                .iter()
                .map(|place| scope.spawn(|| ask(place, config)));
            let asking: Vec<_> = asking.collect();
            asking
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect()
        });
        for (place, answer) in places.iter().zip(answers) {
            let address = place.to_string();
            match answer {
                Ok(Ok((graph, _))) if self.has(&graph.node) => {}
                Ok(Ok((graph, deadlocks))) => self.processes.push(Process {
                    address,
                    followed,
                    graph,
                    deadlocks,
                }),
                Ok(Err(why)) => self.unreachable.push(Unreachable {
                    address,
                    followed,
                    why,
                }),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    }

    /// Where those are who were called and have not been asked.
    fn called(&self) -> Vec<Location> {
        let calls = self
            .processes
            .iter()
            .flat_map(|process| &process.graph.calls);
        let unknown = calls.filter(|call| call.node.as_ref().is_some_and(|node| !self.has(node)));
        let places: HashSet<_> = unknown.filter_map(|call| call.to.parse().ok()).collect();
        let mut places: Vec<_> = places.into_iter().collect();
        places.sort();
        places
    }

    fn has(&self, node: &str) -> bool {
        self.processes
            .iter()
            .any(|process| process.graph.node == node)
    }
}

fn ask(place: &Location, config: &Config) -> Result<(Graph, Vec<PastDeadlock>), String> {
    let ask = || {
        let detector = detector(place, config)?;
        Ok((detector.call("graph", ())?, detector.call("deadlocks", ())?))
    };
    ask().map_err(|error| why(&error))
}

/// What the detector there has counted.
pub(super) fn metrics(place: &Location, config: &Config) -> Result<String, String> {
    let ask = || detector(place, config)?.call("metrics", ());
    ask().map_err(|error| why(&error))
}

fn detector(place: &Location, config: &Config) -> Result<Proxy, Error> {
    let uri = Uri::new("Antifreeze.Detector", place.clone())?;
    let proxy = Proxy::builder(uri)?.config(config.clone());
    proxy.serializer(Serializer::Msgpack).connect()
}

/// Why it does not answer.
fn why(error: &Error) -> String {
    match (error.kind(), error.to_string()) {
        (ErrorKind::Remote | ErrorKind::Refused, text) if text.contains("unknown object") => {
            "it is no Antifreeze program, and cannot be asked".to_owned()
        }
        (_, text) => text,
    }
}
