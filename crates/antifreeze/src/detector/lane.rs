//! What the detector is told from all sides, and the thread that is there for what is due.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime};

use antifreeze_detector::{CallId, Core, Counters, Input, Opaque, Output, Peer};
use antifreeze_sync::detector::{self, Beyond};
use antifreeze_sync::{Report, calls};
use parking_lot::Mutex;
use tracing::{error, warn};

use super::home::ThisProcess;
use super::peers::Peers;
use super::{told, view};
use crate::config::Config;
use crate::foreign::{Foreign, Listener};
use crate::rpc::Room;
use crate::uri::Location;
use crate::{chain, foreign};

/// How long a wait has lasted when it is told that it leads elsewhere.
const PATIENCE: Duration = Duration::from_millis(1);
/// How many deadlocks are remembered, and for how long.
const REMEMBERED: usize = 100;
const HOUR: Duration = Duration::from_secs(3600);

static LANE: OnceLock<Option<Lane>> = OnceLock::new();

/// The detector of this process.
pub(super) struct Lane {
    state: Mutex<State>,
    news: Mutex<News>,
    began: Instant,
    thread: OnceLock<Thread>,
}

/// What the detector is still to be told. Whoever has news may have it because of what the detector
/// does just now, so it cannot be told at once.
#[derive(Default)]
struct News {
    /// Waits that lead elsewhere.
    beyond: Vec<Beyond>,
    /// Calls through foreign hands that are over.
    over: Vec<u64>,
}

struct State {
    core: Core,
    peers: Peers,
    /// Deadlocks that were left alone.
    reported: VecDeque<(SystemTime, Arc<Report>)>,
    /// When the thread looks again.
    until: Option<Duration>,
}

/// Starts the detector of this process, if that was not done before.
pub(crate) fn start(config: &Config) {
    if let Some(lane) = lane()
        && config.opaque == Opaque::Report
    {
        lane.state.lock().core.set_opaque(Opaque::Report);
    }
}

/// The detector can be asked through a daemon at this place from now on, if it could not before.
pub(crate) fn serve_at(location: &Location, room: &Arc<Room>) {
    view::note(location, room);
    let Some(lane) = lane() else { return };
    if chain::set_address(location) {
        lane.state.lock().core.set_address(location.to_string());
    }
}

pub(super) fn lane() -> Option<&'static Lane> {
    let lane = LANE.get_or_init(|| cfg!(feature = "deadlock-detection").then(Lane::new));
    let lane = lane.as_ref()?;
    lane.thread.get_or_init(|| {
        detector::on_beyond(|beyond| {
            if let Some(Some(lane)) = LANE.get() {
                lane.news.lock().beyond.extend_from_slice(beyond);
                lane.wake();
            }
        });
        foreign::listen(Listener {
            begun: || {
                if let Some(Some(lane)) = LANE.get() {
                    lane.wake();
                }
            },
            over: |frame| {
                if let Some(Some(lane)) = LANE.get() {
                    lane.news.lock().over.push(frame);
                    lane.wake();
                }
            },
        });
        let builder = thread::Builder::new().name("antifreeze-lane".into());
        let spawned = builder.spawn(|| {
            if let Some(Some(lane)) = LANE.get() {
                lane.run();
            }
        });
        match spawned {
            Ok(thread) => thread.thread().clone(),
            Err(why) => {
                error!(%why, "deadlocks that span processes will not be found: no thread can be started");
                thread::current()
            }
        }
    });
    Some(lane)
}

impl Lane {
    fn new() -> Self {
        let me = Peer {
            node: calls::node(),
            address: String::new(),
        };
        let config = antifreeze_detector::Config {
            seed: fastrand::u64(..),
            ..antifreeze_detector::Config::default()
        };
        Self {
            state: Mutex::new(State {
                core: Core::new(me, config),
                peers: Peers::default(),
                reported: VecDeque::new(),
                until: None,
            }),
            news: Mutex::default(),
            began: Instant::now(),
            thread: OnceLock::new(),
        }
    }

    /// Answers a detector that asks.
    pub(super) fn answer(&self, request: &[u8]) -> Vec<u8> {
        self.on(Input::Request(request)).unwrap_or_default()
    }

    /// Takes in what a detector has answered.
    pub(super) fn answered(&self, node: u64, answer: &[u8]) {
        self.on(Input::Answer {
            node,
            bytes: answer,
        });
    }

    /// A detector cannot be asked.
    pub(super) fn lost(&self, node: u64) {
        self.on(Input::Lost { node });
    }

    pub(super) fn counters(&self) -> Counters {
        self.state.lock().core.counters()
    }

    /// The deadlocks of the last hour that were left alone, the oldest first.
    pub(super) fn reported(&self) -> Vec<(SystemTime, Arc<Report>)> {
        let is_recent =
            |(at, _): &&(SystemTime, Arc<Report>)| at.elapsed().unwrap_or_default() <= HOUR;
        let state = self.state.lock();
        state.reported.iter().filter(is_recent).cloned().collect()
    }

    /// Whether nobody has anything more for this peer, whose thread ends then.
    pub(super) fn leave(&self, node: u64, is_idle: impl FnOnce() -> bool) -> bool {
        self.state.lock().peers.leave(node, is_idle)
    }

    fn on(&self, input: Input<'_>) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let answer = state.on(self.began.elapsed(), input);
        let due = state.core.due();
        let sooner = match (due, state.until) {
            (Some(due), Some(until)) => due < until,
            (due, None) => due.is_some(),
            (None, Some(_)) => false,
        };
        drop(state);
        if sooner {
            self.wake();
        }
        answer
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self) {
        loop {
            match self.turn() {
                None => thread::park(),
                Some(pause) => thread::park_timeout(pause),
            }
        }
    }

    /// Tells the detector what has happened and what time it is; says how long nothing is due.
    fn turn(&self) -> Option<Duration> {
        let News { beyond, over } = std::mem::take(&mut *self.news.lock());
        let (served, watches) = foreign::lasting(!beyond.is_empty());
        let now = self.began.elapsed();
        let mut state = self.state.lock();
        for Foreign {
            frame,
            parent: calls::CallId { node, seq },
            address,
            via,
        } in served
        {
            let served = Input::Served {
                frame,
                parent: CallId { node, seq },
                caller: Peer { node, address },
                via: via.map(chain::place),
            };
            state.on(now, served);
        }
        for Beyond { frame, at_once, .. } in beyond {
            state.on(
                now,
                Input::Leaves {
                    frame,
                    waited: PATIENCE,
                    at_once,
                },
            );
        }
        for frame in over {
            state.on(now, Input::Ended { frame });
        }
        if state.core.due().is_some_and(|due| due <= now) {
            state.on(now, Input::Time);
        }
        let watched = watches.then(|| now + foreign::ROUND);
        state.until = state.core.due().into_iter().chain(watched).min();
        state.until.map(|until| until.saturating_sub(now))
    }
}

impl State {
    /// Does what comes of it; gives the answer, if there is one.
    fn on(&mut self, now: Duration, input: Input<'_>) -> Option<Vec<u8>> {
        let mut answer = None;
        for output in self.core.on(now, input, &mut ThisProcess) {
            match output {
                Output::Send { to, bytes } => self.peers.send(to, bytes),
                Output::Answer(bytes) => answer = Some(bytes),
                // Whoever failed has it.
                Output::Deadlock { failed: true, .. } => {}
                Output::Deadlock { report, .. } => {
                    let report = told::report(&report);
                    warn!(id = report.id, "not broken, as it is inferred: {report}");
                    if self.reported.len() == REMEMBERED {
                        self.reported.pop_front();
                    }
                    self.reported.push_back((SystemTime::now(), report));
                }
            }
        }
        answer
    }
}
