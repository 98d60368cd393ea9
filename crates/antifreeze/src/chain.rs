//! Chains of calls: where a call that is served comes from, and what one that is made belongs to.
//!
//! Each call that we make says for which one it is made, and so on back to the thread or task that
//! began. Programs of ours write that afresh; a Python program hands on what it was called with, so
//! what comes through it names one of our calls that may be over. Such a parent counts only as long
//! as that call is out.

use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::panic::Location as Site;
use std::sync::{Arc, OnceLock, Weak};

use antifreeze_proto::{self as proto, Path, Request};
use antifreeze_sync::calls::{self, Ancestor, Call, CallId, Chain, Origin, Outgoing, Parent, Peer};
use antifreeze_sync::detector;
use antifreeze_sync::{BoundedSemaphore, LockError, Report};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tracing::warn;

use crate::call;
use crate::error::{Error, ErrorKind, Sent};
use crate::foreign::{Foreign, Served};
use crate::net::Socket;
use crate::uri::Location;

/// Where the detector of this process can be reached by those who are called through foreign hands.
static ADDRESS: RwLock<Option<Bytes>> = RwLock::new(None);

/// Calls that were given up before somebody else had answered them, who may still be at it, the latest
/// last. Only the last ones are kept.
static GIVEN_UP: Mutex<VecDeque<u64>> = Mutex::new(VecDeque::new());
const MOST_GIVEN_UP: usize = 1024;

/// Whether this call of this process was not answered: it is out, or was given up.
pub(crate) fn is_unanswered(call: u64) -> bool {
    calls::caller_of(call).is_some() || GIVEN_UP.lock().contains(&call)
}

/// Tells others from now on that the detector of this process is there, if no other place was told
/// yet. Says whether it is.
pub(crate) fn set_address(location: &Location) -> bool {
    let mut address = ADDRESS.write();
    let first = address.is_none();
    if first {
        *address = Some(location.to_string().into());
    }
    first
}

/// Where a connection leads.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) location: Location,
    /// The same as a number.
    pub(crate) hash: u32,
    /// The process there, if it is one of ours.
    pub(crate) node: Option<u64>,
    /// It is not ours, and runs one call at a time.
    pub(crate) single: bool,
    /// The call that can be ended here, since those who serve it cannot be asked to.
    out: Mutex<Option<Out>>,
}

#[derive(Debug)]
struct Out {
    call: u64,
    stage: Stage,
    socket: Weak<Socket>,
    victim_of: Option<Arc<Report>>,
    /// Nobody waits for it any more.
    over: bool,
}

impl Out {
    fn is_still(&self, call: u64) -> bool {
        self.call == call && !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.over || self.victim_of.is_some()
    }
}

/// How far a call to somebody else has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// Nobody has said hello yet.
    Connecting,
    /// It was sent.
    Sent,
}

impl Route {
    pub(crate) fn new(location: Location, node: Option<u64>) -> Self {
        Self {
            hash: hash(&location),
            location,
            node,
            single: false,
            out: Mutex::default(),
        }
    }

    /// Has the socket closed if this call is the victim of a deadlock, unless it is to one of ours.
    pub(crate) fn watch(
        &self,
        call: u64,
        stage: Stage,
        socket: &Arc<Socket>,
    ) -> Option<Watched<'_>> {
        let watches = self.is_opaque() && cfg!(feature = "deadlock-detection");
        watches.then(|| {
            *self.out.lock() = Some(Out {
                call,
                stage,
                socket: Arc::downgrade(socket),
                victim_of: None,
                over: false,
            });
            Watched {
                route: self,
                call: (stage == Stage::Sent).then_some(call),
            }
        })
    }

    /// How far this call has come, if it can be ended and was not.
    pub(crate) fn stage(&self, call: u64) -> Option<Stage> {
        let out = self.out.lock();
        let out = out.as_ref().filter(|out| out.is_still(call));
        out.map(|out| out.stage)
    }

    /// Whether this call was out, and whoever made it goes on.
    pub(crate) fn is_over(&self, call: u64) -> bool {
        let out = self.out.lock();
        out.as_ref()
            .is_some_and(|out| out.call == call && out.is_over())
    }

    /// Ends this call as the victim of a deadlock, if it is still out.
    pub(crate) fn fail(&self, call: u64, report: &Arc<Report>) -> bool {
        let mut out = self.out.lock();
        let Some(out) = out.as_mut().filter(|out| out.is_still(call)) else {
            return false;
        };
        let Some(socket) = out.socket.upgrade() else {
            return false;
        };
        out.victim_of = Some(Arc::clone(report));
        socket.shutdown();
        true
    }

    /// As many places as calls that may be in flight on the connection.
    pub(crate) fn places(&self, limit: usize) -> BoundedSemaphore {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        BoundedSemaphore::new(limit).with_name(format!("calls in flight to {}", self.location))
    }

    /// Whether it leads to a program that is not ours.
    pub(crate) fn is_opaque(&self) -> bool {
        self.node.is_none()
    }

    /// Whether calls may be served outside of this process.
    fn leads_away(&self) -> bool {
        self.node != Some(calls::node())
    }

    fn target(&self) -> proto::Target {
        proto::Target {
            hash: self.hash,
            opaque: self.is_opaque(),
            single: self.single,
        }
    }
}

/// A call to somebody else that is out, until this is dropped: then it was given up, if it was not
/// answered.
pub(crate) struct Watched<'a> {
    route: &'a Route,
    /// The call, if it was sent and was not answered.
    call: Option<u64>,
}

impl Watched<'_> {
    /// The error in which the call ended, if it was the victim of a deadlock.
    pub(crate) fn deadlock(&self) -> Option<Error> {
        let out = self.route.out.lock();
        let report = out.as_ref()?.victim_of.clone()?;
        calls::was_victim();
        detector::remember(&report);
        warn!(id = report.id, "{report}");
        Some(Error::unobtainable(&LockError::Deadlock(report)))
    }

    /// The call was answered, or never sent.
    pub(crate) fn answered(mut self) {
        self.call = None;
    }

    /// The error in which the call ended that was lost with this one.
    pub(crate) fn lost(mut self, error: Error) -> Error {
        match self.deadlock() {
            Some(deadlock) => deadlock.with_sent(Sent::Maybe),
            None => {
                // Else whoever was to answer is gone.
                self.call = self.call.filter(|_| error.kind() == ErrorKind::Timeout);
                error
            }
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Some(out) = self.route.out.lock().as_mut() {
            out.over = true;
        }
        if let Some(call) = self.call {
            let mut given_up = GIVEN_UP.lock();
            if given_up.len() == MOST_GIVEN_UP {
                given_up.pop_front();
            }
            given_up.push_back(call);
        }
    }
}

/// What a place is called of which only the number is known.
pub(crate) fn place(hash: u32) -> String {
    format!("{hash:08x}")
}

/// A number for a place, the same in all programs for which it is the same place (FNV-1a).
fn hash(location: &Location) -> u32 {
    let text = location.to_string();
    let within = within(location);
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().chain(within.bytes()).fold(0x811c_9dc5, step)
}

/// Within what a place is meant that is called the same elsewhere: the machine since it was started, and
/// that part of it which has networks or folders of its own, as containers have. Empty for others, and
/// where it cannot be known.
fn within(location: &Location) -> &'static str {
    static NETWORK: OnceLock<String> = OnceLock::new();
    static FOLDERS: OnceLock<String> = OnceLock::new();
    let (within, part) = match location {
        Location::Tcp { host, .. } => {
            let is_loopback = |address: IpAddr| address.is_loopback();
            let is_here = host == "localhost" || host.parse().is_ok_and(is_loopback);
            if !is_here {
                return "";
            }
            (&NETWORK, "net")
        }
        Location::Unix { path } if path.starts_with('\0') => (&NETWORK, "net"),
        Location::Unix { .. } => (&FOLDERS, "mnt"),
    };
    within.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let part = fs::read_link(format!("/proc/self/ns/{part}")).unwrap_or_default();
        format!("{boot}{}", part.display())
    })
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
    chain: Arc<proto::Chain>,
    kind: Kind,
    /// Has it known, if it came through foreign hands, until it is over.
    _known: Option<Arc<Served>>,
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
        Self::believed(request.chain.as_ref()?, request.peer, request.oneway)
    }

    fn believed(chain: &Arc<proto::Chain>, peer: Option<u64>, oneway: bool) -> Option<Self> {
        let kind = match peer {
            Some(node) if chain.node != node => return None,
            Some(_) if chain.forked => Kind::Forked,
            Some(_) if oneway => return None,
            Some(_) => Kind::Native,
            // Whoever made that call is not waiting for this one.
            None if oneway || chain.forked => return None,
            None if chain.node == calls::node() && !own_call(chain).is_waiting() => return None,
            None => Kind::Opaque,
        };
        Some(Self {
            chain: Arc::clone(chain),
            kind,
            _known: None,
        })
    }

    /// The same, from now on served by this frame for this peer.
    pub(crate) fn served_by(&self, frame: u64, peer: &Arc<call::Peer>) -> Self {
        let Self { chain, kind, .. } = self;
        let known = (*kind == Kind::Opaque).then(|| {
            let address = chain.address.as_deref().map(String::from_utf8_lossy);
            let foreign = Foreign {
                frame,
                parent: CallId {
                    node: chain.node,
                    seq: chain.call,
                },
                address: address.unwrap_or_default().into_owned(),
                via: chain
                    .target
                    .filter(|target| target.opaque && target.single)
                    .map(|to| to.hash),
            };
            Arc::new(Served::new(foreign, Arc::clone(peer)))
        });
        Self {
            chain: Arc::clone(chain),
            kind: *kind,
            _known: known,
        }
    }

    /// Where the frame comes from that serves it.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use antifreeze_proto::Step;
    use antifreeze_sync::DeadlockKind;

    use super::*;
    use crate::config::IpVersion;
    use crate::foreign;
    use crate::net::Listener;

    fn route(node: Option<u64>) -> Arc<Route> {
        let location = "localhost:9091".parse().unwrap();
        Arc::new(Route::new(location, node))
    }

    /// What a call says that another program has made.
    fn foreign() -> proto::Chain {
        proto::Chain {
            id: 7 << 64 | 3,
            depth: 2,
            node: 7,
            frame: 8,
            call: 9,
            ..proto::Chain::default()
        }
    }

    #[test]
    fn a_call_is_ended_once_and_goes_on_from_then() {
        let location: Location = "localhost:0".parse().unwrap();
        let listener = Listener::bind(&location, IpVersion::V4).unwrap().remove(0);
        let to = listener.location().unwrap();
        let socket = Socket::connect(&to, IpVersion::V4, Duration::from_secs(5), None);
        let socket = Arc::new(socket.unwrap());
        let (route, call) = (route(None), 7);
        let report = Arc::new(Report::new(DeadlockKind::Cycle, Vec::new(), 0));
        assert_eq!(route.stage(call), None);
        let watched = route.watch(call, Stage::Sent, &socket).unwrap();
        assert_eq!(route.stage(call), Some(Stage::Sent));
        assert!(!route.fail(call + 1, &report));
        assert!(route.fail(call, &report));
        assert_eq!(route.stage(call), None);
        assert!(!route.fail(call, &report));
        assert!(route.is_over(call));
        assert!(watched.deadlock().is_some());
        drop(watched);
        let watched = route.watch(call + 1, Stage::Sent, &socket).unwrap();
        assert!(!route.is_over(call) && !route.is_over(call + 1));
        drop(watched);
        assert!(route.is_over(call + 1) && route.stage(call + 1).is_none());
        assert!(!route.fail(call + 1, &report));
    }

    #[test]
    fn what_a_request_says_is_believed_as_far_as_it_can_be_true() {
        let check = |change: fn(&mut proto::Chain), peer, oneway, expected| {
            let mut chain = foreign();
            change(&mut chain);
            let source = Source::believed(&Arc::new(chain), peer, oneway);
            assert_eq!(source.map(|source| source.kind), expected);
        };
        check(|_| {}, Some(7), false, Some(Kind::Native));
        check(|_| {}, Some(6), false, None);
        check(|_| {}, Some(7), true, None);
        check(
            |chain| chain.forked = true,
            Some(7),
            true,
            Some(Kind::Forked),
        );
        check(|_| {}, None, false, Some(Kind::Opaque));
        check(|_| {}, None, true, None);
        // A copy of what went with a oneway call.
        check(|chain| chain.forked = true, None, false, None);
        // It says that we wait for it, which we do not.
        check(|chain| chain.node = calls::node(), None, false, None);
    }

    #[test]
    fn a_call_that_comes_back_through_other_hands_counts_while_it_is_out() {
        let python = route(None);
        let out = begin(By::Thread, &python, false, false, None);
        let told = Arc::new(told(By::Thread, &out, false, &python));
        assert_eq!(told.target, Some(python.target()));
        let source = Source::believed(&told, None, false).unwrap();
        let origin = origin(Some(&source), 77, &Beginning::default());
        let parent = origin.parent.unwrap();
        assert_eq!((parent.call, parent.opaque), (out.id(), true));
        assert_eq!((origin.depth, origin.elder), (1, out.frame()));
        assert_eq!(origin.chain, out.chain());
        let ancestor = Ancestor {
            frame: out.frame(),
            seq: out.id().seq,
        };
        assert_eq!(origin.ancestors.as_deref(), Some(&[ancestor][..]));
        let served = source.served_by(77, &Arc::default());
        assert!(foreign::is_wanted(77));
        drop(served);
        assert!(!foreign::is_wanted(77));
        drop(out);
        assert!(Source::believed(&told, None, false).is_none());
    }

    #[test]
    fn a_call_says_for_which_ones_it_is_made() {
        let (own, native) = (calls::node(), route(Some(7)));
        let source = Source::believed(&Arc::new(foreign()), Some(7), false).unwrap();
        let frame = |frame| origin(Some(&source), frame, &Beginning::default());
        let served = antifreeze_sync::frame::LazyFrame::from_call("object".into(), "m", frame);
        let number = served.id();
        let serving = call::Serving::of_source(source.clone());
        let (nested, forked) = served
            .enter(|| {
                serving.scope(|| {
                    [false, true].map(|oneway| {
                        let out = begin(By::Thread, &native, oneway, false, None);
                        told(By::Thread, &out, oneway, &native)
                    })
                })
            })
            .into();
        assert_eq!(
            (nested.id, nested.depth, nested.node),
            (foreign().id, 3, own)
        );
        assert_eq!((nested.frame, nested.forked), (number, false));
        let step = Step {
            node: 7,
            frame: 8,
            call: 9,
            ..Step::default()
        };
        assert_eq!(nested.path.steps().collect::<Vec<_>>(), [step]);
        assert_eq!((nested.target, nested.address), (None, None));
        assert!(forked.forked && forked.path.is_empty() && forked.id != nested.id);
    }

    #[test]
    fn clients_that_know_nothing_of_chains_are_as_old_as_their_connection() {
        let client = Beginning::default();
        let [first, second] = [5, 6].map(|frame| origin(None, frame, &client));
        assert_ne!(first.chain.id, second.chain.id);
        assert_eq!(first.chain.birth, second.chain.birth);
        assert_eq!((second.elder, second.depth), (5, 0));
        assert!(second.parent.is_none());
    }
}
