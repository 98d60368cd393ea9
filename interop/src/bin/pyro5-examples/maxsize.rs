//! A bound on the size of messages; the server is `antifreeze echo`, or Pyro5's.

use antifreeze::{ErrorKind, Proxy, Value};
use antifreeze_interop::{equal, failed};

use crate::Guest;

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let huge = vec![42; 10_000];
    let uri = guest.word(0)?;
    let echoed: Vec<i64> = guest.proxy(uri)?.call("echo", (&huge,))?;
    equal(&echoed, &huge)?;

    let mut config = guest.config.clone();
    config.message_bytes = 2500;
    let proxy = Proxy::builder(uri)?.config(config).connect()?;
    failed(
        proxy.call::<Value>("echo", (&huge,)),
        &[ErrorKind::Usage],
        "2500",
    )?;
    equal(proxy.call::<i64>("echo", (1,))?, 1)
}
