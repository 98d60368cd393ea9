//! Megabytes as arguments.

use std::convert::Infallible;

use antifreeze::{Bytes, Exception, InstanceMode, Value, expose};
use antifreeze_interop::equal;
use serde::Deserialize;

use crate::{Guest, Stage};

/// Text, or bytes in whichever form a serializer has for them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Text(String),
    Bytes(Bytes),
}

struct TestClass;

#[expose]
impl TestClass {
    fn transfer(&self, data: Value) -> Result<usize, Exception> {
        let length = match antifreeze::from_value(data) {
            Ok(Data::Text(text)) => text.len(),
            Ok(Data::Bytes(bytes)) => bytes.len(),
            Err(error) => {
                return Err(Exception::new("builtins.TypeError", error.to_string()));
            }
        };
        println!("received {length} bytes");
        Ok(length)
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let create = || Ok::<_, Infallible>(TestClass);
    let id = "example.hugetransfer";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const SIZE: usize = 5 << 20;
    let object = guest.proxy(guest.word(0)?)?;
    let (text, bytes) = ("x".repeat(SIZE), Bytes::from(vec![b'x'; SIZE]));
    for _ in 0..3 {
        equal(object.call::<usize>("transfer", (&text,))?, SIZE)?;
        equal(object.call::<usize>("transfer", (&bytes,))?, SIZE)?;
    }
    Ok(())
}
