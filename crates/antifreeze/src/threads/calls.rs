//! Calls of one connection that run at the same time, as a peer of ours may have them.
//!
//! While they run the connection waits with the poller, so that more of them can come. Whoever has
//! an answer fetches the connection from there and goes on with it, or leaves the answer to the
//! worker who has it now.

use std::sync::Arc;

use antifreeze_proto::{CloseCause, Request, RequestId};
use mio::Token;
use parking_lot::{Mutex, MutexGuard};

use super::connection::Connection;
use super::server::Shared;
use crate::rpc::{Answer, Envelope, Finished, Session, Ticket};

/// What the calls of a connection share.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// Nobody has written them yet.
    pub(crate) answers: Vec<Answered>,
    /// Where the connection waits.
    pub(crate) parked: Option<Token>,
    /// A oneway call holds back what comes after it.
    pub(crate) held: bool,
    /// What waits for its object or a worker.
    waits: Vec<(RequestId, Ticket)>,
    /// The connection is gone.
    over: bool,
}

/// The end of a call; where no answer can be given, why the connection ends.
pub(crate) struct Answered {
    pub(crate) id: RequestId,
    pub(crate) answer: Result<(Envelope, Finished), CloseCause>,
}

/// A call that runs beside others.
pub(crate) struct Call {
    pub(crate) request: Box<Request>,
    pub(crate) session: Arc<Session>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) calls: Calls,
}

/// The connection's own part; dropping it tells the calls that nobody waits any more.
#[derive(Default)]
pub(crate) struct Owner(pub(crate) Calls);

impl Drop for Owner {
    fn drop(&mut self) {
        let waits = {
            let mut state = self.0.lock();
            state.over = true;
            std::mem::take(&mut state.waits)
        };
        // Not under the lock: whose wait ends may answer at once.
        waits.iter().for_each(|(_, ticket)| ticket.cancel());
    }
}

impl Calls {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// What was held back may come. Gives the connection, if nobody else has it.
    pub(crate) fn release(&self, shared: &Shared) -> Option<Box<Connection>> {
        let token = {
            let mut state = self.lock();
            state.held = false;
            state.parked.take()?
        };
        shared.engine.poller.take(token)
    }

    /// Ends the wait of a call when the connection ends.
    fn wait(&self, id: RequestId, ticket: Ticket) {
        let mut state = self.lock();
        if !state.over {
            return state.waits.push((id, ticket));
        }
        drop(state);
        ticket.cancel();
    }

    /// Refuses the calls that wait: the daemon is shutting down.
    pub(crate) fn refuse_waiting(&self) {
        let waits = std::mem::take(&mut self.lock().waits);
        waits.iter().for_each(|(_, ticket)| ticket.refuse());
    }
}

impl Call {
    /// Runs the call. Gives the connection, if that is to be gone on with.
    pub(crate) fn run(self) -> Option<Box<Connection>> {
        let Self {
            request,
            session,
            shared,
            calls,
        } = self;
        let id = request.id;
        let dispatched = shared.rpc.dispatch(&session, request, None);
        let (answer, envelope) = match dispatched {
            Ok(dispatched) => dispatched,
            Err(why) => {
                let answer = Err(why);
                return deliver(&shared, &calls, Answered { id, answer });
            }
        };
        let engine = Arc::clone(&shared.engine);
        let (pending, ticket) = match answer {
            Answer::Later(pending, ticket) => (pending, ticket),
            Answer::Now(finished) => {
                let answer = Ok((envelope, finished));
                return deliver(&shared, &calls, Answered { id, answer });
            }
        };
        if let Some(ticket) = ticket {
            calls.wait(id, ticket);
        }
        let resume = move |finished| {
            let answer = Ok((envelope, finished));
            if let Some(connection) = deliver(&shared, &calls, Answered { id, answer }) {
                connection.run();
            }
        };
        if let Some((resume, finished)) = pending.on_complete(resume) {
            engine.pool.spawn(Box::new(move || resume(finished)));
        }
        None
    }
}

/// Brings an answer to the connection; gives that, if nobody else has it.
pub(crate) fn deliver(
    shared: &Shared,
    calls: &Calls,
    answered: Answered,
) -> Option<Box<Connection>> {
    let token = {
        let mut state = calls.lock();
        if state.over {
            return None;
        }
        state.waits.retain(|(id, _)| *id != answered.id);
        state.answers.push(answered);
        state.parked.take()?
    };
    // Whoever was faster will look for answers.
    shared.engine.poller.take(token)
}
