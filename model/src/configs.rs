//! All configurations.
//!
//! Those called `first-` make pass 2 frame by frame, as the rules were first written; those that are
//! named after a mistake have it in them. Of both kinds most must go wrong.

use crate::config::{Config, Expect, Fault, Grain, Resource, Second};

const MUTEX: Resource = Resource::mutex();
const BARGING: Resource = MUTEX.barging();
const RWLOCK: Resource = Resource::rwlock();
const SEMAPHORE: Resource = Resource::semaphore(2, 2);
const EVENT: Resource = Resource::event();
const ALL: u8 = 15;

/// All of them, in the order in which they are told of.
pub fn all() -> Vec<Config> {
    let mut all = Vec::new();
    let mut add = |name, about, frames, resources: &[Resource], change: Change<'_>| {
        let mut config = Config::new(name, about, frames, resources);
        change(&mut config);
        all.push(config);
    };
    first_written(&mut add);
    mutexes(&mut add);
    readers_and_writers(&mut add);
    semaphores(&mut add);
    tasks(&mut add);
    events(&mut add);
    calls(&mut add);
    silent(&mut add);
    misjudged(&mut add);
    unchecked(&mut add);
    all
}

/// The configuration of that name.
pub fn named(name: &str) -> Option<Config> {
    all().into_iter().find(|config| config.name == name)
}

type Change<'a> = &'a dyn Fn(&mut Config);
type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, usize, &[Resource], Change<'_>);

/// Pass 2 frame by frame.
fn first_written(add: Add<'_>) {
    let first = |c: &mut Config| {
        c.second = Second::FrameByFrame;
        c.grain = Grain::Coarse;
        c.expect = Expect::Phantom;
    };
    add(
        "first-mutex",
        "2 threads, 2 barging mutexes",
        2,
        &[BARGING; 2],
        &first,
    );
    let rwlock = RWLOCK.barging();
    add(
        "first-rwlock",
        "2 threads, 2 barging RwLocks",
        2,
        &[rwlock; 2],
        &first,
    );
    let semaphore = SEMAPHORE.barging();
    add(
        "first-semaphore",
        "2 threads, 2 unfair semaphores",
        2,
        &[semaphore; 2],
        &first,
    );
    add(
        "first-admit",
        "3 threads, 2 FIFO RwLocks, readers let past writers",
        3,
        &[RWLOCK; 2],
        &first,
    );
    add(
        "first-or",
        "2 tasks, 1 thread, 2 barging mutexes",
        3,
        &[BARGING; 2],
        &|c| {
            first(c);
            c.tasks = 3;
        },
    );
    let about = "3 threads, 2 FIFO mutexes: strict hand-off needs no more";
    add("first-strict", about, 3, &[MUTEX; 2], &|c| {
        first(c);
        c.expect = Expect::Sound;
    });
    add(
        "first-strict-4",
        "the same with 4 threads, 3 mutexes",
        4,
        &[MUTEX; 3],
        &|c| {
            first(c);
            c.expect = Expect::Sound;
            c.large = true;
        },
    );
    let about = "… but only if epoch and owner of a frame are read at once";
    add("first-unpinned", about, 3, &[MUTEX; 2], &|c| {
        first(c);
        c.grain = Grain::Medium;
    });
}

fn mutexes(add: Add<'_>) {
    let fine = |c: &mut Config| {
        c.grain = Grain::Fine;
        c.hand_over = true;
    };
    add(
        "mutex",
        "3 threads, 3 FIFO mutexes, every store",
        3,
        &[MUTEX; 3],
        &fine,
    );
    add(
        "mutex-barging",
        "3 threads, 3 barging mutexes, every store",
        3,
        &[BARGING; 3],
        &fine,
    );
    let passing = MUTEX.passing();
    let about = "3 threads, 3 mutexes, running threads overtake, every store";
    add("mutex-passing", about, 3, &[passing; 3], &fine);
    let about = "3 threads, 3 barging mutexes, nobody times out";
    add("mutex-patient", about, 3, &[BARGING; 3], &|c| {
        fine(c);
        c.timeouts = false;
    });
    let about = "3 threads, 3 barging mutexes, epochs re-read one by one";
    add("mutex-epochs", about, 3, &[BARGING; 3], &|c| {
        c.epochs_apart = true
    });
    let about = "3 threads, 3 barging mutexes, any other edge rejects";
    add("mutex-exact", about, 3, &[BARGING; 3], &|c| {
        fine(c);
        c.exact = true;
    });
    add(
        "mutex-4",
        "4 threads, 3 barging mutexes, every store",
        4,
        &[BARGING; 3],
        &|c| {
            fine(c);
            c.large = true;
        },
    );
}

fn readers_and_writers(add: Add<'_>) {
    let large = |c: &mut Config| c.large = true;
    add(
        "rwlock-2",
        "2 threads, 2 FIFO RwLocks, every store and journal",
        2,
        &[RWLOCK; 2],
        &|c| {
            c.grain = Grain::Finest;
        },
    );
    add(
        "rwlock",
        "3 threads, 2 FIFO RwLocks, readers let past writers",
        3,
        &[RWLOCK; 2],
        &large,
    );
    let barging = RWLOCK.barging();
    add(
        "rwlock-barging",
        "3 threads, 2 barging RwLocks",
        3,
        &[barging; 2],
        &large,
    );
    let passing = RWLOCK.passing();
    let about = "3 threads, 2 RwLocks, running threads overtake";
    add("rwlock-passing", about, 3, &[passing; 2], &large);
    let upgrade = RWLOCK.and_more();
    let about = "3 threads, 2 FIFO RwLocks, readers may ask to write";
    add("rwlock-upgrade", about, 3, &[upgrade; 2], &large);
    let about = "3 threads, RwLock and mutex, every store and journal";
    add("rwlock-journals", about, 3, &[RWLOCK, MUTEX], &|c| {
        c.grain = Grain::Finest;
        c.large = true;
    });
    let about = "4 threads, FIFO RwLock and mutex";
    add("rwlock-4", about, 4, &[RWLOCK, MUTEX], &large);
}

fn semaphores(add: Add<'_>) {
    let large = |c: &mut Config| c.large = true;
    let both = [SEMAPHORE, MUTEX];
    add(
        "semaphore-2",
        "2 threads, 2 semaphores of 2, weighted, every store",
        2,
        &[SEMAPHORE; 2],
        &|c| {
            c.grain = Grain::Finest;
        },
    );
    add(
        "semaphore",
        "3 threads, semaphore of 2, mutex; weighted, FIFO",
        3,
        &both,
        &large,
    );
    let unfair = SEMAPHORE.barging();
    add(
        "semaphore-unfair",
        "3 threads, 2 unfair semaphores of 2, weighted",
        3,
        &[unfair; 2],
        &large,
    );
    add(
        "semaphore-two",
        "3 threads, 2 semaphores of 2, weighted, FIFO",
        3,
        &[SEMAPHORE; 2],
        &large,
    );
    let three = Resource::semaphore(3, 2);
    add(
        "semaphore-three",
        "3 threads, semaphore of 3, mutex; weighted, FIFO",
        3,
        &[three, MUTEX],
        &large,
    );
    add(
        "semaphore-4",
        "4 threads, semaphore of 3, mutex; weighted, FIFO",
        4,
        &[three, MUTEX],
        &large,
    );
}

fn tasks(add: Add<'_>) {
    let tasks = |c: &mut Config| c.tasks = ALL;
    let large = |c: &mut Config| {
        c.tasks = ALL;
        c.large = true;
    };
    add(
        "or",
        "3 tasks, 2 FIFO mutexes, several waits each",
        3,
        &[MUTEX; 2],
        &tasks,
    );
    let passing = MUTEX.passing();
    let about = "2 tasks, 1 thread, 2 mutexes, threads overtake threads";
    add("or-passing", about, 3, &[passing; 2], &|c| c.tasks = 3);
    let about = "2 tasks, FIFO mutexes, timers that others drop";
    add("or-dropped", about, 2, &[MUTEX; 2], &|c| {
        tasks(c);
        c.timers = true;
        c.dropped_timers = true;
    });
    add(
        "or-barging",
        "3 tasks, 2 barging mutexes",
        3,
        &[BARGING; 2],
        &large,
    );
    add(
        "or-siblings",
        "3 tasks, 2 mutexes, waits for one's own lock",
        3,
        &[MUTEX; 2],
        &|c| {
            large(c);
            c.siblings = true;
        },
    );
    add(
        "or-timer",
        "3 tasks, 2 barging mutexes, select with a timer",
        3,
        &[BARGING; 2],
        &|c| {
            large(c);
            c.timers = true;
        },
    );
    add(
        "or-every-step",
        "3 tasks, 2 barging mutexes, timers, every store",
        3,
        &[BARGING; 2],
        &|c| {
            large(c);
            c.timers = true;
            c.grain = Grain::Fine;
            c.hand_over = true;
        },
    );
    add(
        "or-three",
        "3 tasks, 3 barging mutexes",
        3,
        &[BARGING; 3],
        &large,
    );
    let about = "2 tasks that may block in a poll, 1 thread, every store";
    add("block-in-poll", about, 3, &[MUTEX; 2], &|c| {
        c.tasks = 3;
        c.block_in_poll = true;
        c.grain = Grain::Fine;
        c.large = true;
    });
}

fn events(add: Add<'_>) {
    add(
        "event",
        "3 threads, 2 events with declared notifiers",
        3,
        &[EVENT; 2],
        &|_| {},
    );
    let about = "3 threads, 2 events, 1 mutex";
    add("event-mutex", about, 3, &[EVENT, EVENT, MUTEX], &|c| {
        c.large = true
    });
    let about = "3 tasks, 2 events: OR of ORs";
    add("event-or", about, 3, &[EVENT; 2], &|c| {
        c.tasks = ALL;
        c.large = true;
    });
}

fn calls(add: Add<'_>) {
    let about = "2 threads that call 1 frame on their own thread, 2 FIFO mutexes";
    let resources = [MUTEX, MUTEX, Resource::call()];
    add("call", about, 3, &resources, &|c| c.calls = 4);
    add(
        "call-task",
        "… of which the called is a task (`block_on`)",
        3,
        &resources,
        &|c| {
            c.calls = 4;
            c.tasks = 4;
        },
    );
    let resources = [BARGING, BARGING, Resource::call()];
    let about = "2 threads that call 2 frames, nested, 2 barging mutexes";
    add("call-nested", about, 4, &resources, &|c| c.calls = 12);
}

/// Something ends without a new epoch, or an owner is wrong.
fn silent(add: Add<'_>) {
    let phantom = |fault: Fault| {
        move |c: &mut Config| {
            c.fault = Some(fault);
            c.expect = Expect::Phantom;
        }
    };
    add("no-pass-2", "pass 2 is left out", 2, &[BARGING; 2], &|c| {
        c.second = Second::Nothing;
        c.expect = Expect::Phantom;
    });
    let about = "a granter leaves the epoch of a task as it is";
    add("silent-grant", about, 2, &[MUTEX; 2], &|c| {
        phantom(Fault::SilentGrant)(c);
        c.tasks = ALL;
    });
    let about = "… or that of a thread, at a semaphore";
    add(
        "silent-permit",
        about,
        2,
        &[SEMAPHORE; 2],
        &phantom(Fault::SilentGrant),
    );
    let about = "a wake leaves the epoch of a task as it is";
    add("silent-wake", about, 2, &[MUTEX; 2], &|c| {
        phantom(Fault::SilentWake)(c);
        c.tasks = ALL;
        c.timers = true;
    });
    let about = "a wait that ends by itself leaves the epoch as it is";
    add(
        "silent-end",
        about,
        2,
        &[MUTEX; 2],
        &phantom(Fault::SilentEnd),
    );
    let about = "a granted frame runs before its owner word is written";
    add("late-owner", about, 3, &[MUTEX; 2], &|c| {
        phantom(Fault::LateOwner)(c);
        c.grain = Grain::Fine;
    });
    let about = "… which can hide a deadlock, too";
    add("late-owner-miss", about, 3, &[MUTEX; 2], &|c| {
        phantom(Fault::LateOwner)(c);
        c.grain = Grain::Fine;
        c.expect = Expect::Miss;
    });
    let about = "a guard moves to another frame, the owner word stays";
    add(
        "moved-guard",
        about,
        3,
        &[MUTEX; 2],
        &phantom(Fault::MovedGuard),
    );
    let about = "partners that were changed and changed back go unnoticed";
    add(
        "no-partners-seq",
        about,
        3,
        &[EVENT; 2],
        &phantom(Fault::NoPartnersSeq),
    );
}

/// The wrong conclusion from right readings.
fn misjudged(add: Add<'_>) {
    let phantom = |fault: Fault| {
        move |c: &mut Config| {
            c.fault = Some(fault);
            c.expect = Expect::Phantom;
        }
    };
    let about = "a task counts as stuck if one of its waits is";
    add("or-as-and", about, 3, &[MUTEX; 3], &|c| {
        phantom(Fault::OrAsAnd)(c);
        c.tasks = ALL;
    });
    let about = "a reader that only waits behind a writer is failed";
    add(
        "soft-failed",
        about,
        3,
        &[RWLOCK, MUTEX],
        &phantom(Fault::SoftFailed),
    );
    let about = "who is failed, who let past is decided by the edges of pass 1";
    add("old-edges", about, 3, &[RWLOCK; 2], &|c| {
        phantom(Fault::OldEdges)(c);
        c.timeouts = false;
        c.grain = Grain::Coarse;
    });
    let about = "a task that waits for its own lock counts as stuck";
    add("self-is-deadlock", about, 2, &[MUTEX; 2], &|c| {
        phantom(Fault::SelfIsDeadlock)(c);
        c.tasks = ALL;
        c.siblings = true;
    });
    add(
        "early-stop",
        "a check ends at the first running reader",
        3,
        &[RWLOCK, MUTEX],
        &|c| {
            c.fault = Some(Fault::EarlyStop);
            c.expect = Expect::Miss;
        },
    );
}

/// A check is not made, or too early.
fn unchecked(add: Add<'_>) {
    let miss = |fault: Fault| {
        move |c: &mut Config| {
            c.fault = Some(fault);
            c.expect = Expect::Miss;
        }
    };
    let about = "a rejected check is not repeated";
    add(
        "no-repeat",
        about,
        3,
        &[RWLOCK, MUTEX],
        &miss(Fault::NoRepeat),
    );
    let blocks = |c: &mut Config| {
        c.tasks = 1;
        c.block_in_poll = true;
        c.grain = Grain::Fine;
    };
    let about = "no check when a task that blocks in a poll is granted another wait";
    add("no-check-on-grant", about, 3, &[MUTEX; 2], &|c| {
        miss(Fault::NoCheckOnGrant)(c);
        blocks(c);
    });
    let about = "… or one before the new owner is written";
    add("early-check-on-grant", about, 3, &[MUTEX; 2], &|c| {
        miss(Fault::EarlyCheckOnGrant)(c);
        blocks(c);
    });
    let about = "who makes a call on its own thread seems to run";
    let resources = [MUTEX, MUTEX, Resource::call()];
    add("no-call-edge", about, 3, &resources, &|c| {
        miss(Fault::NoCallEdge)(c);
        c.calls = 4;
    });
    let about = "no check when a notifier leaves";
    add(
        "no-check-on-leave",
        about,
        3,
        &[EVENT; 2],
        &miss(Fault::NoCheckOnLeave),
    );
    let about = "no check when the last foreign waker is dropped";
    add("no-check-on-drop", about, 2, &[MUTEX; 2], &|c| {
        miss(Fault::NoCheckOnDrop)(c);
        c.tasks = ALL;
        c.timers = true;
        c.dropped_timers = true;
    });
}
