//! Megabytes as arguments, and as results that come in pieces.

use std::convert::Infallible;

use antifreeze::{Bytes, Exception, InstanceMode, Value, expose, from_value};
use antifreeze_interop::equal;

use crate::{Guest, Stage};

const CHUNK_BYTES: usize = 200_000;

struct TestClass;

#[expose]
impl TestClass {
    fn transfer(&self, data: Value) -> Result<usize, Exception> {
        let length = match &data {
            Value::Str(text) => text.as_bytes().len(),
            _ => from_value::<Bytes>(data)
                .map_err(|error| Exception::new("builtins.TypeError", error.to_string()))?
                .len(),
        };
        println!("received {length} bytes");
        Ok(length)
    }

    fn download_chunks(&self, size: usize) -> impl Iterator<Item = Bytes> + use<> {
        println!("client requests a 'streaming' download of {size} bytes");
        let data = Bytes::from(vec![0; size]);
        let end = move |at| size.min(at + CHUNK_BYTES);
        (0..size)
            .step_by(CHUNK_BYTES)
            .map(move |at| data.slice(at..end(at)))
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
    let chunks = object.stream::<Bytes>("download_chunks", (SIZE,))?;
    let sizes = chunks.map(|chunk| Ok(chunk?.len()));
    let sizes = sizes.collect::<anyhow::Result<Vec<_>>>()?;
    equal(sizes.len(), SIZE.div_ceil(CHUNK_BYTES))?;
    equal(sizes.iter().sum::<usize>(), SIZE)
}
