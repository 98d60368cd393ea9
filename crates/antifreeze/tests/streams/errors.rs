//! What a program is told of calls that fail, whether or not their callers are.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use antifreeze::{Config, Exception, ItemStream, Object, Proxy, call, expose};

use crate::common::{Driver, SOON, config};
use crate::on_both_drivers;

struct Faulty;

fn failure() -> Exception {
    Exception::new("builtins.ValueError", "no")
}

#[expose]
impl Faulty {
    fn well(&self) -> u8 {
        1
    }

    fn fail(&self) -> Result<(), Exception> {
        Err(failure())
    }

    #[quick]
    fn fail_quickly(&self) -> Result<(), Exception> {
        Err(failure())
    }

    #[oneway]
    fn fail_later(&mut self) -> Result<(), Exception> {
        Err(failure())
    }

    async fn fail_async(&self) -> Result<(), Exception> {
        Err(failure())
    }

    fn panic(&self) {
        panic!("at the disco");
    }

    fn items(&self, good: usize) -> ItemStream<u8> {
        let good = (0..good).map(|_| Ok(0));
        ItemStream::try_new(good.chain([Err(failure())]))
    }

    fn none(&self) -> ItemStream<u8> {
        ItemStream::new([])
    }
}

fn the_hook_is_told_of_calls_that_fail(driver: Driver) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let hook = move |failed: &antifreeze::FailedCall<'_>| {
        assert!(call::client_id().is_some());
        let text = format!("{}.{}: {}", failed.object, failed.member, failed.exception);
        tell.lock().unwrap().send(text).unwrap();
        assert!(failed.member != "panic", "the hook panics, too");
    };
    let daemon = driver.builder().on_error(hook).bind("localhost:0").unwrap();
    let uri = daemon.register("faulty", Faulty).unwrap();
    let _running = daemon.start().unwrap();
    let faulty = Proxy::connect(uri).unwrap().within(SOON);
    let check = |expected: &str| {
        let told = told.recv_timeout(SOON).unwrap();
        assert!(told.starts_with(expected), "{told}");
    };
    for method in ["fail", "fail_quickly", "fail_async"] {
        let error = faulty.call::<()>(method, ()).unwrap_err();
        assert!(error.is_remote("builtins.ValueError"), "{error}");
        check(&format!("faulty.{method}: builtins.ValueError: no"));
    }
    faulty.call::<()>("fail_later", ()).unwrap();
    check("faulty.fail_later: builtins.ValueError: no");
    faulty.call::<()>("panic", ()).unwrap_err();
    check("faulty.panic: builtins.RuntimeError: method 'panic' panicked: at the disco");
    faulty.call::<()>("fail", (1,)).unwrap_err();
    check("faulty.fail: builtins.TypeError");
    let mut batch = faulty.batch();
    batch.call("well", ()).unwrap().call("fail", ()).unwrap();
    assert_eq!(batch.send().unwrap().len(), 2);
    check("faulty.fail: builtins.ValueError: no");
    let items = faulty.stream::<u8>("items", (1,)).unwrap();
    assert_eq!(items.filter(|item| item.is_err()).count(), 1);
    check("faulty.items.next: builtins.ValueError: no");
    // That there are no more is no error.
    assert_eq!(faulty.stream::<u8>("none", ()).unwrap().count(), 0);
    assert_eq!(faulty.call::<u8>("well", ()).unwrap(), 1);
    assert!(told.try_recv().is_err());
}

/// Wherever a call ends: where messages are read, where waits end, or on the thread of its task.
fn the_hook_runs_on_workers_only(driver: Driver) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let hook = move |failed: &antifreeze::FailedCall<'_>| {
        assert!(call::client_id().is_some());
        let thread = thread::current().name().map(str::to_owned);
        tell.lock().unwrap().send((failed.member, thread)).unwrap();
    };
    let short: Config = config(|config| config.queue_timeout = Duration::from_millis(30));
    let builder = driver.builder().config(short).on_error(hook);
    let daemon = builder.bind("localhost:0").unwrap();
    let object = Object::new(Faulty);
    let uri = daemon.register("faulty", &object).unwrap();
    let _running = daemon.start().unwrap();
    let faulty = Proxy::connect(uri).unwrap().within(SOON);
    let check = |member| {
        let (told, thread) = told.recv_timeout(SOON).unwrap();
        assert_eq!(
            (told, thread.as_deref()),
            (member, Some("antifreeze-worker"))
        );
    };
    for (method, too_many) in [("fail_quickly", (1,)), ("fail_async", (1,))] {
        let error = faulty.call::<()>(method, too_many).unwrap_err();
        assert!(error.is_remote("builtins.TypeError"), "{error}");
        check(method);
        faulty.call::<()>(method, ()).unwrap_err();
        check(method);
    }
    let (held, hold) = mpsc::channel();
    thread::scope(|scope| {
        let (is_held, object) = (held, &object);
        let (release, released) = mpsc::channel::<()>();
        scope.spawn(move || {
            let _inside = object.write();
            is_held.send(()).unwrap();
            released.recv().unwrap();
        });
        hold.recv().unwrap();
        for method in ["fail", "fail_async"] {
            let error = faulty.call::<()>(method, ()).unwrap_err();
            assert!(error.to_string().contains("is busy"), "{error}");
            check(method);
        }
        release.send(()).unwrap();
    });
}

on_both_drivers!(
    the_hook_is_told_of_calls_that_fail,
    the_hook_runs_on_workers_only,
);
