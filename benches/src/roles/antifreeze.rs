//! Antifreeze at either end, as its users write it.

use antifreeze::{Daemon, Proxy, expose};
use anyhow::{Result, ensure};

use super::ClientOptions;
use crate::wire::{OBJECT, Serializer};

struct Calculator;

#[expose]
impl Calculator {
    #[quick]
    fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

pub(super) fn serve() -> Result<(String, impl FnOnce() -> Result<()> + Send + 'static)> {
    let daemon = Daemon::builder().threads().bind("127.0.0.1:0")?;
    let uri = daemon.register(OBJECT, Calculator)?;
    Ok((uri.to_string(), move || Ok(daemon.serve()?)))
}

pub(super) fn client(options: &ClientOptions) -> Result<impl FnMut() -> Result<()> + use<>> {
    let serializer = match options.serializer {
        Serializer::Msgpack => antifreeze::Serializer::Msgpack,
        Serializer::Json => antifreeze::Serializer::Json,
        Serializer::Serpent => antifreeze::Serializer::Serpent,
    };
    let proxy = Proxy::builder(options.address.as_str())?
        .serializer(serializer)
        .connect()?;
    Ok(move || {
        let sum: i64 = proxy.call("add", (20, 22))?;
        ensure!(sum == 42, "20 + 22 came back as {sum}");
        Ok(())
    })
}
