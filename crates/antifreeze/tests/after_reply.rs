//! `call::after_reply`: calling back into the caller, and into oneself, without waiting for oneself.

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use antifreeze::{
    Bytes, Config, Error, ErrorKind, Object, Proxy, Running, Serializer, Uri, WeakObject, call,
    expose,
};
use antifreeze_proto::SerializerId;
use antifreeze_serial::encode_call;
use antifreeze_testkit::{Peer, RawMessage};
use tokio::sync::Semaphore;

use common::{Driver, SOON, address, bind, on_both};

struct Clerk {
    told: mpsc::Sender<String>,
    itself: Option<WeakObject<Self>>,
    done: u32,
}

impl Clerk {
    /// Tells what happens, after the reply.
    fn later(&self, what: &str) -> Result<(), Error> {
        let (told, what) = (self.told.clone(), what.to_owned());
        let itself = self.itself.clone().unwrap();
        call::after_reply(move || {
            // It would wait for ever if the method still held the object.
            let done = itself.upgrade().unwrap().write().finish();
            let user = call::annotation("USER").map(|user| String::from_utf8(user.to_vec()));
            told.send(format!("{what} {done} {user:?}")).unwrap();
        })
    }

    fn finish(&mut self) -> u32 {
        self.done += 1;
        self.done
    }
}

#[expose]
impl Clerk {
    fn work(&mut self) -> Result<u32, Error> {
        self.later("work")?;
        self.later("more")?;
        Ok(self.done)
    }

    async fn work_async(&mut self) -> Result<u32, Error> {
        tokio::task::yield_now().await;
        self.later("async")?;
        Ok(self.done)
    }

    #[oneway]
    fn work_unasked(&mut self) {
        self.later("oneway").unwrap();
    }

    fn fail(&mut self) -> Result<(), String> {
        self.later("failed").unwrap();
        Err("no".to_owned())
    }

    fn twice(&mut self) -> Result<(), Error> {
        let told = self.told.clone();
        call::after_reply(move || {
            let kind = call::after_reply(|| {}).unwrap_err().kind();
            told.send(format!("{kind:?}")).unwrap();
            panic!("boom");
        })
    }

    /// Calls back, once the caller can be called.
    fn order(&mut self, caller: String, n: u32) -> Result<(), Error> {
        call::after_reply(move || {
            let caller = Proxy::connect(caller).unwrap();
            caller.call::<()>("deliver", (n,)).unwrap();
        })
    }
}

fn serve(driver: Driver) -> (Running, Proxy, mpsc::Receiver<String>) {
    let (tell, told) = mpsc::channel();
    let clerk = Object::new(Clerk {
        told: tell,
        itself: None,
        done: 0,
    });
    clerk.write().itself = Some(clerk.downgrade());
    let daemon = bind(driver, Config::default());
    let uri = daemon.register("clerk", clerk).unwrap();
    (daemon.start().unwrap(), Proxy::connect(uri).unwrap(), told)
}

#[test]
fn work_runs_in_order_when_the_method_has_ended() {
    on_both(|driver| {
        let (_running, clerk, told) = serve(driver);
        let told = || told.recv_timeout(SOON).unwrap();
        let context = call::Context::new().annotation("USER", "ada").unwrap();
        context.scope(|| assert_eq!(clerk.call::<u32>("work", ()).unwrap(), 0));
        assert_eq!(told(), "work 1 Some(Ok(\"ada\"))");
        assert_eq!(told(), "more 2 Some(Ok(\"ada\"))");
        assert_eq!(clerk.call::<u32>("work_async", ()).unwrap(), 2);
        assert_eq!(told(), "async 3 None");
        clerk.oneway("work_unasked", ()).unwrap();
        assert_eq!(told(), "oneway 4 None");
        clerk.call::<()>("fail", ()).unwrap_err();
        assert_eq!(told(), "failed 5 None");
        let mut batch = clerk.batch();
        batch.call("work", ()).unwrap();
        batch.call("work_async", ()).unwrap();
        assert_eq!(
            batch.send_as::<u32>().unwrap(),
            [5, 5],
            "it follows the whole batch"
        );
        let mut three =
            [told(), told(), told()].map(|text| text.split(' ').next().unwrap().to_owned());
        three.sort();
        assert_eq!(three, ["async", "more", "work"]);
        // Only methods have a reply, and a panic costs nothing.
        clerk.call::<()>("twice", ()).unwrap();
        assert_eq!(told(), "Usage");
        assert_eq!(clerk.call::<u32>("work", ()).unwrap(), 8);
    });
    let outside = call::after_reply(|| {}).unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::Usage);
}

/// Answers when it may.
struct Post {
    told: mpsc::Sender<()>,
    may: [Arc<Semaphore>; 3],
}

#[expose]
impl Post {
    async fn send(&self, nth: usize, size: usize) -> Result<Bytes, Error> {
        drop(self.may[nth].acquire().await);
        let told = self.told.clone();
        call::after_reply(move || told.send(()).unwrap())?;
        Ok(vec![1; size].into())
    }
}

/// Only the answer itself is waited for, and not the one behind it, which is read by nobody.
#[test]
fn work_runs_when_the_answer_is_written() {
    const LARGE: usize = 24 << 20;
    on_both(|driver| {
        let (tell, told) = mpsc::channel();
        let may: [Arc<Semaphore>; 3] = std::array::from_fn(|_| Arc::new(Semaphore::new(0)));
        let post = Post {
            told: tell,
            may: may.clone(),
        };
        let daemon = bind(driver, Config::default());
        let address = address(&daemon.register("post", post).unwrap());
        let _running = daemon.start().unwrap();
        let mut peer = Peer::connect(address).patience(SOON);
        peer.send_message(&RawMessage::connect("post").hello([3; 16], 8));
        peer.expect_message();
        for (nth, size) in [(0, LARGE), (1, 1), (2, LARGE)] {
            let (mut call, args, none) = (Vec::new(), (nth, size), BTreeMap::<String, ()>::new());
            encode_call(Serializer::Msgpack, "post", "send", &args, &none, &mut call).unwrap();
            let call = RawMessage::invoke(nth + 1, call).serializer(SerializerId::MSGPACK);
            peer.send_message(&call);
        }
        for may in may {
            may.add_permits(1);
            // The first one has begun to come, and does not go on before it is read; the others
            // stand behind it, in this order.
            peer.socket().peek(&mut [0]).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        for seq in [1, 2] {
            assert_eq!(peer.expect_message().seq, seq);
            told.recv_timeout(SOON).expect("its work runs");
        }
        assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
    });
}

/// Has its object while it calls the clerk.
struct Customer {
    clerk: Proxy,
    itself: Option<Uri>,
    got: mpsc::Sender<u32>,
}

#[expose]
impl Customer {
    fn shop(&mut self) -> Result<(), Error> {
        let itself = self.itself.as_ref().unwrap().to_string();
        for n in 0..3 {
            self.clerk.call::<()>("order", (&itself, n))?;
        }
        Ok(())
    }

    fn deliver(&mut self, n: u32) {
        self.got.send(n).unwrap();
    }
}

#[test]
fn s20_an_object_calls_back_into_its_caller() {
    on_both(|driver| {
        let (_running, clerk, _) = serve(driver);
        let (got, gets) = mpsc::channel();
        let customer = Object::new(Customer {
            clerk,
            itself: None,
            got,
        });
        let daemon = bind(driver, Config::default());
        let uri = daemon.register("customer", &customer).unwrap();
        customer.write().itself = Some(uri.clone());
        let _customers = daemon.start().unwrap();
        // In the middle of `shop` nobody can deliver: from inside `order` it would wait for ever.
        Proxy::connect(uri).unwrap().call::<()>("shop", ()).unwrap();
        let mut delivered = [(); 3].map(|()| gets.recv_timeout(SOON).unwrap());
        delivered.sort_unstable();
        assert_eq!(delivered, [0, 1, 2]);
    });
}
