//! The event loop in the runtimes of others, and what must never run on it.

use std::convert::Infallible;
use std::iter::repeat_with;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use antifreeze::{
    Bytes, Config, Daemon, Error, ErrorKind, InstanceMode, Object, Proxy, Serializer, expose,
};
use antifreeze_proto::{Flags, Segments};
use antifreeze_testkit::{Peer, RawMessage};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use crate::daemon;

/// Something that a test waits for, and that must happen soon.
const SOON: Duration = Duration::from_secs(20);

/// A gate that code of the user's waits at until the test opens it.
#[derive(Clone, Default)]
struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let Self(latch) = self;
        let open = latch.0.lock().unwrap();
        let (open, _) = latch
            .1
            .wait_timeout_while(open, SOON, |open| !*open)
            .unwrap();
        assert!(*open, "the test never opened the latch");
    }
}

/// What blocks where it may: in methods, and when it is made and dropped.
struct Slow {
    latch: Latch,
    entered: mpsc::Sender<()>,
    notes: Vec<u32>,
    slow_end: bool,
}

#[expose]
impl Slow {
    fn hold(&mut self) {
        self.entered.send(()).unwrap();
        self.latch.wait();
    }

    fn hello(&self) -> &'static str {
        "hello"
    }

    #[oneway]
    fn note(&mut self, n: u32) {
        self.notes.push(n);
    }

    fn notes(&self) -> Vec<u32> {
        self.notes.clone()
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if self.slow_end {
            self.entered.send(()).unwrap();
            self.latch.wait();
        }
    }
}

fn slow() -> (Slow, Latch, mpsc::Receiver<()>) {
    let (entered, enters) = mpsc::channel();
    let latch = Latch::default();
    let slow = Slow {
        latch: latch.clone(),
        entered,
        notes: Vec::new(),
        slow_end: false,
    };
    (slow, latch, enters)
}

/// What goes on until the daemon ends.
struct Endless(mpsc::Sender<&'static str>);

struct Told(mpsc::Sender<&'static str>);

#[expose]
impl Endless {
    #[oneway]
    async fn begin(&self) {
        let _told = Told(self.0.clone());
        self.0.send("begun").unwrap();
        std::future::pending::<()>().await;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send("ended");
    }
}

struct Echo;

#[expose]
impl Echo {
    #[quick]
    fn echo(&self, n: i64) -> i64 {
        n
    }

    fn twice(&self, n: i64) -> i64 {
        2 * n
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Serves on a runtime of one thread while `work` goes on beside it.
fn serving(daemon: Daemon, work: impl FnOnce(&Daemon) + Send) {
    let daemon = &daemon;
    thread::scope(|scope| {
        scope.spawn(move || {
            struct Stop<'a>(&'a Daemon);
            impl Drop for Stop<'_> {
                fn drop(&mut self) {
                    self.0.handle().shutdown();
                }
            }
            let _stop = Stop(daemon);
            work(daemon);
        });
        one_thread().block_on(daemon.run()).unwrap();
    });
}

/// Whether others are served while somebody blocks.
fn answers(daemon: &Daemon) {
    let uri = daemon.uri_for("echo").unwrap();
    let proxy = Proxy::connect(uri).unwrap().within(SOON);
    assert_eq!(proxy.call::<i64>("echo", (1,)).unwrap(), 1);
    assert_eq!(proxy.call::<i64>("twice", (1,)).unwrap(), 2);
}

#[test]
fn it_runs_in_runtimes_of_one_thread_and_of_many() {
    for runtime in [one_thread(), Runtime::new().unwrap()] {
        let daemon = daemon().bind("localhost:0").unwrap();
        let uri = daemon.register("echo", Echo).unwrap();
        let handle = daemon.handle();
        let client = thread::spawn(move || {
            let proxy = Proxy::connect(uri)?;
            let result = proxy.call::<i64>("twice", (21,));
            handle.shutdown();
            result
        });
        runtime.block_on(daemon.run()).unwrap();
        assert_eq!(client.join().unwrap().unwrap(), 42);
        let again = runtime.block_on(daemon.run()).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Usage);
    }
}

#[test]
fn where_it_cannot_serve_it_says_what_to_use_instead() {
    let daemon = daemon().bind("localhost:0").unwrap();
    let check = |error: Error, expected: &str| {
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        one_thread().block_on(async { daemon.serve() }).unwrap_err(),
        "use .run().await",
    );
    let mut outside = pin!(daemon.run());
    let mut context = Context::from_waker(Waker::noop());
    match outside.as_mut().poll(&mut context) {
        Poll::Ready(result) => check(result.unwrap_err(), "use .serve()"),
        Poll::Pending => panic!("it waits for a runtime that is not there"),
    }
    // None of them has used the daemon up.
    daemon.handle().shutdown();
    daemon.serve().unwrap();
}

#[test]
fn a_runtime_that_ends_takes_the_daemon_along_and_nothing_else() {
    let daemon = Arc::new(daemon().bind("localhost:0").unwrap());
    let (slow, latch, entered) = slow();
    let object = Object::new(slow);
    let uri = daemon.register("slow", &object).unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.spawn({
        let daemon = Arc::clone(&daemon);
        async move { daemon.run().await }
    });
    thread::scope(|scope| {
        let idle = Proxy::connect(&uri).unwrap().within(SOON);
        let calls = ["hold", "hold"].map(|method| {
            let proxy = Proxy::connect(&uri).unwrap().within(SOON);
            scope.spawn(move || proxy.call::<()>(method, ()))
        });
        entered.recv_timeout(SOON).unwrap();
        runtime.shutdown_background();
        for call in calls {
            let error = call.join().unwrap().unwrap_err();
            assert!(!error.is_timeout(), "{error}");
        }
        assert!(idle.call::<String>("hello", ()).is_err());
    });
    // The method that ran is not interrupted, and then its object is free.
    latch.open();
    assert!(object.write().notes.is_empty());
    daemon.handle().shutdown();
    assert_eq!(daemon.serve().unwrap_err().kind(), ErrorKind::Usage);
}

#[test]
fn dropping_the_future_ends_the_daemon_at_once() {
    let daemon = daemon().bind("localhost:0").unwrap();
    let (slow, latch, entered) = slow();
    let uri = daemon.register("slow", slow).unwrap();
    let runtime = Runtime::new().unwrap();
    let call = thread::spawn(move || Proxy::connect(uri)?.within(SOON).call::<()>("hold", ()));
    runtime.block_on(async {
        let mut serving = pin!(daemon.run());
        std::future::poll_fn(|cx| {
            assert!(serving.as_mut().poll(cx).is_pending());
            match entered.try_recv() {
                Ok(()) => Poll::Ready(()),
                Err(_) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
    });
    let error = call.join().unwrap().unwrap_err();
    assert!(!error.is_timeout(), "{error}");
    latch.open();
}

#[test]
fn async_calls_end_with_the_daemon_and_not_with_the_runtime() {
    let mut config = Config::default();
    config.drain_timeout = Duration::from_millis(50);
    let daemon = daemon().config(config).bind("localhost:0").unwrap();
    let (tell, told) = mpsc::channel();
    let uri = daemon.register("endless", Endless(tell)).unwrap();
    let handle = daemon.handle();
    let client = thread::spawn(move || {
        Proxy::connect(uri).unwrap().oneway("begin", ()).unwrap();
        let begun = told.recv_timeout(SOON);
        handle.shutdown();
        (begun, told)
    });
    let runtime = Runtime::new().unwrap();
    runtime.block_on(daemon.run()).unwrap();
    let (begun, told) = client.join().unwrap();
    assert_eq!(begun, Ok("begun"));
    assert_eq!(told.recv_timeout(SOON), Ok("ended"));
    drop(runtime);
}

#[test]
fn a_validator_that_blocks_delays_nobody() {
    let (entered, enters) = mpsc::channel();
    let latch = Latch::default();
    let daemon = daemon()
        .on_handshake({
            let latch = latch.clone();
            move |info| {
                if info.value.as_str() == Some("slowly") {
                    entered.send(()).unwrap();
                    latch.wait();
                }
                Ok::<_, Infallible>("welcome")
            }
        })
        .bind("localhost:0")
        .unwrap();
    let uri = daemon.register("echo", Echo).unwrap();
    serving(daemon, move |daemon| {
        let late = thread::spawn(move || {
            let builder = Proxy::builder(uri).unwrap().handshake("slowly");
            builder
                .connect()
                .unwrap()
                .within(SOON)
                .call::<i64>("echo", (3,))
        });
        enters.recv_timeout(SOON).unwrap();
        answers(daemon);
        latch.open();
        assert_eq!(late.join().unwrap().unwrap(), 3);
    });
}

#[test]
fn an_instance_that_takes_long_to_make_and_to_drop_delays_nobody() {
    let daemon = daemon().bind("localhost:0").unwrap();
    daemon.register("echo", Echo).unwrap();
    let (entered, enters) = mpsc::channel();
    let (making, ending) = (Latch::default(), Latch::default());
    let create = {
        let (making, ending) = (making.clone(), ending.clone());
        move || {
            entered.send(()).unwrap();
            making.wait();
            Ok::<_, Infallible>(Slow {
                latch: ending.clone(),
                entered: entered.clone(),
                notes: Vec::new(),
                slow_end: true,
            })
        }
    };
    let uri = daemon.register_class("slow", InstanceMode::Session, create);
    let uri = uri.unwrap();
    serving(daemon, move |daemon| {
        let user = thread::spawn(move || {
            let proxy = Proxy::connect(uri)?.within(SOON);
            for n in 0..100 {
                proxy.oneway("note", (n,))?;
            }
            proxy.call::<Vec<u32>>("notes", ())
        });
        enters.recv_timeout(SOON).unwrap();
        answers(daemon);
        making.open();
        // They start in order, though the first of them had to wait for its object.
        let expected: Vec<u32> = (0..100).collect();
        assert_eq!(user.join().unwrap().unwrap(), expected);
        // The proxy is dropped, and so is its instance.
        enters.recv_timeout(SOON).unwrap();
        answers(daemon);
        ending.open();
    });
}

/// What takes long to compress.
struct Noise(Bytes);

#[expose]
impl Noise {
    #[quick]
    fn noise(&self) -> Bytes {
        self.0.clone()
    }

    /// For how many seconds the thread that serves has worked so far.
    #[quick]
    fn worked(&self) -> f64 {
        worked()
    }
}

/// The CPU time of this thread.
fn worked() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap().as_secs_f64()
}

#[test]
fn a_large_answer_is_compressed_beside_it() {
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Bytes = repeat_with(|| random.u8(..16)).take(1 << 20).collect();
    let mut config = Config::default();
    config.compression = true;
    let daemon = daemon().config(config).bind("127.0.0.1:0").unwrap();
    let uri = daemon.register("noise", Noise(noise.clone())).unwrap();
    serving(daemon, |_| {
        let builder = Proxy::builder(&uri).unwrap();
        let proxy = builder.serializer(Serializer::Msgpack).connect().unwrap();
        let before: f64 = proxy.call("worked", ()).unwrap();
        let came: Bytes = proxy.call("noise", ()).unwrap();
        let served = proxy.call::<f64>("worked", ()).unwrap() - before;
        assert!(came == noise, "something else came");

        let begun = worked();
        Segments::from(noise.clone()).deflate();
        let compressing = worked() - begun;
        assert!(served < compressing / 2.0, "{served} s of {compressing}");

        let location = uri.location().unwrap().to_string();
        let mut peer = Peer::connect(location);
        peer.shake_hands("noise");
        peer.send_message(&RawMessage::invoke_method(1, "noise", "noise"));
        let answer = peer.expect_message();
        assert!(Flags(answer.flags).contains(Flags::COMPRESSED));
        assert!(answer.payload.len() < noise.len());
    });
}
