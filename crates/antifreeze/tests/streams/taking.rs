//! Items are taken one by one, by all kinds of clients, for as long as there is somebody who wants them.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use antifreeze::{
    Bytes, Config, Error, ErrorKind, Exception, ItemStream, Object, Proxy, Returned, Running,
    Serializer, Uri, Value, WeakObject, expose, tokio as tasks,
};
use antifreeze_testkit::{End, Fault, FaultProxy, Peer, RawMessage, Way};
use futures_core::Stream;
use serde::Serialize;

use crate::common::{Driver, SOON, address, bind, config, is_full};
use crate::on_both_drivers;

const SERIALIZERS: [Serializer; 4] = [
    Serializer::Serpent,
    Serializer::Marshal,
    Serializer::Json,
    Serializer::Msgpack,
];

/// An object with streams of all sorts. What makes their items tells when it is dropped.
struct Shelf {
    books: Vec<String>,
    itself: Option<WeakObject<Self>>,
    told: mpsc::Sender<&'static str>,
    made: Arc<AtomicUsize>,
    gate: Arc<tokio::sync::Semaphore>,
}

/// Tells when it is dropped.
struct Tells(&'static str, mpsc::Sender<&'static str>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// Tells when it was alone in the shelf, after it is dropped.
struct Leaves(WeakObject<Shelf>, mpsc::Sender<&'static str>);

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(shelf) = self.0.upgrade() {
            drop(shelf.write());
            let _ = self.1.send("alone");
        }
    }
}

/// An async stream that awaits something before each item.
struct Awaiting {
    next: u64,
    gate: Arc<tokio::sync::Semaphore>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    tells: Tells,
}

impl Stream for Awaiting {
    type Item = u64;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        let gate = Arc::clone(&self.gate);
        let told = self.tells.1.clone();
        let waiting = self.waiting.get_or_insert_with(|| {
            Box::pin(async move {
                let _ = told.send("waits");
                gate.acquire().await.unwrap().forget();
            })
        });
        if waiting.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.waiting = None;
        self.next += 1;
        Poll::Ready(Some(self.next))
    }
}

#[expose]
impl Shelf {
    fn add(&mut self, book: String) -> usize {
        self.books.push(book);
        self.books.len()
    }

    /// A snapshot.
    fn books(&self) -> ItemStream<String> {
        ItemStream::new(self.books.clone())
    }

    /// What is there when an item is asked for.
    fn live(&self) -> Result<ItemStream<String>, Exception> {
        let missing = || Exception::new("builtins.ValueError", "nobody knows the shelf");
        let itself = self.itself.clone().ok_or_else(missing)?;
        let mut places = 0..;
        Ok(ItemStream::reading(itself, move |shelf: &Self| {
            shelf.books.get(places.next()?).cloned()
        }))
    }

    #[quick]
    fn quick_live(&self) -> Result<ItemStream<String>, Exception> {
        self.live()
    }

    /// Takes the books out.
    fn emptied(&self) -> ItemStream<String> {
        let itself = self.itself.clone().unwrap();
        ItemStream::writing(itself, |shelf: &mut Self| shelf.books.pop())
    }

    /// Without an end.
    fn numbers(&self, from: u64) -> impl Iterator<Item = u64> + use<> {
        let tells = Tells("numbers", self.told.clone());
        let made = Arc::clone(&self.made);
        (from..).inspect(move |_| {
            let _ = &tells;
            made.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[quick]
    fn quick_numbers(&self, from: u64) -> impl Iterator<Item = u64> + use<> {
        from..
    }

    fn checked(&self, ok: bool) -> Result<impl Iterator<Item = u8> + use<>, Exception> {
        match ok {
            true => Ok(0..3),
            false => Err(Exception::new("builtins.ValueError", "not ok")),
        }
    }

    /// Each item awaits the gate.
    async fn awaited(&self) -> Result<impl Stream<Item = u64> + use<>, Exception> {
        Ok(Awaiting {
            next: 0,
            gate: Arc::clone(&self.gate),
            waiting: None,
            tells: Tells("awaited", self.told.clone()),
        })
    }

    fn open(&self, items: usize) {
        self.gate.add_permits(items);
    }

    /// Fails after the second one.
    fn failing(&self) -> ItemStream<u8> {
        let tells = Tells("failing", self.told.clone());
        ItemStream::try_new((0..).map(move |n: u8| {
            let _ = &tells;
            match n {
                2 => Err(Exception::new("builtins.KeyError", "third")),
                _ => Ok(n),
            }
        }))
    }

    fn panicking(&self) -> ItemStream<u8> {
        let tells = Tells("panicking", self.told.clone());
        ItemStream::new((0..).inspect(move |n: &u8| {
            let _ = &tells;
            assert!(*n < 1, "no more");
        }))
    }

    /// Blocks its worker until somebody opens the gate.
    fn blocking(&self) -> ItemStream<u64> {
        let (gate, told) = (Arc::clone(&self.gate), self.told.clone());
        ItemStream::new((0..).inspect(move |_| {
            told.send("blocks").unwrap();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let permit = gate.acquire();
            runtime.build().unwrap().block_on(permit).unwrap().forget();
        }))
    }

    /// The same inside of the object. What makes the items needs it alone when it goes.
    fn blocking_live(&self) -> ItemStream<String> {
        let itself = self.itself.clone().unwrap();
        let (gate, told) = (Arc::clone(&self.gate), self.told.clone());
        let leaves = Leaves(itself.clone(), told.clone());
        ItemStream::reading(itself, move |shelf: &Self| {
            let _ = &leaves;
            told.send("blocks").unwrap();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let permit = gate.acquire();
            runtime.build().unwrap().block_on(permit).unwrap().forget();
            shelf.books.first().cloned()
        })
    }

    fn blobs(&self, size: usize) -> impl Iterator<Item = Bytes> + use<> {
        let (tells, made) = (Tells("blobs", self.told.clone()), Arc::clone(&self.made));
        std::iter::repeat_with(move || {
            let _ = &tells;
            made.fetch_add(1, Ordering::SeqCst);
            Bytes::from(vec![b'x'; size])
        })
    }

    #[attr]
    fn all(&self) -> ItemStream<String> {
        ItemStream::new(self.books.clone())
    }

    fn __iter__(&self) -> ItemStream<String> {
        self.books()
    }

    fn list(&self) -> Vec<String> {
        self.books.clone()
    }

    /// Without a place that the wire has for it.
    fn unsendable(&self) -> impl Iterator<Item = Unsendable> + use<> {
        let tells = Tells("unsendable", self.told.clone());
        std::iter::repeat_with(move || {
            let _ = &tells;
            Unsendable
        })
    }
}

struct Unsendable;

impl Serialize for Unsendable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not this one"))
    }
}

struct Served {
    running: Running,
    uri: Uri,
    shelf: Object<Shelf>,
    told: mpsc::Receiver<&'static str>,
    made: Arc<AtomicUsize>,
}

impl Served {
    fn new(driver: Driver, config: Config) -> Self {
        let daemon = bind(driver, config);
        let (tell, told) = mpsc::channel();
        let made = Arc::<AtomicUsize>::default();
        let shelf = Object::new(Shelf {
            books: vec!["Emma".to_owned(), "Walden".to_owned()],
            itself: None,
            told: tell,
            made: Arc::clone(&made),
            gate: Arc::new(tokio::sync::Semaphore::new(0)),
        });
        shelf.write().itself = Some(shelf.downgrade());
        let uri = daemon.register("shelf", &shelf).unwrap();
        Self {
            running: daemon.start().unwrap(),
            uri,
            shelf,
            told,
            made,
        }
    }

    fn proxy(&self) -> Proxy {
        self.proxy_by(Serializer::Msgpack)
    }

    fn proxy_by(&self, serializer: Serializer) -> Proxy {
        let builder = Proxy::builder(&self.uri).unwrap().serializer(serializer);
        builder.connect().unwrap().within(SOON)
    }

    fn daemon(&self) -> Proxy {
        let uri = self.running.daemon().uri_for("Pyro.Daemon").unwrap();
        Proxy::connect(uri).unwrap().within(SOON)
    }

    /// Waits until it is told this.
    #[track_caller]
    fn until(&self, what: &str) {
        assert_eq!(self.told.recv_timeout(SOON), Ok(what));
    }

    /// A client by hand, who has a stream, with the stream's id.
    fn peer_with(&self, method: &str, args: &str) -> (Peer, String) {
        let mut peer = Peer::connect(address(&self.uri)).patience(SOON);
        peer.shake_hands("shelf");
        let call = format!("# serpent utf-8 python3.2\n('shelf','{method}',({args}),{{}})");
        peer.send_message(&RawMessage::invoke(1, call));
        let answer = peer.expect_message();
        // The only annotation: its name, its length, and the id as text.
        let id = answer.annotations.strip_prefix(b"STRM\0\0\0\x24");
        let id = id.unwrap_or_else(|| panic!("{answer:?}"));
        assert_eq!(answer.flags, 0x51);
        (peer, String::from_utf8(id.to_vec()).unwrap())
    }
}

fn next_message(seq: u16, id: &str) -> RawMessage {
    RawMessage::invoke(
        seq,
        format!("# serpent utf-8 python3.2\n('Pyro.Daemon','get_next_stream_item',('{id}',),{{}})"),
    )
}

#[track_caller]
fn all<T>(items: impl Iterator<Item = Result<T, Error>>) -> Vec<T> {
    items.collect::<Result<_, _>>().unwrap()
}

#[track_caller]
fn raised(error: Error, class: &str, text: &str) {
    let exception = error.remote().unwrap_or_else(|| panic!("{error:?}"));
    assert!(
        exception.class == class && exception.message().contains(text),
        "{exception}"
    );
}

#[track_caller]
fn terminated<T>(item: Result<T, Error>) {
    let error = item.err().unwrap();
    raised(error, "Pyro5.errors.PyroError", "item stream terminated");
}

fn items_come_one_by_one(driver: Driver) {
    let served = Served::new(driver, Config::default());
    for serializer in SERIALIZERS {
        let shelf = served.proxy_by(serializer);
        let books = ["Emma", "Walden"];
        for method in ["books", "__iter__", "live"] {
            let mut items = shelf.stream::<String>(method, ()).unwrap();
            assert_eq!(all(items.by_ref()), books, "{method} by {serializer}");
            assert!(items.next().is_none());
        }
        assert_eq!(all(shelf.stream_attr::<String>("all").unwrap()), books);
        let checked = shelf.stream::<u8>("checked", (true,)).unwrap();
        assert_eq!(all(checked), [0, 1, 2]);
        for method in ["numbers", "quick_numbers"] {
            let numbers = shelf.stream::<u64>(method, (7,)).unwrap();
            assert_eq!(all(numbers.take(3)), [7, 8, 9]);
        }
        served.until("numbers");
        shelf.call::<()>("open", (3,)).unwrap();
        let awaited = shelf.stream::<u64>("awaited", ()).unwrap();
        assert_eq!(all(awaited.take(3)), [1, 2, 3]);
        for what in ["waits", "waits", "waits", "awaited"] {
            served.until(what);
        }
    }
}

fn tasks_take_items_too(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let shelf = tasks::Proxy::connect(&served.uri)
            .await
            .unwrap()
            .within(SOON);
        let mut items = shelf.stream::<String>("books", ()).await.unwrap();
        assert_eq!(items.next().await.unwrap().unwrap(), "Emma");
        assert_eq!(items.next().await.unwrap().unwrap(), "Walden");
        assert!(items.next().await.is_none() && items.next().await.is_none());
        let mut items = shelf.stream_attr::<String>("all").await.unwrap();
        assert_eq!(items.next().await.unwrap().unwrap(), "Emma");

        // An item that was asked for is not lost when nobody waits for it any more.
        let mut items = shelf.stream::<u64>("awaited", ()).await.unwrap();
        let until_waits = async || {
            while served.told.try_recv() != Ok("waits") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            _ = items.next() => panic!("nobody has opened the gate"),
            () = until_waits() => {}
        }
        shelf.call::<()>("open", (2,)).await.unwrap();
        assert_eq!(items.next().await.unwrap().unwrap(), 1);
        assert_eq!(items.next().await.unwrap().unwrap(), 2);
        served.until("waits");
        drop(items);
        tokio::task::block_in_place(|| served.until("awaited"));

        let error = shelf.call::<Value>("numbers", (1,)).await.unwrap_err();
        assert!(error.to_string().contains("item stream"), "{error}");
        tokio::task::block_in_place(|| served.until("numbers"));
    });
}

fn errors_end_a_stream(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let error = shelf.stream::<u8>("checked", (false,)).unwrap_err();
    raised(error, "builtins.ValueError", "not ok");

    let mut items = shelf.stream::<u8>("failing", ()).unwrap();
    assert_eq!(all(items.by_ref().take(2)), [0, 1]);
    raised(
        items.next().unwrap().unwrap_err(),
        "builtins.KeyError",
        "third",
    );
    served.until("failing");
    assert!(items.next().is_none());

    let mut items = shelf.stream::<u8>("panicking", ()).unwrap();
    assert_eq!(items.next().unwrap().unwrap(), 0);
    let error = items.next().unwrap().unwrap_err();
    raised(error, "builtins.RuntimeError", "no more");
    served.until("panicking");

    let mut items = shelf.stream::<Value>("unsendable", ()).unwrap();
    let error = items.next().unwrap().unwrap_err();
    raised(error, "builtins.TypeError", "not this one");
    // The daemon would have more of them, and is told that nobody wants any.
    assert!(items.next().is_none());
    drop(items);
    served.until("unsendable");

    let mut items = shelf.stream::<String>("numbers", (1,)).unwrap();
    assert!(items.next().unwrap().is_err());
    assert!(items.next().is_none());
    drop(items);
    served.until("numbers");
}

fn who_wants_a_value_gets_no_stream(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let error = shelf.call::<Value>("numbers", (1,)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    // And nobody has it.
    served.until("numbers");
    let error = shelf.stream::<u8>("list", ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");

    let mut batch = shelf.batch();
    batch.call("add", ("Ulysses",)).unwrap();
    batch.call("numbers", (1,)).unwrap();
    let error = batch.send().err().unwrap();
    raised(error, "builtins.TypeError", "item stream");
    served.until("numbers");
    shelf.oneway("numbers", (1,)).unwrap();
    served.until("numbers");
}

fn who_takes_what_comes_gets_values_and_streams(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let books = ["Emma", "Walden"];
    let shelf = served.proxy();
    let call = |method| shelf.call_any::<Value>(method, (), ()).unwrap();
    match (
        call("list"),
        call("books"),
        shelf.attr_any::<Value>("all").unwrap(),
    ) {
        (
            Returned::Value(Value::List(list)),
            Returned::Items(items),
            Returned::Items(attribute),
        ) => {
            assert_eq!(list, books.map(Value::from));
            assert_eq!(all(items), books.map(Value::from));
            assert_eq!(all(attribute), books.map(Value::from));
        }
        other => panic!("{other:?}"),
    }

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let shelf = tasks::Proxy::connect(&served.uri).await.unwrap();
        let shelf = shelf.within(SOON);
        let call = async |method| shelf.call_any::<Value>(method, (), ()).await.unwrap();
        let attribute = shelf.attr_any::<Value>("all").await.unwrap();
        match (call("list").await, call("books").await, attribute) {
            (Returned::Value(Value::List(list)), Returned::Items(items), Returned::Items(more)) => {
                assert_eq!(list, books.map(Value::from));
                for mut items in [items, more] {
                    for book in books {
                        let item = items.next().await.unwrap().unwrap();
                        assert_eq!(item, Value::from(book));
                    }
                    assert!(items.next().await.is_none());
                }
            }
            other => panic!("{other:?}"),
        }
    });
}

fn items_of_a_stream_may_come_in_a_batch(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let (_peer, id) = served.peer_with("books", "");
    let mut batch = served.daemon().batch();
    for _ in 0..3 {
        batch.call("get_next_stream_item", (&id,)).unwrap();
    }
    let mut results = batch.send().unwrap();
    assert_eq!(results.next().unwrap().unwrap(), Value::from("Emma"));
    assert_eq!(results.next().unwrap().unwrap(), Value::from("Walden"));
    let end = results.next().unwrap().unwrap_err();
    raised(end, "builtins.StopIteration", "");
}

fn streams_that_nobody_wants_are_closed(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let mut items = shelf.stream::<u64>("numbers", (0,)).unwrap();
    assert_eq!(items.next().unwrap().unwrap(), 0);
    drop(items);
    served.until("numbers");

    // By its id, from any connection; then the id is unknown.
    let (_peer, id) = served.peer_with("numbers", "1,");
    let daemon = served.daemon();
    let next = || daemon.call::<u64>("get_next_stream_item", (&id,));
    assert_eq!(next().unwrap(), 1);
    daemon.call::<()>("close_stream", (&id,)).unwrap();
    daemon.call::<()>("close_stream", (&id,)).unwrap();
    served.until("numbers");
    terminated(next());
    for id in ["", "x", "00000000-0000-4000-8000-000000000000"] {
        terminated(daemon.call::<u64>("get_next_stream_item", (id,)));
    }
    let error = daemon.call::<u64>("get_next_stream_item", ()).unwrap_err();
    raised(error, "builtins.TypeError", "streamId");
}

fn no_lock_is_held_between_items(driver: Driver) {
    let served = Served::new(driver, config(|config| config.workers = 1));
    let shelf = served.proxy();
    let mut snapshot = shelf.stream::<String>("books", ()).unwrap();
    let mut live = shelf.stream::<String>("live", ()).unwrap();
    assert_eq!(snapshot.next().unwrap().unwrap(), "Emma");
    assert_eq!(live.next().unwrap().unwrap(), "Emma");
    assert_eq!(shelf.call::<usize>("add", ("Ulysses",)).unwrap(), 3);
    assert_eq!(all(snapshot), ["Walden"]);
    assert_eq!(all(live), ["Walden", "Ulysses"]);
    let emptied = shelf.stream::<String>("emptied", ()).unwrap();
    assert_eq!(all(emptied), ["Ulysses", "Walden", "Emma"]);
    assert!(served.shelf.read().books.is_empty());
}

fn who_blocks_occupies_a_worker_only_while_asked(driver: Driver) {
    let served = Served::new(driver, config(|config| config.workers = 2));
    let shelf = served.proxy();
    let mut items = shelf.stream::<u64>("blocking", ()).unwrap();
    let mut others: Vec<_> = (0..9)
        .map(|_| shelf.stream::<u64>("blocking", ()).unwrap())
        .collect();
    std::thread::scope(|scope| {
        let item = scope.spawn(|| items.next().unwrap().unwrap());
        served.until("blocks");
        // There is a second worker; nine more streams that block do not occupy it.
        assert_eq!(
            served
                .proxy()
                .call::<Vec<String>>("list", ())
                .unwrap()
                .len(),
            2
        );
        served.proxy().call::<()>("open", (1,)).unwrap();
        assert_eq!(item.join().unwrap(), 0);
    });
    shelf.call::<()>("open", (1,)).unwrap();
    assert_eq!(others[0].next().unwrap().unwrap(), 0);
}

/// Another object.
struct Bell;

#[expose]
impl Bell {
    fn ring(&self) -> &'static str {
        "rings"
    }
}

fn items_that_need_their_object_wait_in_its_queue(driver: Driver) {
    let served = Served::new(
        driver,
        config(|config| {
            config.workers = 1;
            config.queued_per_object = 1;
        }),
    );
    let bell = served.running.daemon().register("bell", Bell).unwrap();
    let bell = Proxy::connect(bell).unwrap().within(SOON);
    let shelf = served.proxy();
    for method in ["live", "quick_live", "emptied"] {
        let mut items = [(); 2].map(|()| shelf.stream::<String>(method, ()).unwrap());
        let held = served.shelf.write();
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            for items in &mut items {
                let tell = tell.clone();
                scope.spawn(move || tell.send(items.next().unwrap()).unwrap());
            }
            // One of them waits, and nobody else may.
            let refused = told.recv_timeout(SOON).unwrap().unwrap_err();
            raised(refused, "builtins.TimeoutError", "1 calls queued");
            // No worker does.
            assert_eq!(bell.call::<String>("ring", ()).unwrap(), "rings");
            drop(held);
            told.recv_timeout(SOON).unwrap().unwrap();
        });
    }
    // Nor does who waits do so for longer than its caller.
    let hasty = shelf.within(Duration::from_millis(50));
    let mut items = hasty.stream::<String>("live", ()).unwrap();
    let held = served.shelf.write();
    let late = std::thread::scope(|scope| {
        let item = scope.spawn(|| items.next().unwrap().unwrap_err());
        item.join().unwrap()
    });
    // Either end may be the first to say so.
    let told = late.kind() == ErrorKind::Timeout || late.is_remote("builtins.TimeoutError");
    assert!(told, "{late}");
    drop(held);
}

/// Unlike others that wait for the object, who holds it itself is told that it could never come.
fn who_holds_what_its_item_needs_is_told(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let mut items = shelf.stream::<String>("live", ()).unwrap();
    let held = served.shelf.write();
    let error = items.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadlock, "{error}");
    assert!(error.to_string().contains("\"shelf.live.next\""), "{error}");
    drop(held);
}

fn streams_end_with_their_object(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let mut items = shelf.stream::<String>("live", ()).unwrap();
    assert_eq!(items.next().unwrap().unwrap(), "Emma");
    served.running.daemon().unregister_object(&served.shelf);
    let Served { shelf: object, .. } = served;
    drop(object);
    let error = items.next().unwrap().unwrap_err();
    raised(
        error,
        "builtins.RuntimeError",
        "object of the stream is gone",
    );
    assert!(items.next().is_none());
}

fn a_daemon_that_shuts_down_awaits_no_items(driver: Driver) {
    let hour = Duration::from_secs(3600);
    let served = Served::new(driver, config(|config| config.drain_timeout = hour));
    let shelf = served.proxy();
    let mut items = shelf.stream::<u64>("awaited", ()).unwrap();
    let asked = std::thread::spawn(move || items.next().unwrap());
    served.until("waits");
    let Served { running, told, .. } = served;
    let stopped = std::thread::spawn(move || running.stop());
    let error = asked.join().unwrap().unwrap_err();
    raised(error, "Pyro5.errors.DaemonError", "shutting down");
    stopped.join().unwrap().unwrap();
    assert_eq!(told.recv_timeout(SOON), Ok("awaited"));
}

/// Who has said all may wait for an item, but somebody has to be there.
fn who_hangs_up_and_vanishes_is_missed_while_awaiting_an_item(driver: Driver) {
    let settings = config(|config| config.stream_linger = Duration::ZERO);
    let served = Served::new(driver, settings);
    let network = FaultProxy::new(address(&served.uri));
    let uri = format!("PYRO:shelf@{}", network.address());
    // Without a time limit, which would end the call, too.
    let shelf = Proxy::connect(uri).unwrap();
    let mut items = shelf.stream::<u64>("awaited", ()).unwrap();
    shelf.call::<()>("open", (1,)).unwrap();
    assert_eq!(items.next().unwrap().unwrap(), 1);
    served.until("waits");
    std::thread::scope(|scope| {
        scope.spawn(|| items.next().unwrap().unwrap_err());
        served.until("waits");
        network.set(Way::ToServer, Fault::Cut(0, End::Eof));
        let early = served.told.recv_timeout(Duration::from_millis(50));
        assert!(early.is_err(), "its end alone says nothing: {early:?}");
        network.cut(End::Reset);
        served.until("awaited");
    });
}

/// The system is to find out for us whether it is: this looks at the timers of its sockets.
#[cfg(target_os = "linux")]
fn who_awaits_an_item_is_asked_whether_it_is_there(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let (mut peer, id) = served.peer_with("awaited", "");
    let ours = address(&served.uri).port();
    let theirs = peer.socket().local_addr().unwrap().port();
    let minutes = || asked_within(ours, theirs).is_some_and(|wait| wait < Duration::from_secs(60));
    assert!(!minutes());
    peer.send_message(&next_message(2, &id));
    served.until("waits");
    let end = std::time::Instant::now() + SOON;
    while !minutes() {
        assert!(std::time::Instant::now() < end, "nobody asks");
        std::thread::yield_now();
    }
}

/// When the system asks the peer at this port whether it is there.
#[cfg(target_os = "linux")]
fn asked_within(ours: u16, theirs: u16) -> Option<Duration> {
    const ANOTHER_TIMER: &str = "02";
    let ends = |address: &str, port: u16| address.ends_with(&format!(":{port:04X}"));
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|file| {
        let sockets = std::fs::read_to_string(file).ok()?;
        sockets.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (timer, hundredths) = fields.get(5)?.split_once(':')?;
            let found = ends(fields[1], ours) && ends(fields[2], theirs);
            if !found || timer != ANOTHER_TIMER {
                return None;
            }
            let hundredths = u64::from_str_radix(hundredths, 16).ok()?;
            Some(Duration::from_millis(10 * hundredths))
        })
    })
}

fn the_settings_are_kept(driver: Driver) {
    let served = Served::new(driver, config(|config| config.item_streams = false));
    let error = served.proxy().stream::<String>("books", ()).unwrap_err();
    assert!(error.to_string().contains("not configured"), "{error}");
    let error = served.proxy().stream::<u64>("numbers", (1,)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    served.until("numbers");

    let served = Served::new(
        driver,
        config(|config| {
            config.streams_per_connection = 2;
            config.streams_in_all = 3;
        }),
    );
    let (one, other) = (served.proxy(), served.proxy());
    let open = |proxy: &Proxy| proxy.stream::<String>("books", ());
    let first = (open(&one).unwrap(), open(&one).unwrap());
    let full = "Pyro5.errors.DaemonError";
    raised(open(&one).unwrap_err(), full, "a connection may have 2");
    let second = open(&other).unwrap();
    raised(open(&other).unwrap_err(), full, "the daemon may have 3");
    assert_eq!(all(first.0).len(), 2);
    drop(open(&other).unwrap());
    drop((first.1, second));
}

fn streams_end_with_their_time(driver: Driver) {
    let short = Duration::from_millis(30);
    let served = Served::new(
        driver,
        config(|config| config.stream_lifetime = Some(short)),
    );
    let mut items = served.proxy().stream::<u64>("numbers", (1,)).unwrap();
    // Nothing asks: a timer ends it.
    served.until("numbers");
    terminated(items.next().unwrap());
    assert!(items.next().is_none());
}

fn who_waits_is_told_when_the_stream_is_over(driver: Driver) {
    let check = |lifetime, close: &dyn Fn(&Served, &str)| {
        let served = Served::new(driver, config(|config| config.stream_lifetime = lifetime));
        let (_peer, id) = served.peer_with("awaited", "");
        let daemon = served.daemon();
        std::thread::scope(|scope| {
            let asks = || daemon.call::<u64>("get_next_stream_item", (&id,));
            let (one, other) = (scope.spawn(asks), scope.spawn(asks));
            served.until("waits");
            close(&served, &id);
            // Nobody opens the gate.
            for asked in [one, other] {
                terminated(asked.join().unwrap());
            }
        });
        served.until("awaited");
    };
    check(None, &|served, id| {
        served.daemon().call::<()>("close_stream", (id,)).unwrap();
    });
    check(Some(Duration::from_millis(200)), &|_, _| {});
}

fn who_vanishes_leaves_nothing_behind(driver: Driver) {
    for linger in [Duration::ZERO, Duration::from_millis(30)] {
        let served = Served::new(driver, config(|config| config.stream_linger = linger));
        let (peer, id) = served.peer_with("numbers", "1,");
        drop(peer);
        served.until("numbers");
        let gone = served.daemon().call::<u64>("get_next_stream_item", (id,));
        terminated(gone);
    }
}

fn who_comes_back_goes_on(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let mut items = shelf.stream::<u64>("numbers", (1,)).unwrap();
    assert_eq!(items.next().unwrap().unwrap(), 1);
    shelf.release();
    // On a new connection, which has it from now on.
    assert_eq!(items.next().unwrap().unwrap(), 2);
    shelf.release();
    assert_eq!(items.next().unwrap().unwrap(), 3);
    drop(items);
    served.until("numbers");

    let served = Served::new(
        driver,
        config(|config| config.stream_linger = Duration::from_millis(30)),
    );
    let (peer, id) = served.peer_with("numbers", "1,");
    let daemon = served.daemon();
    let next = |daemon: &Proxy| daemon.call::<u64>("get_next_stream_item", (&id,));
    // Whoever knows the id may take items, but that does not make it theirs.
    assert_eq!(next(&daemon).unwrap(), 1);
    drop(peer);
    served.until("numbers");
    terminated(next(&daemon));
}

fn who_stops_reading_is_waited_for_in_bounded_memory(driver: Driver) {
    const SIZE: usize = 1 << 16;
    let served = Served::new(
        driver,
        config(|config| {
            config.write_queue_bytes = 1 << 20;
            config.write_timeout = Duration::from_millis(100);
            config.stream_linger = Duration::ZERO;
        }),
    );
    let (mut peer, id) = served.peer_with("blobs", &format!("{SIZE},"));
    // It asks for 256 MiB and reads nothing, until the daemon gives it up.
    let asks = std::thread::spawn(move || {
        for seq in 0..4096 {
            if !peer.try_send(&next_message(seq, &id).encode()) {
                break;
            }
        }
        peer
    });
    served.until("blobs");
    let made = served.made.load(Ordering::SeqCst) * SIZE;
    assert!(made < 64 << 20, "{made} bytes were made for nobody");
    drop(asks.join().unwrap());
}

fn a_long_stream_is_never_all_there(driver: Driver) {
    let count = if is_full() { 1_000_000 } else { 20_000 };
    let served = Served::new(driver, Config::default());
    let shelf = served.proxy();
    let mut expected = 0;
    for item in shelf.stream::<u64>("numbers", (0,)).unwrap().take(count) {
        assert_eq!(item.unwrap(), expected);
        expected += 1;
    }
    assert_eq!(expected, count as u64);
    served.until("numbers");
    // One at a time, when it was asked for.
    assert_eq!(served.made.load(Ordering::SeqCst), count);
}

fn several_may_take_from_one_stream(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let (_peer, id) = served.peer_with("numbers", "0,");
    let daemon = served.daemon();
    let taken: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let take = || {
            let next = |_| daemon.call("get_next_stream_item", (&id,)).unwrap();
            (0..100).map(next).collect()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(taken.iter().all(|items| items.is_sorted()));
    let mut all: Vec<_> = taken.concat();
    all.sort_unstable();
    assert_eq!(all, (0..400).collect::<Vec<_>>());
}

/// Else each who asks would keep a worker, and the object, until it is their turn.
fn who_asks_while_an_item_is_made_inside_is_told(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let (_peer, id) = served.peer_with("blocking_live", "");
    let (daemon, shelf) = (served.daemon(), served.proxy());
    let next = || daemon.call::<String>("get_next_stream_item", (&id,));
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let first = scope.spawn(next);
            served.until("blocks");
            let text = "is being made for another call";
            raised(next().unwrap_err(), "builtins.ValueError", text);
            shelf.call::<()>("open", (1,)).unwrap();
            assert_eq!(first.join().unwrap().unwrap(), "Emma");
        });
    }
}

fn what_makes_items_goes_when_its_object_is_free(driver: Driver) {
    let served = Served::new(driver, Config::default());
    let (_peer, id) = served.peer_with("blocking_live", "");
    let (daemon, shelf) = (served.daemon(), served.proxy());
    std::thread::scope(|scope| {
        scope.spawn(|| daemon.call::<String>("get_next_stream_item", (&id,)));
        served.until("blocks");
        daemon.call::<()>("close_stream", (&id,)).unwrap();
        let early = served.told.recv_timeout(Duration::from_millis(30));
        assert!(early.is_err(), "it is needed still: {early:?}");
        shelf.call::<()>("open", (1,)).unwrap();
        served.until("alone");
    });
}

mod typed {
    use super::*;

    #[antifreeze::proxy]
    trait Shelf {
        fn books(&self) -> antifreeze::Items<String>;
        fn checked(&self, ok: bool) -> Result<antifreeze::Items<u8>, Error>;
        #[attr]
        fn all(&self) -> antifreeze::Items<String>;
    }

    pub(super) fn proxies_give_items(driver: Driver) {
        let served = Served::new(driver, Config::default());
        let shelf = ShelfProxy::new(served.proxy());
        assert_eq!(all(shelf.books().unwrap()), ["Emma", "Walden"]);
        assert_eq!(all(shelf.all().unwrap()), ["Emma", "Walden"]);
        assert_eq!(all(shelf.checked(true).unwrap()), [0, 1, 2]);
    }
}

use typed::proxies_give_items;

on_both_drivers!(
    items_come_one_by_one,
    tasks_take_items_too,
    errors_end_a_stream,
    who_wants_a_value_gets_no_stream,
    who_takes_what_comes_gets_values_and_streams,
    items_of_a_stream_may_come_in_a_batch,
    streams_that_nobody_wants_are_closed,
    no_lock_is_held_between_items,
    who_blocks_occupies_a_worker_only_while_asked,
    items_that_need_their_object_wait_in_its_queue,
    who_holds_what_its_item_needs_is_told,
    streams_end_with_their_object,
    a_daemon_that_shuts_down_awaits_no_items,
    who_hangs_up_and_vanishes_is_missed_while_awaiting_an_item,
    who_awaits_an_item_is_asked_whether_it_is_there,
    the_settings_are_kept,
    streams_end_with_their_time,
    who_waits_is_told_when_the_stream_is_over,
    who_vanishes_leaves_nothing_behind,
    who_comes_back_goes_on,
    who_stops_reading_is_waited_for_in_bounded_memory,
    a_long_stream_is_never_all_there,
    several_may_take_from_one_stream,
    who_asks_while_an_item_is_made_inside_is_told,
    what_makes_items_goes_when_its_object_is_free,
    proxies_give_items,
);
