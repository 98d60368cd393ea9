//! What a daemon promises, kept by its event loop.

#[path = "served/chains.rs"]
mod chains;
#[path = "served/deadlocks.rs"]
mod deadlocks;
#[path = "served/robust.rs"]
mod robust;
#[path = "served/runtimes.rs"]
mod runtimes;
#[path = "served/serving.rs"]
mod serving;

fn daemon() -> antifreeze::DaemonBuilder {
    antifreeze::Daemon::builder()
}

/// Tells which thread decoded it.
struct Decoded(String);

impl<'de> serde::Deserialize<'de> for Decoded {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?;
        let thread = std::thread::current();
        Ok(Self(thread.name().unwrap_or_default().to_owned()))
    }
}

struct Reader;

#[antifreeze::expose]
impl Reader {
    #[quick]
    fn decoded_by(&self, text: Decoded) -> String {
        text.0
    }
}

#[test]
fn what_may_stand_for_much_is_read_beside_the_event_loop() {
    let daemon = daemon().bind("localhost:0").unwrap();
    let uri = daemon.register("reader", Reader).unwrap();
    let _running = daemon.start().unwrap();
    let decoded_by = |size: usize, compress: bool| -> String {
        let mut config = antifreeze::Config::default();
        config.compression = compress;
        let builder = antifreeze::Proxy::builder(&uri).unwrap().config(config);
        let proxy = builder.connect().unwrap();
        proxy.call("decoded_by", ("x".repeat(size),)).unwrap()
    };
    let event_loop = decoded_by(10, false);
    assert_eq!(decoded_by(1000, false), event_loop);
    assert_eq!(decoded_by(1000, true), event_loop);
    // This many bytes, or a few that stand for as many.
    assert_ne!(decoded_by(100_000, false), event_loop);
    assert_ne!(decoded_by(100_000, true), event_loop);
}
