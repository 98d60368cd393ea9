//! A batch: calls of one object that came in one message and run one after the other.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use antifreeze_proto::Annotations;
use antifreeze_serial::{
    CallHead, EncodedList, Exception, Part, Raw, WrappedException, encode_fragment, memory,
};

use super::after::After;
use super::dispatch::{Order, encode_exception, undecodable};
use super::exception::{self, PYRO_ERROR};
use super::invocation::{Progress, Step};
use super::outcome::{Encoded, Finished, Outcome};
use super::pending::Pending;
use super::queue::Ticket;
use super::room::{Stuck, is_over};
use super::servant::{Operation, Servant};
use crate::deadlock;

/// A batch that is being run; each item takes the object's lock for itself.
pub(super) struct Batch {
    order: Order,
    id: Arc<str>,
    servant: Arc<dyn Servant>,
    results: EncodedList,
    response: Annotations,
    /// To be done after the answer to the whole batch.
    after: After,
    /// The items after one that has to wait.
    rest: VecDeque<Part>,
    /// Ends the wait of whichever item waits, and keeps others from beginning.
    ticket: Ticket,
}

/// What came of an item.
enum Item {
    Done,
    /// It raised, so it is the last.
    Last,
    Parked(Arc<Pending>),
}

impl Batch {
    pub(super) fn new(order: Order, id: Arc<str>, servant: Arc<dyn Servant>) -> Self {
        let results = EncodedList::new(order.envelope.serializer);
        Self {
            order,
            id,
            servant,
            results,
            response: Annotations::new(),
            after: After::default(),
            rest: VecDeque::new(),
            ticket: Ticket::default(),
        }
    }

    /// Runs all items, or as far as one has to wait.
    pub(super) fn run(mut self, args: &Raw<'_>) -> Step {
        match self.start(args) {
            Ok(None) => Step::done(self.finish()),
            Ok(Some(item)) => {
                let (whole, ticket) = (Arc::new(Pending::default()), self.ticket.clone());
                self.wait_for(&item, Arc::clone(&whole));
                Step(Progress::Parked(whole, Some(ticket)))
            }
            Err(exception) => Step::done(Finished::raised(exception)),
        }
    }

    fn start(&mut self, args: &Raw<'_>) -> Result<Option<Arc<Pending>>, Exception> {
        let mut items = args.items().map_err(|error| undecodable(&error))?;
        while let Some(item) = items
            .next_batch_item()
            .map_err(|error| undecodable(&error))?
        {
            match self.item(&item)? {
                Item::Done => {}
                Item::Last => break,
                Item::Parked(pending) => {
                    while let Some(item) = items.next_raw().map_err(|error| undecodable(&error))? {
                        self.rest.push_back(item.part_of(&self.order.payload));
                    }
                    return Ok(Some(pending));
                }
            }
        }
        Ok(None)
    }

    /// Goes on with the batch when `item` is done, and answers `whole` at its end.
    fn wait_for(self, item: &Arc<Pending>, whole: Arc<Pending>) {
        let host = Arc::clone(&self.order.rpc.room.host);
        let there = Arc::clone(&host);
        let resume = move |finished| {
            if there.may_block() {
                self.resume(finished, whole);
            } else {
                there.spawn(Box::new(move || self.resume(finished, whole)));
            }
        };
        if let Some((resume, finished)) = item.on_complete(resume) {
            // Not here, where a long batch would nest ever deeper.
            host.spawn(Box::new(move || resume(finished)));
        }
    }

    fn resume(mut self, finished: Finished, whole: Arc<Pending>) {
        match self.proceed(finished) {
            Ok(Some(item)) => self.wait_for(&item, whole),
            Ok(None) => whole.complete(self.finish()),
            Err(exception) => whole.complete(Finished::raised(exception)),
        }
    }

    fn proceed(&mut self, finished: Finished) -> Result<Option<Arc<Pending>>, Exception> {
        if self.take(finished)?.is_break() {
            return Ok(None);
        }
        while let Some(item) = self.rest.pop_front() {
            let item = item.raw();
            let item = item.batch_item().map_err(|error| undecodable(&error))?;
            match self.item(&item)? {
                Item::Done => {}
                Item::Last => break,
                Item::Parked(pending) => return Ok(Some(pending)),
            }
        }
        Ok(None)
    }

    /// Runs an item. An error fails the whole batch.
    fn item(&mut self, item: &CallHead<'_>) -> Result<Item, Exception> {
        if is_over(self.order.deadline) {
            return Err(Stuck::late().exception(&self.id));
        }
        if let Some(reason) = self.ticket.ended() {
            return Err(exception::ended(reason));
        }
        // Access to attributes is a private name here, and fails, as in Pyro.
        let operation = Operation::Call(item, &self.order.payload);
        match self
            .order
            .invoke(&self.id, &self.servant, operation, true, None)
            .0
        {
            Progress::Parked(pending, ticket) => {
                if let Some(ticket) = ticket {
                    self.ticket.follow(ticket);
                }
                Ok(Item::Parked(pending))
            }
            // A name that does not exist fails the whole batch, as in Pyro.
            Progress::Missing(exception) => Err(exception),
            Progress::Done(finished) => Ok(match self.take(finished)? {
                ControlFlow::Continue(()) => Item::Done,
                ControlFlow::Break(()) => Item::Last,
            }),
        }
    }

    /// Keeps the result of an item. An exception is the last result.
    fn take(&mut self, finished: Finished) -> Result<ControlFlow<()>, Exception> {
        self.after.join(finished.after);
        let own = finished
            .annotations
            .iter()
            .map(|(id, value)| (id, value.clone()));
        self.response.extend(own);
        let (fragment, flow) = match finished.outcome.0 {
            Outcome::Returned(fragment) => (fragment, ControlFlow::Continue(())),
            Outcome::Raised(mut exception) => {
                // Those before it were executed.
                deadlock::forbid_retry(&mut exception);
                (self.wrap(*exception).into(), ControlFlow::Break(()))
            }
            Outcome::Stream(_) => {
                let text = "a batch cannot have item streams among its results";
                return Err(Exception::new("builtins.TypeError", text));
            }
        };
        let limit = self.order.rpc.message_bytes;
        if (self.results.bytes() + fragment.len()) as u64 > limit {
            let text = format!(
                "the results of the batch exceed {limit} bytes after {} calls",
                self.results.len() + 1
            );
            return Err(Exception::new(PYRO_ERROR, text));
        }
        self.results.push_fragment(&fragment);
        Ok(flow)
    }

    fn wrap(&self, exception: Exception) -> Vec<u8> {
        encode_exception(exception, |exception| {
            let mut out = Vec::new();
            let wrapped = WrappedException(exception.clone());
            encode_fragment(self.order.envelope.serializer, &wrapped, &mut out)?;
            Ok(out)
        })
    }

    fn finish(self) -> Finished {
        self.ticket.close();
        let list = memory::written(|list| self.results.encode_document(list));
        let outcome = match list {
            Ok(list) => Encoded(Outcome::Returned(list)),
            Err(error) => Encoded::raised(Exception::new(PYRO_ERROR, error.to_string())),
        };
        let mut finished = Finished::new(outcome, self.response);
        finished.after = self.after;
        finished
    }
}
