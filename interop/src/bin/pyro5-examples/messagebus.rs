//! Publishers and subscribers that know nothing of each other but the bus, and a topic.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::SystemTime;

use antifreeze::{Class, Exception, Object, Proxy, Set, Timestamp, Value, expose, from_value};
use antifreeze_interop::{equal, raised};
use uuid::Uuid;

use crate::{Guest, Stage};

const NAME: &str = "Pyro.MessageBus";

#[derive(Class)]
#[class = "Pyro5.utils.messagebus.message"]
struct Message {
    msgid: String,
    created: String,
    data: Value,
}

impl Message {
    fn new(data: Value) -> Self {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let created = Timestamp(now.as_secs_f64()).to_string();
        Self {
            msgid: Uuid::new_v4().to_string(),
            // Python's has no zone.
            created: created.trim_end_matches("+00:00").to_owned(),
            data,
        }
    }
}

#[derive(Default)]
struct Topic {
    pending: Vec<Message>,
    subscribers: Vec<Proxy>,
}

struct MessageBus {
    topics: BTreeMap<String, Topic>,
    /// Wakes the thread that delivers messages.
    added: mpsc::Sender<()>,
}

impl MessageBus {
    /// The messages of each topic that somebody wants to have, and who they are.
    fn take_pending(&mut self) -> Vec<(String, Vec<Message>, Vec<Proxy>)> {
        let topics = self.topics.iter_mut();
        let wanted = topics.filter(|(_, topic)| !topic.subscribers.is_empty());
        let taken = wanted.map(|(name, topic)| {
            let messages = std::mem::take(&mut topic.pending);
            (name.clone(), messages, topic.subscribers.clone())
        });
        taken
            .filter(|(_, messages, _)| !messages.is_empty())
            .collect()
    }
}

#[expose]
impl MessageBus {
    fn add_topic(&mut self, topic: String) {
        self.topics.entry(topic).or_default();
    }

    fn remove_topic(&mut self, topic: &str) -> Result<(), Exception> {
        let known = self.topics.get(topic);
        if known.is_some_and(|it| !it.pending.is_empty() || !it.subscribers.is_empty()) {
            let text = "topic still has pending messages and/or subscribers";
            return Err(Exception::new("builtins.ValueError", text));
        }
        self.topics.remove(topic);
        Ok(())
    }

    fn topics(&self) -> Set<&String> {
        self.topics.keys().collect()
    }

    fn send(&mut self, topic: &str, message: Value) -> Result<(), Exception> {
        let known = self.topics.get_mut(topic);
        let known = known.ok_or_else(|| Exception::new("builtins.KeyError", topic))?;
        known.pending.push(Message::new(message));
        // It waits for as long as there is a bus.
        let _ = self.added.send(());
        Ok(())
    }

    #[oneway]
    fn send_no_ack(&mut self, topic: &str, message: Value) -> Result<(), Exception> {
        self.send(topic, message)
    }

    fn subscribe(&mut self, topic: String, subscriber: Proxy) {
        self.topics
            .entry(topic)
            .or_default()
            .subscribers
            .push(subscriber);
    }

    fn unsubscribe(&mut self, topic: &str, subscriber: Proxy) {
        if let Some(topic) = self.topics.get_mut(topic) {
            topic
                .subscribers
                .retain(|known| known.uri() != subscriber.uri());
        }
    }
}

/// Calls the subscribers, without holding up the bus.
fn deliver(bus: &Object<MessageBus>) {
    let pending = bus.write().take_pending();
    for (topic, messages, subscribers) in pending {
        for subscriber in subscribers {
            let told = subscriber.call::<()>("incoming_messages", (&topic, &messages));
            if told.is_err() {
                bus.write().unsubscribe(&topic, subscriber);
            }
        }
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let (added, additions) = mpsc::channel();
    let topics = BTreeMap::new();
    let bus = Object::new(MessageBus { topics, added });
    let uri = stage.daemon.register(None, &bus)?;
    thread::spawn(move || additions.iter().for_each(|()| deliver(&bus)));
    stage.name(NAME, &uri)
}

struct Subscriber(mpsc::Sender<Message>);

#[expose]
impl Subscriber {
    fn incoming_message(&self, _topic: &str, message: Message) {
        // Who reads them may have gone.
        let _ = self.0.send(message);
    }

    fn incoming_messages(&self, topic: &str, messages: Vec<Message>) {
        for message in messages {
            self.incoming_message(topic, message);
        }
    }
}

/// Subscribes to a topic, and publishes something about it.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const TOPIC: &str = "weather-forecast";
    let (received, messages) = mpsc::channel();
    let daemon = guest.daemon()?;
    let subscriber = Object::new(Subscriber(received));
    daemon.register(None, &subscriber)?;
    let _running = daemon.start()?;

    let bus = guest.proxy(&format!("PYRONAME:{NAME}"))?;
    bus.call::<()>("subscribe", (TOPIC, &subscriber))?;
    equal(bus.call::<Set<String>>("topics", ())?.0, [TOPIC])?;
    let forecasts = ["sunny", "cloudy", "storm", "rainy"];
    for forecast in forecasts {
        bus.call::<()>("send", (TOPIC, ("Amsterdam", forecast)))?;
    }
    let messages: Vec<Message> = messages.iter().take(forecasts.len()).collect();
    for (message, forecast) in messages.iter().zip(forecasts) {
        Uuid::parse_str(&message.msgid)?;
        format!("{}+00:00", message.created).parse::<Timestamp>()?;
        let data: (String, String) = from_value(message.data.clone())?;
        equal((&*data.0, &*data.1), ("Amsterdam", forecast))?;
    }
    raised(
        bus.call::<()>("remove_topic", (TOPIC,)),
        "builtins.ValueError",
        "topic still has pending messages and/or subscribers",
    )?;
    bus.call::<()>("unsubscribe", (TOPIC, &subscriber))?;
    Ok(())
}
