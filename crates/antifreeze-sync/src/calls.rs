//! Calls that frames make and wait for, wherever they are served.
//!
//! A program that serves calls tells each frame where its call [comes from](Origin), and each call
//! that a frame makes is [noted](begin) until it is answered. So the detector can follow a wait
//! through calls that are served in this process, and can say which waits end in a call to another
//! one. Calls are told by numbers; how they travel is none of this crate's business.
//!
//! Nothing is looked at before somebody has waited for a lock: to begin and to end a call is to write
//! a record and to take it out again.

use std::any::Any;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::panic::Location;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use crate::agent::{self, ANONYMOUS, Agent};
use crate::frame::Unmade;
use crate::report::{AgentInfo, AgentKind, ResourceInfo, Site};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, global_state};
use crate::waiter::How;

/// A number for this process, drawn when it is first needed: others that start later, or elsewhere,
/// have another one.
pub fn node() -> u64 {
    static NODE: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("node").max(1));
    *NODE
}

/// A call that was made: the process that makes it, and its number there. It is never used again.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId {
    /// The [number](node) of the process.
    pub node: u64,
    /// Its number among the calls of that process.
    pub seq: u64,
}

/// A tree of frames that are connected by calls: a thread or task, and all that is done for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chain {
    /// The process and the frame that it began with.
    pub id: u128,
    /// When it began: milliseconds since 1970, and below them 16 bits that tell those of one
    /// millisecond apart.
    pub birth: u64,
    /// Chains of higher priority are spared when somebody has to fail.
    pub priority: i8,
    /// How often it was a victim, up to some number.
    pub times_victim: u8,
}

impl Chain {
    /// A chain that begins now with this frame of this process.
    pub fn begin(frame: u64) -> Self {
        Self::of_root(frame, birth_now(frame))
    }

    /// A chain that began with this frame of this process, at this time.
    pub fn of_root(frame: u64, birth: u64) -> Self {
        Self {
            id: chain_of_root(frame),
            birth,
            priority: 0,
            times_victim: 0,
        }
    }

    /// The same after so many more times as a victim.
    fn after(self, victims: u16) -> Self {
        let more = u8::try_from(victims).unwrap_or(u8::MAX);
        Self {
            times_victim: self.times_victim.saturating_add(more),
            ..self
        }
    }
}

/// The chain that begins with this frame of this process.
pub(crate) fn chain_of_root(frame: u64) -> u128 {
    u128::from(node()) << 64 | u128::from(frame)
}

/// The frame that a chain began with, if that is one of this process.
pub fn root_here(chain: u128) -> Option<u64> {
    (chain >> 64 == u128::from(node())).then_some(chain as u64)
}

/// When a chain begins that begins now.
pub fn birth_now(salt: u64) -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(0);
    let mut mix = Mix::default();
    mix.write_u64(node() ^ salt);
    millis << 16 | mix.finish() & 0xffff
}

/// Where a call comes from that is served.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What it is part of.
    pub chain: Chain,
    /// A frame of this process that is as old as the chain, as far as is known here: of those who
    /// wait for each other in one process, the youngest fails.
    pub elder: u64,
    /// How many calls it is away from where the chain began.
    pub depth: u8,
    /// The call itself, if it is known.
    pub parent: Option<Parent>,
    /// Those calls of this process, if there are any, for which this one was made, the latest first.
    pub ancestors: Option<Box<[Ancestor]>>,
}

/// A call, seen by whoever serves it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Parent {
    /// Which call it is.
    pub call: CallId,
    /// The frame that makes it, in its process.
    pub frame: u64,
    /// It came through hands that know nothing of this, so it may be an old one, or serve several.
    pub opaque: bool,
}

/// A frame of this process, and a call that it makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ancestor {
    /// The frame.
    pub frame: u64,
    /// The number of the call.
    pub seq: u64,
}

impl Ancestor {
    /// Whether the frame still waits for the answer to the call.
    pub fn is_waiting(self) -> bool {
        let shard = shard(self.frame).lock();
        shard.made.of(self.frame).any(|open| open.seq == self.seq)
    }
}

/// Whom a call was sent to: for whoever knows more than this crate.
pub trait Peer: Any + Send + Sync {
    /// What people call it, such as `host:port`.
    fn describe(&self) -> String;
}

/// What is known of a call before it is made.
pub struct Call {
    /// Whom it is sent to.
    pub peer: Arc<dyn Peer>,
    /// Whether it may be served outside of this process.
    pub away: bool,
    /// Whether its caller gives up at some time.
    pub timed: bool,
    /// Where in the code it is made, if known.
    pub site: Option<&'static Location<'static>>,
}

/// A call that is out. Its caller waits for the answer until this is dropped.
///
/// It begins with the first byte that is sent, or before: a call that has not come anywhere yet
/// keeps nobody waiting.
#[must_use = "the call counts as answered when this is dropped"]
pub struct Outgoing {
    id: CallId,
    frame: u64,
    chain: Chain,
    depth: u8,
    noted: Option<Noted>,
}

/// What has to be taken out again.
struct Noted {
    parent: Option<CallId>,
    outer: Vec<u64>,
    /// The data of the waker that the record has, and of how many copies it knows.
    woken_by: (usize, u8),
}

/// A call that is out, as it is read.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) seq: u64,
    /// The frame that makes it.
    pub(crate) frame: u64,
    pub(crate) who: Who,
    pub(crate) peer: Arc<dyn Peer>,
    pub(crate) since: Instant,
    pub(crate) site: Option<&'static Location<'static>>,
    pub(crate) how: How,
    pub(crate) away: bool,
    pub(crate) timed: bool,
    /// The data of the waker, of which this wait keeps so many copies.
    pub(crate) woken_by: usize,
    pub(crate) copies: u8,
}

/// Whoever makes a call.
#[derive(Clone)]
pub(crate) enum Who {
    Agent(Arc<Agent>),
    /// Nobody needed to know yet.
    Unmade(Box<Unmade>),
}

impl Who {
    pub(crate) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Agent(agent) => agent.origin(),
            Self::Unmade(unmade) => unmade.origin(),
        }
    }

    pub(crate) fn agent(&self) -> Option<&Arc<Agent>> {
        match self {
            Self::Agent(agent) => Some(agent),
            Self::Unmade(_) => None,
        }
    }

    pub(crate) fn info(&self) -> AgentInfo {
        match self {
            Self::Agent(agent) => agent.info(),
            Self::Unmade(unmade) => AgentInfo {
                frame: unmade.frame(),
                kind: AgentKind::Call,
                name: Some(unmade.name()),
                place: None,
            },
        }
    }

    /// What it is part of.
    pub(crate) fn chain(&self) -> Chain {
        let agent = match (self, self.origin()) {
            (Self::Agent(agent), _) => agent,
            (Self::Unmade(_), Some(origin)) => return origin.chain,
            (Self::Unmade(unmade), None) => return Chain::begin(unmade.frame()),
        };
        let inherited = match agent.origin() {
            Some(origin) => origin.chain,
            None => Chain::of_root(agent.frame, agent.birth()),
        };
        Chain {
            priority: agent.priority(),
            ..inherited.after(agent.times_victim.load(Ordering::Relaxed))
        }
    }

    pub(crate) fn depth(&self) -> u8 {
        self.origin().map_or(0, |origin| origin.depth)
    }

    pub(crate) fn frame(&self) -> u64 {
        match self {
            Self::Agent(agent) => agent.frame,
            Self::Unmade(unmade) => unmade.frame(),
        }
    }

    fn parent(&self) -> Option<CallId> {
        Some(self.origin()?.parent?.call)
    }
}

/// Notes a call that this thread makes and waits for.
pub fn begin(call: Call) -> Outgoing {
    let frame = agent::frame();
    let who = (frame != ANONYMOUS).then(agent::caller);
    let outer = agent::outer_frames();
    Outgoing::new(frame, who, How::Blocked, call, outer)
}

/// Notes a call that a task makes and [awaits](Outgoing::answered). Nothing is known of who makes it
/// outside of our own [tasks](crate::task()).
pub fn begin_async(call: Call) -> Outgoing {
    let frame = agent::task_frame();
    let who = (frame != ANONYMOUS).then(agent::caller);
    Outgoing::new(frame, who, How::Task, call, Vec::new())
}

/// A call for whose answer nobody waits: the beginning of another chain.
pub fn fork() -> Outgoing {
    Outgoing::unnoted()
}

impl Outgoing {
    fn unnoted() -> Self {
        let frame = agent::new_frame();
        let seq = shard(frame).lock().next_seq(frame);
        Self {
            id: CallId { node: node(), seq },
            frame,
            chain: Chain::begin(frame),
            depth: 0,
            noted: None,
        }
    }

    #[inline]
    fn new(frame: u64, who: Option<Who>, how: How, call: Call, outer: Vec<u64>) -> Self {
        let Some(who) = who.filter(|_| cfg!(feature = "deadlock-detection")) else {
            return Self::unnoted();
        };
        if how == How::Task
            && let Some(agent) = who.agent()
        {
            agent.renewed.store(false, Ordering::Relaxed);
        }
        let (chain, depth, parent) = (who.chain(), who.depth(), who.parent());
        let Call {
            peer,
            away,
            timed,
            site,
        } = call;
        let since = Instant::now();
        let mut home = shard(frame).lock();
        let seq = home.next_seq(frame);
        let open = Open {
            seq,
            frame,
            who,
            peer,
            since,
            site,
            how,
            away,
            timed,
            woken_by: 0,
            copies: 0,
        };
        let other = (!outer.is_empty()).then(|| open.clone());
        home.made.put(frame, open);
        drop(home);
        if let Some(open) = other {
            note_for_others(&outer, &open);
        }
        if let Some(parent) = parent {
            shard(parent.seq).lock().serving.put(parent, frame);
        }
        Self {
            id: CallId { node: node(), seq },
            frame,
            chain,
            depth,
            noted: Some(Noted {
                parent,
                outer,
                woken_by: (0, 0),
            }),
        }
    }

    /// Which call it is.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The frame that makes it.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// What it is part of.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// How many calls its caller is away from where the chain began.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Waits for the answer, as `future`, which keeps exactly `copies` of the waker that it is polled
    /// with while it waits: one for who answers, and one more for a timer. If it has others, somebody
    /// else may wake the task, so that it is in no deadlock that is found.
    pub async fn answered<F: Future>(&mut self, copies: u8, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let poll = future.as_mut().poll(context);
            if poll.is_pending() {
                self.set_waker(context.waker(), copies);
            }
            poll
        })
        .await
    }

    fn set_waker(&mut self, waker: &Waker, copies: u8) {
        let Some(noted) = &mut self.noted else { return };
        let own = agent::is_polled_with(waker);
        let data = if own { waker.data().addr() } else { 0 };
        if (data, copies) == noted.woken_by {
            return;
        }
        noted.woken_by = (data, copies);
        let mut shard = shard(self.frame).lock();
        let seq = self.id.seq;
        if let Some(open) = shard.made.find(self.frame, |open| open.seq == seq) {
            open.woken_by = data;
            open.copies = copies;
        }
    }
}

impl Drop for Outgoing {
    #[inline]
    fn drop(&mut self) {
        let Some(noted) = self.noted.take() else {
            return;
        };
        let seq = self.id.seq;
        if let Some(parent) = noted.parent {
            let mut shard = shard(parent.seq).lock();
            shard.serving.take(parent, |frame| *frame == self.frame);
        }
        take_out(self.frame, seq);
        for frame in noted.outer {
            take_out(frame, seq);
        }
    }
}

/// Notes a call for those frames that cannot go on either, because they are on the same thread.
#[cold]
fn note_for_others(frames: &[u64], open: &Open) {
    for frame in frames {
        shard(*frame).lock().made.put(*frame, open.clone());
    }
}

fn take_out(frame: u64, seq: u64) {
    let mut shard = shard(frame).lock();
    let open = shard.made.take(frame, |open| open.seq == seq);
    drop(shard);
    // It may be the last that knows the peer.
    drop(open);
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("id", &self.id)
            .field("frame", &self.frame)
            .finish_non_exhaustive()
    }
}

/// The chain of what runs on this thread, whose last call ended because it was the victim of a
/// deadlock, has one more such call behind it, so that others fail the next time.
pub fn was_victim() {
    if let Who::Agent(agent) = agent::caller()
        && agent.frame != ANONYMOUS
    {
        agent.add_victim();
    }
}

/// A call that is out, for views.
#[derive(Clone)]
#[non_exhaustive]
pub struct CallInfo {
    /// Who makes it.
    pub agent: AgentInfo,
    /// Which call it is.
    pub id: CallId,
    /// What its caller is part of.
    pub chain: Chain,
    /// The call that its caller serves.
    pub parent: Option<Parent>,
    /// Whom it was sent to.
    pub peer: Arc<dyn Peer>,
    /// Whether it may be served outside of this process.
    pub away: bool,
    /// How long it has been out.
    pub waited: Duration,
    /// Whether its caller gives up at some time.
    pub timed: bool,
    /// Where in the code it was made, if known.
    pub site: Option<Site>,
}

/// All calls that have been out for so long, or longer.
pub fn outstanding(at_least: Duration) -> Vec<CallInfo> {
    let now = Instant::now();
    let mut all = Vec::new();
    for shard in SHARDS.iter() {
        let shard = shard.0.lock();
        let own = shard
            .made
            .all()
            .filter(|(frame, open)| open.frame == **frame);
        let waited = |open: &Open| now.saturating_duration_since(open.since);
        let long = own.filter(|(_, open)| waited(open) >= at_least);
        all.extend(long.map(|(_, open)| open.info(now)));
    }
    all
}

/// The frame that makes this call of this process, and waits for its answer.
pub fn caller_of(seq: u64) -> Option<u64> {
    let shard = SHARDS[place_of(seq)].0.lock();
    let mut own = shard.made.all().map(|(_, open)| open);
    own.find_map(|open| (open.seq == seq).then_some(open.frame))
}

impl Open {
    fn info(&self, now: Instant) -> CallInfo {
        CallInfo {
            agent: self.who.info(),
            id: self.id(),
            chain: self.who.chain(),
            parent: self.who.origin().and_then(|origin| origin.parent),
            peer: Arc::clone(&self.peer),
            away: self.away,
            waited: now.saturating_duration_since(self.since),
            timed: self.timed,
            site: self.site.map(Site::from),
        }
    }

    pub(crate) fn ancestor(&self) -> Ancestor {
        Ancestor {
            frame: self.frame,
            seq: self.seq,
        }
    }

    /// The call, as something that is waited for.
    pub(crate) fn resource(&self) -> ResourceInfo {
        ResourceInfo {
            id: self.seq,
            kind: "call".into(),
            name: Some(self.peer.describe()),
            data: "".into(),
            created: Site::unknown(),
        }
    }

    pub(crate) fn id(&self) -> CallId {
        CallId {
            node: node(),
            seq: self.seq,
        }
    }
}

/// The calls because of which `frame` cannot go on.
pub(crate) fn of(frame: u64) -> Vec<Open> {
    let shard = shard(frame).lock();
    shard.made.of(frame).cloned().collect()
}

/// Who `frame` is, if it makes any calls.
pub(crate) fn who(frame: u64) -> Option<AgentInfo> {
    let open = of(frame);
    let own = open.iter().find(|open| open.frame == frame);
    own.map(|open| open.who.info())
}

/// Whether `frame` makes any calls.
pub(crate) fn calls(frame: u64) -> bool {
    shard(frame).lock().made.of(frame).next().is_some()
}

/// The frames that serve `call` and make calls themselves.
pub(crate) fn serving(call: CallId) -> Vec<u64> {
    let shard = shard(call.seq).lock();
    let mut frames: Vec<u64> = shard.serving.of(call).copied().collect();
    drop(shard);
    frames.sort_unstable();
    frames.dedup();
    frames
}

/// Into how many parts the records are divided, so that threads seldom meet.
const SHARD_COUNT: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

global_state! {
    static SHARDS: Vec<Shard> = (0..SHARD_COUNT).map(|_| Shard::default()).collect();
}

/// In a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Records>);

#[derive(Default)]
struct Records {
    /// By the frame that makes them.
    made: Table<u64, Open>,
    /// The frames that make calls, by the call that they serve.
    serving: Table<CallId, u64>,
    /// How many calls were made.
    count: u64,
}

impl Records {
    /// A number that no other call has, from which the shard can be told.
    fn next_seq(&mut self, frame: u64) -> u64 {
        self.count += 1;
        self.count * SHARD_COUNT as u64 + place_of(frame) as u64
    }
}

fn place_of(number: u64) -> usize {
    number as usize % SHARD_COUNT
}

fn shard(number: u64) -> &'static Mutex<Records> {
    &SHARDS[place_of(number)].0
}

/// Things by their keys. Mostly there are few, and those are found without hashing.
struct Table<K, V> {
    few: Vec<(K, V)>,
    /// What came when there were many.
    more: Map<K, Vec<V>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            few: Vec::new(),
            more: Map::default(),
        }
    }
}

impl<K: Copy + std::hash::Hash + Ord, V> Table<K, V> {
    /// More than these are not looked through.
    const FEW: usize = if cfg!(any(loom, shuttle)) { 2 } else { 16 };

    #[inline]
    fn put(&mut self, key: K, value: V) {
        if self.few.len() < Self::FEW {
            self.few.push((key, value));
        } else {
            self.more.entry(key).or_default().push(value);
        }
    }

    /// Takes one out of those under this key.
    #[inline]
    fn take(&mut self, key: K, is: impl Fn(&V) -> bool) -> Option<V> {
        let place = self.few.iter().position(|(k, v)| *k == key && is(v));
        if let Some(place) = place {
            return Some(self.few.swap_remove(place).1);
        }
        let under = self.more.get_mut(&key)?;
        let value = under.swap_remove(under.iter().position(is)?);
        if under.is_empty() {
            self.more.remove(&key);
        }
        Some(value)
    }

    fn of(&self, key: K) -> impl Iterator<Item = &V> {
        let few = self.few.iter().filter(move |(k, _)| *k == key);
        let more = self.more.get(&key).into_iter().flatten();
        few.map(|(_, value)| value).chain(more)
    }

    fn find(&mut self, key: K, is: impl Fn(&V) -> bool) -> Option<&mut V> {
        let few = self.few.iter_mut().filter(|(k, _)| *k == key);
        let more = self.more.get_mut(&key).into_iter().flatten();
        let mut all = few.map(|(_, value)| value).chain(more);
        all.find(|value| is(value))
    }

    fn all(&self) -> impl Iterator<Item = (&K, &V)> {
        let few = self.few.iter().map(|(key, value)| (key, value));
        let more = self.more.iter();
        few.chain(more.flat_map(|(key, values)| values.iter().map(move |value| (key, value))))
    }
}

#[cfg(not(any(loom, shuttle)))]
type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mix>>;
#[cfg(any(loom, shuttle))]
type Map<K, V> = std::collections::BTreeMap<K, V>;

/// Spreads numbers that follow each other.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn few_or_many_are_found_by_their_keys() {
        for count in [0, 1, 15, 16, 17, 100] {
            let mut table = Table::default();
            for value in 0..count {
                table.put(value / 2, value);
            }
            assert_eq!(table.all().count(), count);
            for value in 0..count {
                assert!(
                    table.of(value / 2).any(|known| *known == value),
                    "{value} of {count}"
                );
                assert_eq!(
                    table.find(value / 2, |known| *known == value),
                    Some(&mut value.clone())
                );
                assert_eq!(table.take(value / 2, |known| *known == value), Some(value));
                assert_eq!(table.take(value / 2, |known| *known == value), None);
            }
            assert_eq!((table.all().count(), table.more.len()), (0, 0));
        }
    }
}
