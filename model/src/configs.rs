//! All configurations.

use crate::config::{Config, Expect, Fault, Grain, Resource, Second};

const MUTEX: Resource = Resource::mutex();
const BARGING: Resource = MUTEX.barging();
const RWLOCK: Resource = Resource::rwlock();
const EVENT: Resource = Resource::event();
const ALL: u8 = 15;

/// All of them, in the order in which they are told of.
pub fn all() -> Vec<Config> {
    let mut all = Vec::new();
    let mut add = |name, about, frames, resources: &[Resource], change: &dyn Fn(&mut Config)| {
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
    broken(&mut add);
    all
}

type Add<'a> =
    &'a mut dyn FnMut(&'static str, &'static str, usize, &[Resource], &dyn Fn(&mut Config));

/// Pass 2 frame by frame.
fn first_written(add: Add<'_>) {
    let first = |config: &mut Config| {
        config.second = Second::FrameByFrame;
        config.grain = Grain::Coarse;
        config.expect = Expect::Phantom;
    };
    add(
        "first-mutex",
        "frame by frame, barging mutexes",
        2,
        &[BARGING; 2],
        &first,
    );
    add(
        "first-rwlock",
        "frame by frame, barging RwLocks",
        2,
        &[RWLOCK.barging(); 2],
        &first,
    );
    let semaphore = Resource::semaphore(2, 2).barging();
    add(
        "first-semaphore",
        "frame by frame, unfair semaphores",
        2,
        &[semaphore; 2],
        &first,
    );
    add(
        "first-admit",
        "frame by frame, FIFO RwLocks whose readers are let past writers",
        3,
        &[RWLOCK; 2],
        &first,
    );
    add(
        "first-or",
        "frame by frame, tasks and barging mutexes",
        3,
        &[BARGING; 2],
        &|c| {
            first(c);
            c.tasks = ALL;
        },
    );
    add(
        "first-strict",
        "frame by frame, threads and strict hand-off: needs no more",
        3,
        &[MUTEX; 2],
        &|c| {
            first(c);
            c.expect = Expect::Sound;
        },
    );
    add("first-strict-4", "the same, larger", 4, &[MUTEX; 3], &|c| {
        first(c);
        c.expect = Expect::Sound;
        c.large = true;
    });
    add(
        "first-unpinned",
        "the same, but epoch and edges are not read at once",
        3,
        &[MUTEX; 2],
        &|c| {
            first(c);
            c.grain = Grain::Medium;
        },
    );
}

fn mutexes(add: Add<'_>) {
    add("mutex", "FIFO mutexes", 3, &[MUTEX; 3], &|c| {
        c.grain = Grain::Fine
    });
    add("mutex-barging", "barging mutexes", 3, &[BARGING; 2], &|c| {
        c.grain = Grain::Fine;
        c.hand_over = true;
    });
    add(
        "mutex-barging-3",
        "three barging mutexes",
        3,
        &[BARGING; 3],
        &|c| {
            c.grain = Grain::Fine;
            c.hand_over = true;
            c.large = true;
        },
    );
    add(
        "mutex-barging-4",
        "four threads, coarse",
        4,
        &[BARGING; 3],
        &|c| c.large = true,
    );
    add(
        "mutex-barging-4-fine",
        "four threads",
        4,
        &[BARGING; 3],
        &|c| {
            c.grain = Grain::Fine;
            c.large = true;
        },
    );
    add(
        "mutex-epochs-apart",
        "epochs re-read one by one",
        3,
        &[BARGING; 2],
        &|c| c.epochs_apart = true,
    );
    add("mutex-lenient", "lenient", 3, &[BARGING; 2], &|c| {
        c.lenient = true;
        c.grain = Grain::Fine;
    });
    add("mutex-passing", "", 3, &[MUTEX.passing(); 3], &|c| {
        c.grain = Grain::Fine
    });
    add("mutex-no-timeouts", "no timeouts", 3, &[BARGING; 3], &|c| {
        c.timeouts = false;
    });
}

fn readers_and_writers(add: Add<'_>) {
    add("rwlock", "FIFO", 3, &[RWLOCK; 2], &|_| {});
    add("rwlock-finest", "FIFO", 3, &[RWLOCK; 2], &|c| {
        c.grain = Grain::Finest;
        c.large = true;
    });
    add(
        "rwlock-upgrade",
        "FIFO",
        3,
        &[RWLOCK.and_more(); 2],
        &|_| {},
    );
    add(
        "rwlock-barging",
        "barging",
        3,
        &[RWLOCK.barging(); 2],
        &|_| {},
    );
    add(
        "rwlock-barging-finest",
        "barging",
        3,
        &[RWLOCK.barging(); 2],
        &|c| {
            c.grain = Grain::Finest;
            c.large = true;
        },
    );
    add("rwlock-passing", "", 3, &[RWLOCK.passing(); 2], &|_| {});
    add("rwlock-mutex", "", 3, &[RWLOCK, MUTEX], &|c| {
        c.grain = Grain::Finest
    });
    add("rwlock-4", "barging", 4, &[RWLOCK; 2], &|c| c.large = true);
}

fn semaphores(add: Add<'_>) {
    let two = Resource::semaphore(2, 2);
    let three = Resource::semaphore(3, 2);
    add("semaphore", "", 3, &[two, MUTEX], &|_| {});
    add("semaphore-2", "", 3, &[two; 2], &|_| {});
    add("semaphore-3", "", 3, &[three, MUTEX], &|_| {});
    add("semaphore-unfair", "", 3, &[two.barging(); 2], &|_| {});
    add("semaphore-4", "", 4, &[three, MUTEX], &|c| c.large = true);
}

fn tasks(add: Add<'_>) {
    add("or", "", 3, &[BARGING; 2], &|c| c.tasks = ALL);
    add("or-fifo", "", 3, &[MUTEX; 2], &|c| c.tasks = ALL);
    add("or-siblings", "", 3, &[MUTEX; 2], &|c| {
        c.tasks = ALL;
        c.siblings = true;
    });
    add("or-mixed", "", 3, &[BARGING; 2], &|c| c.tasks = 3);
    add("or-timer", "", 3, &[BARGING; 2], &|c| {
        c.tasks = ALL;
        c.timers = true;
    });
    add("or-dropped", "", 2, &[MUTEX; 2], &|c| {
        c.tasks = ALL;
        c.timers = true;
        c.dropped_timers = true;
    });
    add("or-fine", "", 3, &[BARGING; 2], &|c| {
        c.tasks = ALL;
        c.timers = true;
        c.grain = Grain::Fine;
        c.hand_over = true;
    });
    add("block-in-poll", "", 3, &[MUTEX; 2], &|c| {
        c.tasks = 3;
        c.block_in_poll = true;
        c.grain = Grain::Fine;
    });
    add("or-passing", "", 3, &[MUTEX.passing(); 2], &|c| c.tasks = 3);
    add("first-or-mixed", "", 3, &[BARGING; 2], &|c| {
        c.tasks = 3;
        c.second = Second::FrameByFrame;
        c.grain = Grain::Coarse;
        c.expect = Expect::Phantom;
    });
    add("first-or-timer", "", 3, &[BARGING; 2], &|c| {
        c.tasks = ALL;
        c.timers = true;
        c.second = Second::FrameByFrame;
        c.grain = Grain::Coarse;
        c.expect = Expect::Phantom;
    });
    add("or-3", "", 3, &[BARGING; 3], &|c| {
        c.tasks = ALL;
        c.large = true;
    });
}

fn events(add: Add<'_>) {
    add("event", "", 3, &[EVENT; 2], &|_| {});
    add("event-mutex", "", 3, &[EVENT, EVENT, MUTEX], &|_| {});
}

fn broken(add: Add<'_>) {
    let fault = |fault: Fault, expect: Expect| {
        move |config: &mut Config| {
            config.fault = Some(fault);
            config.expect = expect;
        }
    };
    add("no-pass-2", "pass 2 is left out", 2, &[BARGING; 2], &|c| {
        c.second = Second::Nothing;
        c.expect = Expect::Phantom;
    });
    add("silent-grant", "", 2, &[MUTEX; 2], &|c| {
        fault(Fault::SilentGrant, Expect::Phantom)(c);
        c.tasks = ALL;
    });
    add(
        "silent-grant-sem",
        "",
        2,
        &[Resource::semaphore(2, 2); 2],
        &|c| {
            fault(Fault::SilentGrant, Expect::Phantom)(c);
        },
    );
    add("silent-wake", "", 2, &[MUTEX; 2], &|c| {
        fault(Fault::SilentWake, Expect::Phantom)(c);
        c.tasks = ALL;
        c.timers = true;
    });
    add(
        "silent-end",
        "",
        2,
        &[MUTEX; 2],
        &fault(Fault::SilentEnd, Expect::Phantom),
    );
    add("late-owner", "", 3, &[MUTEX; 2], &|c| {
        fault(Fault::LateOwner, Expect::Phantom)(c);
        c.grain = Grain::Fine;
    });
    add("late-owner-miss", "", 3, &[MUTEX; 2], &|c| {
        fault(Fault::LateOwner, Expect::Miss)(c);
        c.grain = Grain::Fine;
    });
    add(
        "moved-guard",
        "",
        3,
        &[MUTEX; 2],
        &fault(Fault::MovedGuard, Expect::Phantom),
    );
    add(
        "no-partners-seq",
        "",
        3,
        &[EVENT; 2],
        &fault(Fault::NoPartnersSeq, Expect::Phantom),
    );
    add("or-as-and", "", 3, &[MUTEX; 3], &|c| {
        fault(Fault::OrAsAnd, Expect::Phantom)(c);
        c.tasks = ALL;
    });
    add(
        "soft-failed",
        "",
        3,
        &[RWLOCK, MUTEX],
        &fault(Fault::SoftFailed, Expect::Phantom),
    );
    add(
        "early-stop",
        "",
        3,
        &[RWLOCK, MUTEX],
        &fault(Fault::EarlyStop, Expect::Miss),
    );
    add("self-is-deadlock", "", 2, &[MUTEX; 2], &|c| {
        fault(Fault::SelfIsDeadlock, Expect::Phantom)(c);
        c.tasks = ALL;
        c.siblings = true;
    });
    add(
        "no-repeat",
        "",
        3,
        &[RWLOCK, MUTEX],
        &fault(Fault::NoRepeat, Expect::Miss),
    );
    add("no-check-on-grant", "", 3, &[MUTEX; 2], &|c| {
        fault(Fault::NoCheckOnGrant, Expect::Miss)(c);
        c.tasks = 1;
        c.block_in_poll = true;
    });
    add("early-check-on-grant", "", 3, &[MUTEX; 2], &|c| {
        fault(Fault::EarlyCheckOnGrant, Expect::Miss)(c);
        c.tasks = 1;
        c.block_in_poll = true;
        c.grain = Grain::Fine;
    });
    add(
        "no-check-on-leave",
        "",
        3,
        &[EVENT; 2],
        &fault(Fault::NoCheckOnLeave, Expect::Miss),
    );
    add("no-check-on-drop", "", 2, &[MUTEX; 2], &|c| {
        fault(Fault::NoCheckOnDrop, Expect::Miss)(c);
        c.tasks = ALL;
        c.timers = true;
        c.dropped_timers = true;
    });
}
