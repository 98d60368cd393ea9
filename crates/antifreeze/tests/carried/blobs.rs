//! Serialized blobs: decoded by who wants to, and passed on by all others as they are.

use antifreeze::{
    Bytes, Dict, Error, ErrorKind, Proxy, SerializedBlob, Serializer, Uri, Value, expose, proxy,
    tokio as tasks,
};
use antifreeze_proto::{Flags, Kind};
use antifreeze_testkit::{Peer, RawMessage};

use crate::by_each;
use crate::common::{Driver, address, bind};

struct Sink;

#[expose]
impl Sink {
    fn take(&self, blob: SerializedBlob) -> Result<(Value, Value), Error> {
        Ok((blob.info().clone(), blob.decode()?))
    }

    fn length(&mut self, blob: &SerializedBlob) -> Result<usize, Error> {
        Ok(blob.decode::<Bytes>()?.len())
    }

    async fn take_async(&self, blob: SerializedBlob) -> Result<Value, Error> {
        blob.decode()
    }

    fn about(&self, blob: SerializedBlob) -> String {
        blob.info().to_string()
    }

    fn plain(&self, value: Value) -> Value {
        value
    }

    fn all(&self, #[args] rest: Vec<Value>) -> usize {
        rest.len()
    }

    fn nothing(&self) {}
}

/// A program in the middle, which could not decode what it passes on.
struct Dispatcher {
    sink: Proxy,
    tasks: tasks::Proxy,
}

#[expose]
impl Dispatcher {
    fn send(&self, blob: SerializedBlob) -> Result<Value, Error> {
        self.sink.call_blob("take", &blob)
    }

    async fn send_async(&self, blob: SerializedBlob) -> Result<Value, Error> {
        self.tasks.call_blob("take", &blob).await
    }
}

#[proxy(name = "SinkProxy")]
trait Taker {
    fn take(&self, blob: &SerializedBlob) -> (Value, Value);
    #[rename = "take_async"]
    fn take_whole(&self, blob: SerializedBlob) -> Value;
}

struct Served {
    _running: antifreeze::Running,
    sink: Uri,
    dispatcher: Uri,
}

fn serve(driver: Driver) -> Served {
    let daemon = bind(driver, Default::default());
    let sink = daemon.register("sink", Sink).unwrap();
    let dispatcher = Dispatcher {
        sink: Proxy::new(&sink).unwrap(),
        tasks: tasks::Proxy::new(&sink).unwrap(),
    };
    let dispatcher = daemon.register("dispatcher", dispatcher).unwrap();
    Served {
        _running: daemon.start().unwrap(),
        sink,
        dispatcher,
    }
}

fn data() -> Value {
    Value::parse_literal("[1, 'two', {'three': [4.5, None]}]").unwrap()
}

fn a_blob_arrives_by_any_serializer_whatever_the_proxy_uses(driver: Driver) {
    let served = serve(driver);
    // The proxy's own is serpent.
    let sink = Proxy::connect(&served.sink).unwrap();
    by_each(|serializer| {
        let blob = SerializedBlob::new(serializer, "about", &data()).unwrap();
        assert_eq!(
            (blob.serializer(), blob.decode().unwrap()),
            (serializer, data())
        );
        let arrived: (Value, Value) = sink.call_blob("take", &blob).unwrap();
        assert_eq!(arrived, ("about".into(), data()));
        let arrived: Value = sink.call_blob("take_async", &blob).unwrap();
        assert_eq!(arrived, data());
        let typed = SinkProxy::new(sink.clone());
        assert_eq!(typed.take(&blob).unwrap().1, data());
        assert_eq!(typed.take_whole(blob).unwrap(), data());
    });
}

fn a_blob_is_passed_on_as_it_is(driver: Driver) {
    let served = serve(driver);
    let dispatcher = Proxy::connect(&served.dispatcher).unwrap();
    by_each(|serializer| {
        let info = Value::parse_literal("{'to': [1, 2]}").unwrap();
        let blob = SerializedBlob::new(serializer, info.clone(), &data()).unwrap();
        for method in ["send", "send_async"] {
            let arrived: Value = dispatcher.call_blob(method, &blob).unwrap();
            assert_eq!(arrived.as_slice().unwrap(), [info.clone(), data()]);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dispatcher = tasks::Proxy::connect(&served.dispatcher).await.unwrap();
        let blob = SerializedBlob::new(Serializer::Json, (), &data()).unwrap();
        let arrived: Value = dispatcher.call_blob("send", &blob).await.unwrap();
        assert_eq!(arrived.as_slice().unwrap(), [Value::None, data()]);
    });
}

fn bytes_in_a_blob_are_bytes(driver: Driver) {
    let served = serve(driver);
    let sink = Proxy::connect(&served.sink).unwrap();
    let bytes = Bytes::from(vec![7; 1 << 20]);
    for serializer in [
        Serializer::Serpent,
        Serializer::Marshal,
        Serializer::Msgpack,
    ] {
        let blob = SerializedBlob::new(serializer, (), &bytes).unwrap();
        assert_eq!(sink.call_blob::<usize>("length", &blob).unwrap(), 1 << 20);
    }
}

fn who_takes_no_blob_says_so(driver: Driver) {
    let served = serve(driver);
    let sink = Proxy::connect(&served.sink).unwrap();
    let blob = SerializedBlob::new(Serializer::Serpent, (), &data()).unwrap();
    let check = |result: Result<Value, Error>, class: &str, words: &str| {
        let error = result.unwrap_err();
        assert!(
            error.is_remote(class) && error.to_string().contains(words),
            "{error}"
        );
    };
    check(
        sink.call_blob("plain", &blob),
        "TypeError",
        "no serialized blob",
    );
    check(
        sink.call_blob("all", &blob),
        "TypeError",
        "no serialized blob",
    );
    check(
        sink.call_blob("nothing", &blob),
        "TypeError",
        "takes 0 positional",
    );
    check(sink.call_blob("nobody", &blob), "AttributeError", "nobody");
    check(
        sink.call_blob("_hidden", &blob),
        "AttributeError",
        "private",
    );
    check(sink.call("take", (5,)), "ValueError", "serialized blob");
    let large = SerializedBlob::new(Serializer::Json, "x".repeat(1 << 20), &1).unwrap();
    let error = sink.call_blob::<Value>("take", &large).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
    // And goes on to serve.
    assert_eq!(sink.call::<Value>("plain", (1,)).unwrap(), Value::from(1));
}

/// As in Pyro: whoever passes a blob on need not know the classes in there.
fn what_a_blob_is_about_stays_as_it_came(driver: Driver) {
    let served = serve(driver);
    let sink = Proxy::connect(&served.sink).unwrap();
    for class in ["Pyro5.core.URI", "lab.Stage", "__main__.Stage"] {
        let mut info = Dict::new();
        info.insert("__class__", class);
        info.insert("state", 5);
        let blob = SerializedBlob::new(Serializer::Json, Value::Dict(info), &1).unwrap();
        let about: String = sink.call_blob("about", &blob).unwrap();
        assert_eq!(about, format!("{{'__class__': '{class}', 'state': 5}}"));
    }
}

fn the_wire_is_pyros(driver: Driver) {
    let served = serve(driver);
    let mut peer = Peer::connect(address(&served.sink));
    peer.shake_hands("sink");
    let check = |peer: &mut Peer, call: RawMessage, answer: &[u8]| {
        peer.send_message(&call);
        let reply = peer.expect_message();
        let payload = String::from_utf8_lossy(&reply.payload).into_owned();
        let wanted = String::from_utf8_lossy(answer).into_owned();
        assert!(payload.contains(&wanted), "{payload}");
    };
    let blob = |seq, info: Option<&[u8]>, payload: &str| {
        let call = RawMessage::invoke(seq, payload).flags(Flags::KEEP_SERIALIZED);
        match info {
            Some(info) => call.annotation(b"BLBI", info),
            None => call,
        }
    };
    let info = marshal(["about", "sink", "take"]);
    // Where it goes is in the annotation, whatever the payload says.
    let payload = "# serpent utf-8 python3.2\n('L','other',[1,2,3],{})";
    check(
        &mut peer,
        blob(1, Some(&info), payload),
        b"('about',[1,2,3])",
    );
    check(&mut peer, blob(2, None, payload), b"KeyError");
    check(&mut peer, blob(3, Some(b"junk"), payload), b"ValueError");
    let nobody = marshal(["about", "nobody", "take"]);
    check(
        &mut peer,
        blob(4, Some(&nobody), payload),
        b"unknown object",
    );
    // What cannot be parsed is noticed by who wants to decode it.
    check(&mut peer, blob(5, Some(&info), "junk"), b"Error");
    let large = vec![b'x'; (1 << 20) + 1];
    check(&mut peer, blob(7, Some(&large), payload), b"ValueError");
    // Pyro leaves the annotation on later calls: without the flag it means nothing.
    let plain = RawMessage::invoke(6, "# serpent utf-8 python3.2\n('sink','plain',(5,),{})");
    check(&mut peer, plain.annotation(b"BLBI", &info), b"5");
}

#[test]
fn what_leaves_is_pyros() {
    let (listener, address) = Peer::listen();
    let calling = std::thread::spawn(move || {
        let blob = SerializedBlob::new(Serializer::Serpent, "about", &vec![1, 2, 3]).unwrap();
        let proxy = Proxy::new(format!("PYRO:L@{address}")).unwrap();
        proxy.call_blob::<Value>("take", &blob)
    });
    let mut peer = Peer::accept(&listener);
    peer.expect_message();
    let meta = "# serpent utf-8 python3.2\n{'handshake':'hello',\
                'meta':{'methods':{'take'},'oneway':(),'attrs':()}}";
    peer.let_in(&RawMessage::new(Kind::ConnectOk, meta));
    let call = peer.expect_message();
    assert_eq!(
        call.flags & Flags::KEEP_SERIALIZED.0,
        Flags::KEEP_SERIALIZED.0
    );
    let text = String::from_utf8(call.payload).unwrap();
    assert_eq!(text, "# serpent utf-8 python3.2\n('L','take',[1,2,3],{})");
    let told = String::from_utf8_lossy(&call.annotations).into_owned();
    for word in ["BLBI", "about", "L", "take"] {
        assert!(told.contains(word), "{told:?}");
    }
    peer.send_message(&RawMessage::result(
        call.seq,
        "# serpent utf-8 python3.2\n5",
    ));
    assert_eq!(calling.join().unwrap().unwrap(), Value::from(5));
}

/// A tuple of three texts, as Python writes it.
fn marshal(texts: [&str; 3]) -> Vec<u8> {
    let mut bytes = vec![b')', 3];
    for text in texts {
        bytes.extend([b'z', text.len() as u8]);
        bytes.extend(text.as_bytes());
    }
    bytes
}

#[test]
fn what_cannot_be_carried_is_told_where_it_is_made() {
    let bytes = Bytes::from_static(b"x");
    let error = SerializedBlob::new(Serializer::Json, (), &bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Serialize);
    let blob = SerializedBlob::new(Serializer::Json, "about", &"secret").unwrap();
    let shown = format!("{blob:?}");
    assert!(
        shown.contains("about") && !shown.contains("secret"),
        "{shown}"
    );
    assert_eq!(
        blob.decode::<u8>().unwrap_err().kind(),
        ErrorKind::Serialize
    );
}

crate::on_both_drivers!(
    a_blob_arrives_by_any_serializer_whatever_the_proxy_uses,
    a_blob_is_passed_on_as_it_is,
    bytes_in_a_blob_are_bytes,
    who_takes_no_blob_says_so,
    what_a_blob_is_about_stays_as_it_came,
    the_wire_is_pyros,
);
