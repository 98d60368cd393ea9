//! Data that a dispatcher passes on without decoding it, or knowing what class it is of.

use std::collections::BTreeMap;

use antifreeze::{Class, Error, Object, Proxy, SerializedBlob, Serializer, expose};

use crate::{Guest, Stage};

const DISPATCHER: &str = "PYRONAME:example.blobdispatcher";

#[derive(Class)]
#[class = "blobdispatch.CustomData"]
struct CustomData {
    a: i64,
    b: String,
    c: String,
}

#[derive(Default)]
struct Dispatcher {
    listeners: BTreeMap<String, Vec<Proxy>>,
}

#[expose]
impl Dispatcher {
    fn register(&mut self, topic: String, listener: Proxy) {
        let uri = listener.uri();
        println!("New listener for topic {topic} registered: {uri}");
        self.listeners.entry(topic).or_default().push(listener);
    }

    fn process_blob(&self, blob: SerializedBlob) -> Result<(), Error> {
        let topic = blob.info().as_str().unwrap_or_default();
        println!("Dispatching blob with name: {topic}");
        for listener in self.listeners.get(topic).into_iter().flatten() {
            listener.call_blob::<()>("process_blob", &blob)?;
        }
        Ok(())
    }
}

struct Listener {
    topic: String,
}

#[expose]
impl Listener {
    fn process_blob(&self, blob: SerializedBlob) -> Result<(), Error> {
        assert_eq!(blob.info().as_str(), Some(&*self.topic));
        let CustomData { a, b, c } = blob.decode()?;
        println!("Received custom data:");
        println!("    a={a}, b={b}, c={c}");
        Ok(())
    }
}

/// The dispatcher; or, if it is told a topic, somebody who listens to that.
pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let Some(topic) = stage.words.first().cloned() else {
        let uri = stage.daemon.register(None, Dispatcher::default())?;
        return stage.name("example.blobdispatcher", &uri);
    };
    let listener = Object::new(Listener { topic });
    stage.daemon.register(None, &listener)?;
    let dispatcher = Proxy::builder(DISPATCHER)?.config(stage.config.clone());
    let topic = &listener.read().topic;
    Ok(dispatcher.lazy()?.call("register", (topic, &listener))?)
}

/// Sends something about each topic.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let dispatcher = guest.proxy(DISPATCHER)?;
    for topic in &guest.words {
        let data = CustomData {
            a: 42,
            b: "hello world".to_owned(),
            c: "2026-01-02T03:04:05".to_owned(),
        };
        let blob = SerializedBlob::new(Serializer::Serpent, &**topic, &data)?;
        dispatcher.call_blob::<()>("process_blob", &blob)?;
        println!("processed");
    }
    Ok(())
}
