//! All configurations.

use super::config::{Children, Config, Confirm, Fault, Frame, Lock, Occupied, Role, Victims};
use crate::config::Expect;

const fn root(node: u8) -> Frame {
    Frame {
        node,
        role: Role::Root,
    }
}

const fn task(node: u8) -> Frame {
    Frame {
        node,
        role: Role::Task,
    }
}

const fn served(node: u8) -> Frame {
    Frame {
        node,
        role: Role::Served,
    }
}

const fn hop(node: u8) -> Frame {
    Frame {
        node,
        role: Role::Hop,
    }
}

const fn mutex(node: u8) -> Lock {
    Lock {
        node,
        capacity: 1,
        pool: false,
    }
}

const fn semaphore(node: u8, capacity: u8) -> Lock {
    Lock {
        node,
        capacity,
        pool: false,
    }
}

const fn pool(node: u8, capacity: u8) -> Lock {
    Lock {
        node,
        capacity,
        pool: true,
    }
}

type Change<'a> = &'a dyn Fn(&mut Config);
type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, &[Frame], &[Lock], Change<'_>);

/// All of them, in the order in which they are told of.
pub fn all() -> Vec<Config> {
    let mut all = Vec::new();
    let mut add = |name, about, frames: &[Frame], locks: &[Lock], change: Change<'_>| {
        let mut config = Config::new(name, about, frames, locks);
        change(&mut config);
        all.push(config);
    };
    calls(&mut add);
    two_detectors(&mut add);
    pools(&mut add);
    hops(&mut add);
    occupied(&mut add);
    broken_passes(&mut add);
    broken_hops(&mut add);
    broken_occupied(&mut add);
    all
}

/// The configuration of that name.
pub fn named(name: &str) -> Option<Config> {
    all().into_iter().find(|config| config.name == name)
}

/// Two nodes, with a thread and a served frame each.
const PAIR: [Frame; 4] = [root(0), root(1), served(0), served(1)];
const MUTEXES: [Lock; 2] = [mutex(0), mutex(1)];

fn phantom(fault: Fault) -> impl Fn(&mut Config) {
    move |c| {
        c.fault = Some(fault);
        c.expect = Expect::Phantom;
    }
}

fn miss(fault: Fault) -> impl Fn(&mut Config) {
    move |c| {
        c.fault = Some(fault);
        c.expect = Expect::Miss;
    }
}

/// What a node reads, it reads in one step.
fn coarse(c: &mut Config) {
    c.whole_nodes = true;
    c.confirm = Confirm::AtOnce;
}

fn calls(add: Add<'_>) {
    let about = "2 nodes with a thread, a served frame and a mutex each";
    add("nodes", about, &PAIR, &MUTEXES, &|_| {});
    let about = "… what a node reads in pass 2 is one step";
    add("nodes-at-once", about, &PAIR, &MUTEXES, &|c| {
        c.confirm = Confirm::AtOnce
    });
    let about = "… both may crash, messages may be lost";
    add("nodes-crash", about, &PAIR, &MUTEXES, &|c| {
        c.crashes = 3;
        c.losses = true;
    });
    let frames = [task(0), root(1), served(0), served(1)];
    let about = "… one of the threads is a task with several waits";
    add("nodes-or", about, &frames, &MUTEXES, &|_| {});
    let about = "… both are";
    let frames = [task(0), task(1), served(0), served(1)];
    add("nodes-or-2", about, &frames, &MUTEXES, &|c| c.large = true);
    let five = [root(0), root(1), root(1), served(0), served(1)];
    let about = "2 nodes, 3 threads, 2 served frames, 3 mutexes";
    add(
        "nodes-5",
        about,
        &five,
        &[mutex(0), mutex(1), mutex(1)],
        &|c| c.large = true,
    );
    let about = "2 nodes, 3 threads, 2 served frames, mutex, semaphore of 2";
    add(
        "nodes-semaphore",
        about,
        &five,
        &[mutex(0), semaphore(1, 2)],
        &|c| c.large = true,
    );
    let six = [root(0), root(1), root(2), served(0), served(1), served(2)];
    let about = "3 nodes with a thread, a served frame and a mutex each";
    add(
        "nodes-6",
        about,
        &six,
        &[mutex(0), mutex(1), mutex(2)],
        &|c| {
            coarse(c);
            c.large = true;
        },
    );
}

fn two_detectors(add: Add<'_>) {
    let about = "2 nodes as in `nodes`, 2 checks at once";
    add("two", about, &PAIR, &MUTEXES, &|c| {
        coarse(c);
        c.detectors = 2;
    });
    let about = "… what a node reads is many steps";
    add("two-finer", about, &PAIR, &MUTEXES, &|c| {
        c.detectors = 2;
        c.large = true;
    });
    let about = "… and nodes may crash, messages may be lost";
    add("two-crash", about, &PAIR, &MUTEXES, &|c| {
        c.detectors = 2;
        c.crashes = 3;
        c.losses = true;
        c.large = true;
    });
    let about = "2 checks at once, one order of victims: one victim a deadlock";
    add("two-same", about, &PAIR, &MUTEXES, &|c| {
        coarse(c);
        c.detectors = 2;
        c.victims = Victims::Same;
        c.large = true;
    });
}

/// Frames that serve calls of their own node, too.
fn and_own(c: &mut Config) {
    let served = c.at(1);
    for (frame, may) in c.may_call.iter_mut().enumerate() {
        *may |= served & !(1 << frame);
    }
}

/// Served frames call back into a pool of 1.
const CALLBACK: [Frame; 5] = [root(0), root(0), served(0), served(1), served(1)];
/// … or call others of a pool of 2.
const WORKERS: [Frame; 5] = [root(0), root(0), served(1), served(1), served(1)];

fn pools(add: Add<'_>) {
    let about = "2 threads, a pool of 1 and a mutex on another node, calls back";
    add("pool", about, &CALLBACK, &[pool(1, 1), mutex(1)], &|_| {});
    let about = "2 threads, a pool of 2 and a mutex there, 3 frames that call each other";
    add(
        "pool-of-2",
        about,
        &WORKERS,
        &[pool(1, 2), mutex(1)],
        &and_own,
    );
    let about = "2 threads, a pool of 2, 4 frames that call each other";
    let four = [root(0), root(0), served(1), served(1), served(1), served(1)];
    add("pool-of-2-4", about, &four, &[pool(1, 2)], &|c| {
        and_own(c);
        c.large = true;
    });
    let about = "2 nodes with a thread, 2 served frames and a pool of 1 each";
    let both = [root(0), root(1), served(0), served(0), served(1), served(1)];
    add("pools", about, &both, &[pool(0, 1), pool(1, 1)], &|c| {
        c.large = true
    });
    let about = "`pool-of-2`, 2 checks at once";
    add("pool-two", about, &WORKERS, &[pool(1, 2), mutex(1)], &|c| {
        and_own(c);
        coarse(c);
        c.detectors = 2;
        c.large = true;
    });
}

/// Two nodes as in [`PAIR`], and a hop between them.
const HOP: [Frame; 5] = [root(0), root(1), served(0), served(1), hop(2)];
/// One thread, which can only be waited for through the hop.
const BACK: [Frame; 4] = [root(0), served(0), served(1), hop(2)];
/// A second hop behind the first.
const HOPS: [Frame; 6] = [root(0), root(1), served(0), served(1), hop(2), hop(3)];

/// Hops give up their calls, and make some with a stale annotation.
fn careless(c: &mut Config) {
    c.hop_timeouts = true;
    c.stale = true;
}

/// Hops have others make calls that they do not wait for.
fn forking(c: &mut Config) {
    c.forks = true;
    c.forgive_forks = true;
}

fn hops(add: Add<'_>) {
    let about = "a thread, a hop, 2 served frames behind it, mutex";
    add("hop", about, &BACK, &[mutex(0)], &|_| {});
    let about = "… that forks: no phantom but by a fork that nothing shows";
    add("hop-forks", about, &BACK, &[mutex(0)], &forking);
    let about = "… and gives up its calls, and makes some with a stale annotation";
    add("hop-careless", about, &BACK, &[mutex(0)], &|c| {
        careless(c);
        c.large = true;
    });
    let about = "… and forks";
    add("hop-all", about, &BACK, &[mutex(0)], &|c| {
        careless(c);
        forking(c);
        c.large = true;
    });
    let about = "… nodes may crash, messages may be lost";
    add("hop-crash", about, &BACK, &[mutex(0)], &|c| {
        careless(c);
        forking(c);
        c.crashes = 3;
        c.losses = true;
        c.large = true;
    });
    let about = "`hop-forks`, 2 checks at once";
    add("hop-two", about, &BACK, &[mutex(0)], &|c| {
        forking(c);
        coarse(c);
        c.detectors = 2;
        c.large = true;
    });
    let about = "`nodes` and a hop between them";
    add("hop-nodes", about, &HOP, &MUTEXES, &|c| c.large = true);
    let about = "… that gives up its calls, and makes some with a stale annotation";
    add("hop-nodes-careless", about, &HOP, &MUTEXES, &|c| {
        careless(c);
        c.large = true;
    });
    let about = "… and forks";
    add("hop-nodes-all", about, &HOP, &MUTEXES, &|c| {
        careless(c);
        forking(c);
        c.large = true;
    });
    let about = "`nodes` and 2 hops in a row, which wait for what they call";
    add("hops", about, &HOPS, &MUTEXES, &|c| {
        coarse(c);
        c.large = true;
    });
    let about = "2 hops in a row that give up and fork, 1 frame: no other phantom";
    let row = [root(0), served(0), hop(2), hop(3)];
    add("hops-forks", about, &row, &[mutex(0)], &|c| {
        careless(c);
        forking(c);
        c.large = true;
    });
    let about = "… 2 frames";
    let row = [root(0), served(0), served(1), hop(2), hop(3)];
    add("hops-all", about, &row, &[mutex(0)], &|c| {
        coarse(c);
        careless(c);
        forking(c);
        c.large = true;
    });
}

/// Two nodes, and a hop that does one thing at a time between them.
const SINGLE: [Frame; 6] = [root(0), root(1), served(0), served(1), hop(2), hop(2)];
/// The same, with frames behind it on one node only.
const BEHIND: [Frame; 5] = [root(0), root(1), served(1), hop(2), hop(2)];
/// … and two frames there.
const BEHIND_2: [Frame; 6] = [root(0), root(1), served(1), served(1), hop(2), hop(2)];

fn single(c: &mut Config) {
    c.single = 4;
    c.repeats = true;
}

fn occupied(add: Add<'_>) {
    let about = "2 threads, a hop that does one thing at a time, a frame behind it, mutex";
    add("single", about, &BEHIND, &[mutex(1)], &single);
    let about = "… and gives up its calls";
    add("single-gives-up", about, &BEHIND, &[mutex(1)], &|c| {
        single(c);
        c.hop_timeouts = true;
        c.large = true;
    });
    let about = "… 2 frames behind it; gives up, and forks";
    add("single-all", about, &BEHIND_2, &[mutex(1)], &|c| {
        single(c);
        forking(c);
        c.hop_timeouts = true;
        coarse(c);
        c.large = true;
    });
    let about = "`nodes` and a hop between them that does one thing at a time";
    add("single-nodes", about, &SINGLE, &MUTEXES, &|c| {
        single(c);
        c.large = true;
    });
}

/// Pass 2 or the verdict goes wrong.
fn broken_passes(add: Add<'_>) {
    let confirm = |confirm: Confirm| {
        move |c: &mut Config| {
            c.confirm = confirm;
            c.expect = Expect::Phantom;
        }
    };
    let about = "pass 2 is left out";
    add(
        "nodes-no-pass-2",
        about,
        &PAIR,
        &MUTEXES,
        &confirm(Confirm::Nothing),
    );
    let about = "pass 2 frame by frame";
    add(
        "nodes-by-frame",
        about,
        &PAIR,
        &MUTEXES,
        &confirm(Confirm::FrameByFrame),
    );
    let about = "pass 2 reads the epochs of a node, then the edges";
    add(
        "nodes-reversed",
        about,
        &PAIR,
        &MUTEXES,
        &confirm(Confirm::EpochsThenEdges),
    );
    let about = "a verdict is accepted by whatever the frame waits for by then";
    add(
        "nodes-unchecked",
        about,
        &PAIR,
        &MUTEXES,
        &phantom(Fault::VerdictUnchecked),
    );
    let about = "each of 2 checks has its own order of victims: a second victim";
    add("two-orders", about, &PAIR, &MUTEXES, &|c| {
        coarse(c);
        c.detectors = 2;
        c.victims = Victims::Differ;
        c.expect = Expect::Phantom;
    });
    let about = "who wants a worker seems stuck if one of those who have one is";
    add(
        "pool-as-and",
        about,
        &WORKERS,
        &[pool(1, 2), mutex(1)],
        &|c| {
            phantom(Fault::PoolAsAnd)(c);
            and_own(c);
        },
    );
    let about = "a queued call is no frame";
    let locks = [pool(1, 1), mutex(1)];
    add(
        "pool-unseen",
        about,
        &CALLBACK,
        &locks,
        &miss(Fault::QueueUnseen),
    );
}

/// A rule on hops is left out.
fn broken_hops(add: Add<'_>) {
    let careless_and = |fault: Fault| {
        move |c: &mut Config| {
            careless(c);
            phantom(fault)(c);
        }
    };
    let about = "a fork, which nothing on the wire shows: documented";
    add("hop-fork", about, &BACK, &[mutex(0)], &|c| {
        c.forks = true;
        c.expect = Expect::Phantom;
    });
    let about = "the first of 2 hops gives up, which nothing shows: documented";
    let row = [root(0), served(0), hop(2), hop(3)];
    add("hops-give-up", about, &row, &[mutex(0)], &|c| {
        c.hop_timeouts = true;
        c.expect = Expect::Phantom;
    });
    let forked = |children: Children, fault: Option<Fault>| {
        move |c: &mut Config| {
            forking(c);
            c.children = children;
            c.fault = fault;
            c.expect = Expect::Phantom;
        }
    };
    let about = "the children of a call are not compared";
    add(
        "hop-not-compared",
        about,
        &BACK,
        &[mutex(0)],
        &forked(Children::Found, None),
    );
    let about = "… only as a set, not how often it changed";
    add(
        "hop-as-set",
        about,
        &BACK,
        &[mutex(0)],
        &forked(Children::Set, None),
    );
    let about = "one of several children is enough";
    let any = forked(Children::Count, Some(Fault::AnyChild));
    add("hop-any-child", about, &BACK, &[mutex(0)], &any);
    let about = "a closed connection still makes a child";
    add(
        "hop-end-ignored",
        about,
        &BACK,
        &[mutex(0)],
        &careless_and(Fault::EndIgnored),
    );
    let about = "pass 2 does not ask a child whether it still is one";
    let unconfirmed = careless_and(Fault::ClaimUnconfirmed);
    add("hop-unconfirmed", about, &BACK, &[mutex(0)], &unconfirmed);
    let about = "no pause before pass 2: an end of connection is under way";
    add("hop-no-pause", about, &BACK, &[mutex(0)], &|c| {
        phantom(Fault::NoPause)(c);
        c.hop_timeouts = true;
    });
    let about = "… or a reply, after which the annotation is stale";
    add("hop-stale", about, &BACK, &[mutex(0)], &|c| {
        phantom(Fault::NoPause)(c);
        c.stale = true;
    });
    let about = "nobody attaches";
    add(
        "hop-no-attach",
        about,
        &BACK,
        &[mutex(0)],
        &miss(Fault::NoAttach),
    );
    let about = "no check after a frame has attached itself";
    add(
        "hop-no-check",
        about,
        &BACK,
        &[mutex(0)],
        &miss(Fault::NoCheckOnAttach),
    );
    let about = "no check after all children but one have gone";
    add("hop-no-check-on-detach", about, &BACK, &[mutex(0)], &|c| {
        miss(Fault::NoCheckOnDetach)(c);
        c.hop_timeouts = true;
    });
    let about = "a call that once had two children has none for ever";
    add("hop-once-forked", about, &BACK, &[mutex(0)], &|c| {
        miss(Fault::OnceForked)(c);
        c.hop_timeouts = true;
    });
    let about = "a child that is no more counts as one";
    add(
        "hop-ghosts",
        about,
        &BACK,
        &[mutex(0)],
        &miss(Fault::GhostsCount),
    );
}

/// A rule on hops that do one thing at a time is left out.
fn broken_occupied(add: Add<'_>) {
    let broken = |occupied: Occupied| {
        move |c: &mut Config| {
            single(c);
            c.occupied = occupied;
            c.expect = Expect::Miss;
        }
    };
    let about = "calls to an occupied hop wait for nobody";
    add(
        "single-unseen",
        about,
        &BEHIND,
        &[mutex(1)],
        &broken(Occupied::Unseen),
    );
    let about = "… only for calls that are outstanding";
    let outstanding = broken(Occupied::Outstanding);
    add("single-outstanding", about, &BEHIND, &[mutex(1)], &|c| {
        outstanding(c);
        c.timeouts = false;
    });
    let about = "… for any of several children";
    add("single-any-child", about, &BEHIND_2, &[mutex(1)], &|c| {
        single(c);
        forking(c);
        phantom(Fault::AnyOccupant)(c);
    });
    let about = "… for a fork of one that was answered";
    add("single-answered", about, &BEHIND, &[mutex(1)], &|c| {
        single(c);
        forking(c);
        phantom(Fault::AnsweredOccupies)(c);
        c.timeouts = false;
    });
    let about = "a call to an occupied hop cannot be failed";
    add("single-no-victim", about, &BEHIND, &[mutex(1)], &|c| {
        single(c);
        miss(Fault::CallsStay)(c);
    });
    let about = "no check when a call to an occupied hop begins, and none repeated";
    add("single-no-check", about, &BEHIND, &[mutex(1)], &|c| {
        single(c);
        miss(Fault::NoCheckOnCall)(c);
        c.repeats = false;
    });
    let about = "who descends from a hop's call is not checked again";
    add("single-no-repeats", about, &SINGLE, &MUTEXES, &|c| {
        single(c);
        c.repeats = false;
        c.expect = Expect::Miss;
    });
}
