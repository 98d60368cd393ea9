//! A server that tells its clients what they say to each other, for as long as they are there.

use std::collections::BTreeMap;
use std::sync::mpsc;

use antifreeze::{Exception, Object, Proxy, expose};
use antifreeze_interop::{equal, raised};

use crate::{Guest, Stage};

#[derive(Default)]
struct ChatBox {
    channels: BTreeMap<String, Vec<(String, Proxy)>>,
    nicks: Vec<String>,
}

impl ChatBox {
    fn listeners(&mut self, channel: &str) -> Option<&mut Vec<(String, Proxy)>> {
        let listeners = self.channels.get_mut(channel);
        if listeners.is_none() {
            println!("IGNORED UNKNOWN CHANNEL {channel}");
        }
        listeners
    }
}

#[expose]
impl ChatBox {
    #[rename = "getChannels"]
    fn channels(&self) -> Vec<&String> {
        self.channels.keys().collect()
    }

    #[rename = "getNicks"]
    fn nicks(&self) -> &[String] {
        &self.nicks
    }

    fn join(
        &mut self,
        channel: &str,
        nick: &str,
        callback: Proxy,
    ) -> Result<Vec<&String>, Exception> {
        let wrong = |text| Err(Exception::new("builtins.ValueError", text));
        if channel.is_empty() || nick.is_empty() {
            return wrong("invalid channel or nick name");
        }
        if self.nicks.iter().any(|known| known == nick) {
            return wrong("this nick is already in use");
        }
        if !self.channels.contains_key(channel) {
            println!("CREATING NEW CHANNEL {channel}");
        }
        let listeners = self.channels.entry(channel.to_owned()).or_default();
        listeners.push((nick.to_owned(), callback));
        self.nicks.push(nick.to_owned());
        println!("{nick} JOINED {channel}");
        self.publish(channel, "SERVER", &format!("** {nick} joined **"));
        let listeners = self.channels.get(channel).into_iter().flatten();
        Ok(listeners.map(|(nick, _)| nick).collect())
    }

    fn leave(&mut self, channel: &str, nick: &str) {
        let Some(listeners) = self.listeners(channel) else {
            return;
        };
        listeners.retain(|(known, _)| known != nick);
        self.publish(channel, "SERVER", &format!("** {nick} left **"));
        if self.channels.get(channel).is_some_and(Vec::is_empty) {
            self.channels.remove(channel);
            println!("REMOVED CHANNEL {channel}");
        }
        self.nicks.retain(|known| known != nick);
        println!("{nick} LEFT {channel}");
    }

    fn publish(&mut self, channel: &str, nick: &str, msg: &str) {
        let Some(listeners) = self.listeners(channel) else {
            return;
        };
        listeners.retain(|(listener, callback)| {
            let told = callback.oneway("message", (nick, msg));
            if told.is_err() {
                println!("Removed dead listener {listener}");
            }
            told.is_ok()
        });
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let uri = stage.daemon.register(None, ChatBox::default())?;
    stage.name("example.chatbox.server", &uri)
}

struct Chatter {
    nick: &'static str,
    heard: mpsc::Sender<(String, String)>,
}

#[expose]
impl Chatter {
    /// One at a time, and so in the order in which they were sent.
    #[oneway]
    fn message(&mut self, nick: String, msg: String) {
        if nick != self.nick {
            // Who listens may have gone.
            let _ = self.heard.send((nick, msg));
        }
    }
}

/// Two who talk to each other, and with whoever is there.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const CHANNEL: &str = "rust";
    let daemon = guest.daemon()?;
    let chatter = |nick| {
        let (heard, hears) = mpsc::channel();
        let chatter = Object::new(Chatter { nick, heard });
        daemon.register(nick, &chatter)?;
        anyhow::Ok((chatter, hears))
    };
    let ((alice, alice_hears), (bob, bob_hears)) = (chatter("alice")?, chatter("bob")?);
    let _running = daemon.start()?;

    let chatbox = guest.proxy("PYRONAME:example.chatbox.server")?;
    let join = |nick: &str, chatter: &Object<Chatter>| {
        chatbox.call::<Vec<String>>("join", (CHANNEL, nick, chatter))
    };
    equal(join("alice", &alice)?, ["alice"])?;
    raised(
        join("alice", &bob),
        "builtins.ValueError",
        "this nick is already in use",
    )?;
    equal(join("bob", &bob)?, ["alice", "bob"])?;
    for (nick, msg) in [("alice", "hello"), ("bob", "hi")] {
        chatbox.call::<()>("publish", (CHANNEL, nick, msg))?;
    }
    for nick in ["bob", "alice"] {
        chatbox.call::<()>("leave", (CHANNEL, nick))?;
    }
    equal(chatbox.call::<Vec<String>>("getNicks", ())?, [""; 0])?;

    let alice_heard = [
        ("SERVER", "** alice joined **"),
        ("SERVER", "** bob joined **"),
        ("bob", "hi"),
        ("SERVER", "** bob left **"),
    ];
    let bob_heard = [("SERVER", "** bob joined **"), ("alice", "hello")];
    for (hears, expected) in [(alice_hears, &alice_heard[..]), (bob_hears, &bob_heard)] {
        let heard: Vec<_> = hears.iter().take(expected.len()).collect();
        let heard: Vec<_> = heard.iter().map(|(nick, msg)| (&**nick, &**msg)).collect();
        equal(heard, expected)?;
    }
    Ok(())
}
