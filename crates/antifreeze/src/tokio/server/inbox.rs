//! What a connection's task is told from elsewhere.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use antifreeze_proto::{CloseCause, ProtocolError, Request, RequestId};
use parking_lot::Mutex;

use crate::rpc::{Envelope, Finished, Ticket, Verdict};
use crate::server::Sealed;

/// Something for the task of a connection to know.
pub(super) enum Note {
    /// Whether the client may come in.
    Decided(Verdict),
    /// A request can be decoded now, or never.
    Inflated(Result<Box<Request>, ProtocolError>),
    /// A oneway call has its place, so what follows it may come.
    Placed(RequestId),
    /// A call waits; the ticket ends that.
    Waits(RequestId, Ticket),
    /// A call has ended.
    Ended(RequestId, Envelope, Finished),
    /// Its answer is compressed.
    Deflated(RequestId, Box<Sealed>),
    /// A oneway call has ended.
    Over(RequestId),
    /// No answer can be given to this call, and the connection ends.
    Unanswerable(Caller, CloseCause),
}

impl Note {
    /// The connection has ended: who waits on it waits for nobody.
    fn discard(self) {
        if let Self::Waits(_, ticket) = self {
            ticket.cancel();
        }
    }
}

/// Who made a call.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    pub(super) id: RequestId,
    pub(super) oneway: bool,
}

/// Where threads leave notes for a task. It holds no memory while there are none.
#[derive(Default)]
pub(super) struct Inbox(Mutex<State>);

#[derive(Default)]
struct State {
    notes: VecDeque<Note>,
    task: Option<Waker>,
    /// Nobody reads any more.
    over: bool,
}

impl Inbox {
    /// Leaves a note and wakes the task; if nobody will read it, ends the wait that it tells of.
    pub(super) fn push(&self, note: Note) {
        let mut state = self.0.lock();
        if state.over {
            drop(state);
            return note.discard();
        }
        state.notes.push_back(note);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Wakes the task.
    pub(super) fn wake(&self) {
        let task = self.0.lock().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// From now on the task is woken, once, when there is a note.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut state = self.0.lock();
        if state.task.is_none() {
            state.task = Some(cx.waker().clone());
        }
    }

    /// Nobody reads any more.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.over = true;
        let unread = std::mem::take(&mut state.notes);
        drop(state);
        unread.into_iter().for_each(Note::discard);
    }

    /// The oldest note.
    pub(super) fn pop(&self) -> Option<Note> {
        let mut state = self.0.lock();
        let note = state.notes.pop_front();
        if note.is_none() {
            state.notes = VecDeque::new();
        }
        note
    }
}
