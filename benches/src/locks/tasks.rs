//! Tasks and one lock.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::{self, Runtime};

use super::job::{Contest, Effort, Executor, Outcome, Section, Start};
use super::threads::alone;

/// A lock that tasks await.
pub(crate) trait Gate: Send + Sync + 'static {
    /// Closes the gate behind its owner until it is dropped.
    type Guard<'a>: Send;

    fn new() -> Self;

    fn enter(&self) -> impl Future<Output = Self::Guard<'_>> + Send;

    /// Makes a task of a future as a user of this library has to.
    fn task<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send> + Send + 'static,
    {
        future
    }
}

/// Runs `contest` on a lock of this kind.
pub(crate) fn run<G: Gate>(contest: Contest, effort: Effort) -> Result<Outcome> {
    let runtime = runtime(contest.executor)?;
    let gate = Arc::new(G::new());
    if contest.agents > 1 {
        return Ok(together(&runtime, &gate, contest, effort));
    }
    Ok(alone(
        |operations| {
            let gate = Arc::clone(&gate);
            runtime.block_on(G::task(async move {
                for _ in 0..operations {
                    black_box(gate.enter().await);
                }
            }));
        },
        effort,
    ))
}

/// The runtime of a contest.
pub(crate) fn runtime(executor: Executor) -> Result<Runtime> {
    let runtime = match executor {
        Executor::TwoThreads => runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build(),
        Executor::OneThread | Executor::Threads => runtime::Builder::new_current_thread().build(),
    };
    Ok(runtime?)
}

fn together<G: Gate>(
    runtime: &Runtime,
    gate: &Arc<G>,
    contest: Contest,
    effort: Effort,
) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let most = match effort {
        Effort::Milliseconds(_) => u64::MAX,
        Effort::Operations(operations) => operations,
    };
    let agent = || {
        let (gate, stop) = (Arc::clone(gate), Arc::clone(&stop));
        runtime.spawn(G::task(async move {
            let mut operations = 0;
            while operations < most && !stop.load(Ordering::Relaxed) {
                let guard = gate.enter().await;
                if contest.section == Section::Yielding {
                    yield_once().await;
                }
                drop(guard);
                if contest.section != Section::Yielding {
                    yield_once().await;
                }
                operations += 1;
            }
            operations
        }))
    };
    let start = Start::now();
    let agents: Vec<_> = (0..contest.agents).map(|_| agent()).collect();
    let stopper = match effort {
        Effort::Milliseconds(milliseconds) => {
            let stop = Arc::clone(&stop);
            Some(thread::spawn(move || {
                thread::sleep(Duration::from_millis(milliseconds));
                stop.store(true, Ordering::Relaxed);
            }))
        }
        Effort::Operations(_) => None,
    };
    let each: Vec<u64> = runtime.block_on(async {
        let mut each = Vec::new();
        for agent in agents {
            each.push(agent.await.unwrap_or(0));
        }
        each
    });
    let outcome = start.end();
    drop(stopper.map(thread::JoinHandle::join));
    outcome(&each)
}

/// Lets others run: to the end of the queue, and no farther than that, unlike tokio's own, which
/// also looks at timers and sockets first.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
