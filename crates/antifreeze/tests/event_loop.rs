//! What a daemon promises, kept by its event loop.

#[path = "served/chains.rs"]
mod chains;
#[path = "served/deadlocks.rs"]
mod deadlocks;
#[path = "served/robust.rs"]
mod robust;
#[path = "served/runtimes.rs"]
mod runtimes;
#[path = "served/serving.rs"]
mod serving;

fn daemon() -> antifreeze::DaemonBuilder {
    antifreeze::Daemon::builder()
}
