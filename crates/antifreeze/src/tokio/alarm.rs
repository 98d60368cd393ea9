//! A timer that is there only while somebody waits for a time.

use std::pin::Pin;
use std::task::{Context, Poll};

use ::tokio::time::{Instant, Sleep, sleep_until};

/// Wakes a task at one time.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when it is `until`, which is another one at each call; never if there is none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<()> {
        let Some(until) = until else {
            self.0 = None;
            return Poll::Pending;
        };
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        // Most timers are moved on before they fire: one that fires too early costs less than to set
        // it anew each time.
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
        Poll::Pending
    }
}
