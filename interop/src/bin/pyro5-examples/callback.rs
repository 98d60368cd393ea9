//! Calls of a server back into its client, which has a daemon of its own for that.

use std::sync::mpsc;
use std::thread::sleep;
use std::time::Duration;

use antifreeze::{DaemonHandle, Error, Exception, Object, Proxy, expose};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

struct Worker {
    number: u32,
    callback: Proxy,
    daemon: DaemonHandle,
    second: Duration,
}

impl Worker {
    fn id(&self) -> String {
        format!("worker{}", self.number)
    }
}

#[expose]
impl Worker {
    #[oneway]
    fn work(&self, amount: u32) -> Result<(), Error> {
        println!("Worker {} busy...", self.number);
        sleep(self.second * amount);
        println!("Worker {} done. Informing callback client.", self.number);
        self.daemon.unregister(&self.id());
        self.callback.call("done", (self.number,))
    }
}

struct CallbackServer {
    number: u32,
    daemon: DaemonHandle,
    second: Duration,
}

#[expose]
impl CallbackServer {
    fn addworker(&mut self, callback: Proxy) -> Result<Object<Worker>, Error> {
        self.number += 1;
        println!("server: adding worker {}", self.number);
        let worker = Worker {
            number: self.number,
            callback,
            daemon: self.daemon.clone(),
            second: self.second,
        };
        let id = worker.id();
        let worker = Object::new(worker);
        self.daemon.register(&*id, &worker)?;
        Ok(worker)
    }
}

/// The one of the second example.
struct CallbackServer2;

#[expose]
impl CallbackServer2 {
    #[oneway]
    #[rename = "doCallback"]
    fn do_callback(&self, callback: Proxy) {
        for (number, method) in [(1, "call1"), (2, "call2")] {
            println!("server: doing callback {number} to client");
            if let Err(error) = callback.call::<i64>(method, ()) {
                println!("got an exception from the callback:");
                let told = error.remote().map(Exception::traceback);
                println!("{}", told.unwrap_or_default().concat());
            }
        }
        println!("server: callbacks done.");
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let server = CallbackServer {
        number: 0,
        daemon: stage.daemon.handle(),
        second: stage.second,
    };
    let uri = stage.daemon.register(None, server)?;
    stage.name("example.callback", &uri)?;
    let uri = stage.daemon.register(None, CallbackServer2)?;
    stage.name("example.callback2", &uri)
}

/// Hears of work that is done.
struct CallbackHandler(mpsc::Sender<u32>);

#[expose]
impl CallbackHandler {
    fn done(&self, number: u32) {
        println!("callback: worker {number} reports work is done!");
        // Who counts them may have gone.
        let _ = self.0.send(number);
    }
}

fn have_work_done(guest: &Guest) -> anyhow::Result<()> {
    let (done, reports) = mpsc::channel();
    let daemon = guest.daemon()?;
    let callback = Object::new(CallbackHandler(done));
    daemon.register(None, &callback)?;
    let _running = daemon.start()?;
    let server = guest.proxy("PYRONAME:example.callback")?;
    for amount in [5, 4, 3, 2, 1] {
        let worker: Proxy = server.call("addworker", (&callback,))?;
        worker.call::<()>("work", (amount,))?;
    }
    let mut done: Vec<u32> = reports.iter().take(5).collect();
    done.sort_unstable();
    equal(done, [1, 2, 3, 4, 5])
}

/// Fails when it is called, once in a manner that is told of here, too.
struct FailingHandler(mpsc::Sender<&'static str>);

impl FailingHandler {
    fn crash(&self, called: &'static str) -> Result<i64, Exception> {
        let _ = self.0.send(called);
        let class = "builtins.ZeroDivisionError";
        Err(Exception::new(
            class,
            format!("division by zero in {called}"),
        ))
    }
}

#[expose]
impl FailingHandler {
    fn call1(&self) -> Result<i64, Exception> {
        self.crash("call1")
    }

    #[callback]
    fn call2(&self) -> Result<i64, Exception> {
        self.crash("call2")
    }
}

fn fail_when_called(guest: &Guest) -> anyhow::Result<()> {
    let (called, calls) = mpsc::channel();
    let daemon = guest.daemon()?;
    let callback = Object::new(FailingHandler(called));
    daemon.register(None, &callback)?;
    let running = daemon.start()?;
    let server = guest.proxy("PYRONAME:example.callback2")?;
    server.call::<()>("doCallback", (&callback,))?;
    equal(calls.iter().take(2).collect::<Vec<_>>(), ["call1", "call2"])?;
    // Not before the second one has its answer.
    Ok(running.stop()?)
}

/// Does what the first client does, or the second.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    match guest.word(0)? {
        "1" => have_work_done(guest),
        _ => fail_when_called(guest),
    }
}
