//! Calls that are served and came through foreign hands: a program in between that knows nothing of
//! chains, such as one in Python, was called by one of ours and calls us for it.
//!
//! Only what lasts is of interest, and only to the detector, which takes it from here.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use antifreeze_sync::calls::CallId;
use parking_lot::{Mutex, MutexGuard};

use crate::call::Peer;

/// How long a call lasts before the detector is told of it.
const SHORT: Duration = Duration::from_millis(8);
/// How often it is looked for those that have lasted longer, and for how long after the last call.
pub(crate) const ROUND: Duration = Duration::from_millis(10);
const ROUNDS: u32 = 100;

static CALLS: OnceLock<Mutex<Calls>> = OnceLock::new();
static LISTENER: OnceLock<Listener> = OnceLock::new();

/// Who is told.
pub(crate) struct Listener {
    /// There is a call, after there was none for a while: it shall be looked for those that last.
    pub(crate) begun: fn(),
    /// A call that was taken note of is over, or nobody waits for it any more.
    pub(crate) over: fn(frame: u64),
}

/// A call that lasts.
#[derive(Clone, Debug)]
pub(crate) struct Foreign {
    /// The frame that serves it.
    pub(crate) frame: u64,
    /// Our call for which the program in between made it.
    pub(crate) parent: CallId,
    /// How whoever made that one can be reached.
    pub(crate) address: String,
    /// The place that one went to, as a number, if calls there are run one at a time.
    pub(crate) via: Option<u32>,
}

#[derive(Default)]
struct Calls {
    calls: HashMap<u64, Call>,
    /// How often it is still looked for those that last.
    rounds: u32,
}

struct Call {
    foreign: Foreign,
    since: Instant,
    /// Whose connection it came over.
    over: Arc<Peer>,
    told: bool,
}

/// Has this one told, of whom there can be only one.
pub(crate) fn listen(listener: Listener) {
    let _ = LISTENER.set(listener);
}

/// Those to be told of now: all if `at_once`, else those that have lasted. Also says whether to
/// look again after a [`ROUND`].
pub(crate) fn lasting(at_once: bool) -> (Vec<Foreign>, bool) {
    let mut calls = calls();
    if calls.rounds == 0 && !at_once {
        return (Vec::new(), false);
    }
    let now = Instant::now();
    let lasts = |call: &Call| at_once || now.saturating_duration_since(call.since) >= SHORT;
    let mut lasting = Vec::new();
    for call in calls.calls.values_mut() {
        if lasts(call) && !mem::replace(&mut call.told, true) {
            lasting.push(call.foreign.clone());
        }
    }
    calls.rounds = match calls.calls.values().any(|call| !call.told) {
        true => ROUNDS,
        false => calls.rounds.saturating_sub(1),
    };
    (lasting, calls.rounds > 0)
}

/// Whether whoever had this frame called may wait for it still.
pub(crate) fn is_wanted(frame: u64) -> bool {
    calls().calls.contains_key(&frame)
}

/// Nobody is at the other end of this connection any more who could wait for its calls: a program
/// in between has given them up.
pub(crate) fn hung_up(peer: &Arc<Peer>) {
    let mut calls = calls();
    let over = |call: &mut Call| Arc::ptr_eq(&call.over, peer);
    let ended: Vec<_> = calls.calls.extract_if(|_, call| over(call)).collect();
    drop(calls);
    ended.into_iter().for_each(|(_, call)| call.end());
}

/// A call that came through foreign hands, until this is dropped.
#[derive(Debug)]
pub(crate) struct Served(u64);

impl Served {
    pub(crate) fn new(foreign: Foreign, over: Arc<Peer>) -> Self {
        let frame = foreign.frame;
        let call = Call {
            foreign,
            since: Instant::now(),
            over,
            told: false,
        };
        let mut calls = calls();
        calls.calls.insert(frame, call);
        let begun = mem::replace(&mut calls.rounds, ROUNDS) == 0;
        drop(calls);
        if begun && let Some(listener) = LISTENER.get() {
            (listener.begun)();
        }
        Self(frame)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let call = calls().calls.remove(&self.0);
        if let Some(call) = call {
            call.end();
        }
    }
}

impl Call {
    fn end(self) {
        if self.told
            && let Some(listener) = LISTENER.get()
        {
            (listener.over)(self.foreign.frame);
        }
    }
}

fn calls() -> MutexGuard<'static, Calls> {
    CALLS.get_or_init(Mutex::default).lock()
}
