//! Chains of calls: where a call that is served comes from, and what one that is made belongs to.
//!
//! Each call that we make says for which one it is made, and so on back to the thread or task that
//! began. Programs of ours write that afresh; a Python program hands on what it was called with, so
//! what comes through it names one of our calls that may be over. Such a parent counts only as long
//! as that call is out.

use std::panic::Location as Site;
use std::sync::{Arc, OnceLock};

use antifreeze_proto::{self as proto, Path, Request};
use antifreeze_sync::calls::{self, Ancestor, Call, CallId, Chain, Origin, Outgoing, Parent, Peer};
use bytes::Bytes;
use parking_lot::RwLock;

use crate::call;
use crate::uri::Location;

/// Where the detector of this process can be reached by those who are called through foreign hands.
static ADDRESS: RwLock<Option<Bytes>> = RwLock::new(None);

/// Tells others from now on where the detector of this process is.
#[expect(dead_code, reason = "the detector's transport is to say so")]
pub(crate) fn set_address(address: Option<Bytes>) {
    *ADDRESS.write() = address;
}

/// Where a connection leads.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) location: Location,
    /// The process there, if it is one of ours.
    pub(crate) node: Option<u64>,
}

impl Route {
    /// Whether calls may be served outside of this process.
    fn leads_away(&self) -> bool {
        self.node != Some(calls::node())
    }

    fn target(&self) -> proto::Target {
        proto::Target {
            hash: hash(&self.location),
            opaque: self.node.is_none(),
            single: false,
        }
    }
}

/// A number for a place, the same in all programs (FNV-1a).
fn hash(location: &Location) -> u32 {
    let text = location.to_string();
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

impl Peer for Route {
    fn describe(&self) -> String {
        self.location.to_string()
    }
}

/// Who makes a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    /// The thread, which is blocked until it is answered.
    Thread,
    /// The task that is polled.
    Task,
}

/// A call that is made by the code that runs now, as it is waited for; with `oneway`, nobody waits.
#[inline]
pub(crate) fn begin(
    by: By,
    route: &Arc<Route>,
    oneway: bool,
    timed: bool,
    site: Option<&'static Site<'static>>,
) -> Outgoing {
    if oneway {
        return calls::fork();
    }
    let call = Call {
        peer: Arc::clone(route) as Arc<dyn Peer>,
        away: route.leads_away(),
        timed,
        site,
    };
    match by {
        By::Thread => calls::begin(call),
        By::Task => calls::begin_async(call),
    }
}

/// What such a call tells whoever serves it.
#[inline]
pub(crate) fn told(by: By, out: &Outgoing, oneway: bool, route: &Route) -> proto::Chain {
    let Chain {
        id,
        birth,
        priority,
        times_victim,
    } = out.chain();
    let mut told = proto::Chain {
        id,
        birth,
        forked: oneway,
        from_task: by == By::Task,
        depth: out.depth(),
        priority,
        times_victim,
        node: out.id().node,
        frame: out.frame(),
        call: out.id().seq,
        ..proto::Chain::default()
    };
    // Only what is made for the call that is served goes by its path.
    if out.depth() > 0 {
        call::with_source(|source| {
            told.was_opaque = source.chain.was_opaque || source.kind == Kind::Opaque;
            if source.kind != Kind::Forked {
                told.path = Path::after(&source.chain);
            }
        });
    }
    if route.node.is_none() {
        told.target = Some(route.target());
        told.address = ADDRESS.read().clone();
    }
    told
}

/// Where a request comes from, as far as that is believed.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    chain: proto::Chain,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// A program of ours has called.
    Native,
    /// Somebody else has, for a call of ours that is out, as far as is known here.
    Opaque,
    /// Nobody waits for it.
    Forked,
}

impl Source {
    /// What is believed of what a request says.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let chain = request.chain.as_ref()?;
        let kind = match request.peer {
            Some(node) if chain.node != node => return None,
            Some(_) if request.oneway && !chain.forked => return None,
            Some(_) if chain.forked => Kind::Forked,
            Some(_) => Kind::Native,
            None if request.oneway || chain.forked => return None,
            None if chain.node == calls::node() && !own_call(chain).is_waiting() => return None,
            None => Kind::Opaque,
        };
        let chain = chain.clone();
        Some(Self { chain, kind })
    }

    /// The same, for the frame that serves it.
    fn origin(&self, frame: u64) -> Origin {
        let chain = &self.chain;
        let parent = Parent {
            call: CallId {
                node: chain.node,
                seq: chain.call,
            },
            frame: chain.frame,
            opaque: self.kind == Kind::Opaque,
        };
        let waits = self.kind != Kind::Forked;
        Origin {
            chain: Chain {
                id: chain.id,
                birth: chain.birth,
                priority: chain.priority,
                times_victim: chain.times_victim,
            },
            elder: calls::root_here(chain.id).unwrap_or(frame),
            depth: chain.depth.saturating_add(1),
            parent: waits.then_some(parent),
            ancestors: self.ancestors().filter(|_| waits),
        }
    }

    /// Those calls of this process for which the request was made.
    fn ancestors(&self) -> Option<Box<[Ancestor]>> {
        let own = calls::node();
        let newest = (self.chain.node == own).then(|| own_call(&self.chain));
        if newest.is_none() && self.chain.path.is_empty() {
            return None;
        }
        let older = self.chain.path.steps().filter(|step| step.node == own);
        let older = older.map(|step| Ancestor {
            frame: step.frame,
            seq: step.call,
        });
        let all: Box<[_]> = newest.into_iter().chain(older).collect();
        (!all.is_empty()).then_some(all)
    }
}

/// The call that a chain of this process says was made last.
fn own_call(chain: &proto::Chain) -> Ancestor {
    Ancestor {
        frame: chain.frame,
        seq: chain.call,
    }
}

/// When the chains of a client began that knows nothing of chains: with its first call. It would
/// always fail before others if it were younger each time.
#[derive(Debug, Default)]
pub(crate) struct Beginning(OnceLock<(u64, u64)>);

/// Where the frame comes from that serves a request, on a connection of a client that began so.
pub(crate) fn origin(source: Option<&Source>, frame: u64, client: &Beginning) -> Origin {
    let begun = || *client.0.get_or_init(|| (calls::birth_now(frame), frame));
    match source {
        Some(source) => source.origin(frame),
        None => Origin {
            chain: Chain::of_root(frame, begun().0),
            elder: begun().1,
            depth: 0,
            parent: None,
            ancestors: None,
        },
    }
}
