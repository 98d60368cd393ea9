//! Whether calls that overlapped could have happened one after the other.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What an object does, one call at a time.
pub trait Model {
    /// All that the object remembers.
    type State: Clone + Debug + Default + Eq + Hash;
    /// What can be asked of it.
    type Call: Debug + Eq;
    /// What it can answer.
    type Answer: Debug;

    /// What the object remembers after `call`, or `None` if it would not have answered that.
    ///
    /// Of a call whose answer nobody has seen only the effect counts.
    fn step(
        state: &Self::State,
        call: &Self::Call,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// A call as its caller saw it; times are of one clock for all callers.
#[derive(Debug)]
pub struct Operation<M: Model> {
    /// What was asked.
    pub call: M::Call,
    /// What was answered; `None` if nobody knows, nor whether it has happened at all.
    pub answer: Option<M::Answer>,
    /// When the call began.
    pub from: u64,
    /// When the answer had come; without one it does not matter.
    pub until: u64,
}

impl<M: Model> Operation<M> {
    fn tell(&self) -> String {
        let Self {
            call,
            answer,
            from,
            until,
        } = self;
        format!("{call:?} answered {answer:?} between {from} and {until}")
    }

    /// When the call had certainly happened.
    fn end(&self) -> u64 {
        self.answer.as_ref().map_or(u64::MAX, |_| self.until)
    }
}

/// How many steps are tried before the search is given up.
const PATIENCE: usize = 1_000_000;

/// Checks that all calls could have happened one after the other, each between its begin and its
/// answer (Wing and Gong; what was tried in vain is remembered, after Lowe).
///
/// # Errors
///
/// A text that tells how far one can get, and which calls cannot come next then.
///
/// # Panics
///
/// If the search takes too long.
pub fn check_linear<M: Model>(mut operations: Vec<Operation<M>>) -> Result<(), String> {
    operations.sort_by_key(|operation| operation.from);
    let mut order = Order::new(&operations);
    let mut tried = HashSet::new();
    let mut path = vec![(M::State::default(), order.next())];
    let mut best = (0, String::new());
    let mut steps = 0;
    while let Some((state, candidates)) = path.last_mut() {
        if order.answered == 0 {
            return Ok(());
        }
        let Some(index) = candidates.pop() else {
            path.pop();
            order.take_back();
            continue;
        };
        steps += 1;
        assert!(steps < PATIENCE, "too many orders to try");
        let operation = &operations[index];
        let Some(next) = M::step(state, &operation.call, operation.answer.as_ref()) else {
            if order.done.len() >= best.0 {
                let stuck: Vec<_> = order
                    .next()
                    .into_iter()
                    .map(|i| operations[i].tell())
                    .collect();
                best = (order.done.len(), format!("{state:?}: {stuck:#?}"));
            }
            continue;
        };
        order.put(index);
        if tried.insert((order.key(), next.clone())) {
            let candidates = order.next();
            path.push((next, candidates));
        } else {
            order.take_back();
        }
    }
    let (done, stuck) = best;
    let all = operations.len();
    Err(format!(
        "after {done} of {all} calls none of these can have come next, at {stuck}"
    ))
}

/// Which operations have happened so far, in an order that is tried.
struct Order<'a, M: Model> {
    operations: &'a [Operation<M>],
    is_done: Vec<bool>,
    /// In that order, each with the one that began last until then.
    done: Vec<(usize, usize)>,
    /// All before that one have happened.
    first_open: usize,
    /// How many operations with an answer have not happened.
    answered: usize,
}

impl<'a, M: Model> Order<'a, M> {
    fn new(operations: &'a [Operation<M>]) -> Self {
        let answered = operations.iter().filter(|o| o.answer.is_some()).count();
        let is_done = vec![false; operations.len()];
        Self {
            operations,
            is_done,
            done: Vec::new(),
            first_open: 0,
            answered,
        }
    }

    fn put(&mut self, index: usize) {
        let last = self.last().max(index);
        self.is_done[index] = true;
        self.done.push((index, last));
        let open = &self.is_done[self.first_open..];
        self.first_open += open.iter().take_while(|done| **done).count();
        self.answered -= usize::from(self.operations[index].answer.is_some());
    }

    fn take_back(&mut self) {
        if let Some((index, _)) = self.done.pop() {
            self.is_done[index] = false;
            self.first_open = self.first_open.min(index);
            self.answered += usize::from(self.operations[index].answer.is_some());
        }
    }

    /// The one that began last of those that have happened.
    fn last(&self) -> usize {
        self.done.last().map_or(0, |(_, last)| *last)
    }

    /// Those that may happen next: nobody else had its answer before they began. The most promising
    /// are last.
    fn next(&self) -> Vec<usize> {
        let mut first_end = u64::MAX;
        let mut next: Vec<usize> = Vec::new();
        for (index, operation) in self.operations.iter().enumerate().skip(self.first_open) {
            if self.is_done[index] {
                continue;
            }
            if operation.from > first_end {
                break;
            }
            first_end = first_end.min(operation.end());
            // Of several that do the same and that nobody has seen happen, the first will do.
            let same = |other: &usize| {
                let other = &self.operations[*other];
                other.answer.is_none() && other.call == operation.call
            };
            if operation.answer.is_some() || !next.iter().any(same) {
                next.push(index);
            }
        }
        next.retain(|index| self.operations[*index].from <= first_end);
        next.sort_by_key(|index| std::cmp::Reverse(self.operations[*index].end()));
        next
    }

    /// What tells apart two sets of operations that have happened.
    fn key(&self) -> (usize, Vec<usize>) {
        let last = self.last();
        let open = (self.first_open..last).filter(|index| !self.is_done[*index]);
        (last, open.collect())
    }
}
