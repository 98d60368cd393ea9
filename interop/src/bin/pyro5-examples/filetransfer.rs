//! Megabytes as results: whole, in pieces, beside the items of a stream, and past Pyro altogether.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use antifreeze::{Bytes, Error, InstanceMode, ItemStream, call, expose};
use antifreeze_interop::equal;
use anyhow::{Context as _, ensure};
use parking_lot::Mutex;

use crate::{Guest, Stage};

const FILE_BYTES: usize = 55_000_000;
const CHUNK_BYTES: usize = 500_000;

/// The blobs that were prepared, by their ids, which have 36 characters.
type Blobs = Arc<Mutex<BTreeMap<String, usize>>>;

struct FileServer {
    blobs: Blobs,
    port: u16,
}

#[expose]
impl FileServer {
    fn get_with_pyro(&self, size: usize) -> Bytes {
        vec![b'x'; size].into()
    }

    fn iterator(&self, size: usize) -> impl Iterator<Item = Bytes> + use<> {
        let data = Bytes::from(vec![b'x'; size]);
        let chunk = (size / 100).max(1);
        (0..size)
            .step_by(chunk)
            .map(move |at| data.slice(at..size.min(at + chunk)))
    }

    /// Where each item ends; the data go with its answer.
    fn annotation_stream(
        &self,
        #[default = false] _with_checksum: bool,
    ) -> ItemStream<(usize, u32)> {
        let ends = (0..FILE_BYTES).step_by(CHUNK_BYTES);
        ItemStream::try_new(ends.map(|at| {
            let end = FILE_BYTES.min(at + CHUNK_BYTES);
            let chunk: Vec<u8> = b"1234567890!"
                .iter()
                .copied()
                .cycle()
                .skip(at % 11)
                .take(end - at)
                .collect();
            call::set_response_annotation("FDAT", chunk)?;
            Ok::<_, Error>((end, 0))
        }))
    }

    fn prepare_file_blob(&self, size: usize) -> (String, (&'static str, u16)) {
        let id = uuid::Uuid::new_v4().to_string();
        self.blobs.lock().insert(id.clone(), size);
        (id, ("127.0.0.1", self.port))
    }
}

/// Gives a blob to whoever connects and says its id.
fn give(mut socket: TcpStream, blobs: &Blobs) -> anyhow::Result<()> {
    let mut id = [0; 36];
    socket.read_exact(&mut id)?;
    let size = blobs.lock().remove(std::str::from_utf8(&id)?);
    let block = vec![b'x'; 1 << 16];
    let mut left = size.context("no such blob")?;
    while left > 0 {
        let count = left.min(block.len());
        socket.write_all(&block[..count])?;
        left -= count;
    }
    Ok(())
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let blobs = Blobs::default();
    let given = Arc::clone(&blobs);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let blobs = Arc::clone(&given);
            thread::spawn(move || give(socket, &blobs));
        }
    });
    let create = move || {
        let blobs = Arc::clone(&blobs);
        Ok::<_, Infallible>(FileServer { blobs, port })
    };
    let id = "example.filetransfer";
    let uri = stage
        .daemon
        .register_class(id, InstanceMode::Session, create)?;
    println!("{uri}");
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const SIZE: usize = 2_000_000;
    let server = guest.proxy(guest.word(0)?)?;
    let whole: Bytes = server.call("get_with_pyro", (SIZE,))?;
    equal(whole.len(), SIZE)?;
    let mut pieces = 0;
    for chunk in server.stream::<Bytes>("iterator", (SIZE,))? {
        pieces += chunk?.len();
    }
    equal(pieces, SIZE)?;

    let mut got = 0;
    for item in server.stream::<(usize, u32)>("annotation_stream", ())? {
        let (progress, _) = item?;
        let chunk = call::response_annotation("FDAT").context("an item without its data")?;
        ensure!(
            chunk.first() == Some(&b"1234567890!"[got % 11]),
            "other data"
        );
        got += chunk.len();
        equal(got, progress)?;
    }
    equal(got, FILE_BYTES)?;

    let (id, (host, port)): (String, (String, u16)) = server.call("prepare_file_blob", (SIZE,))?;
    let mut socket = TcpStream::connect((&*host, port))?;
    socket.write_all(id.as_bytes())?;
    let mut blob = Vec::new();
    socket.read_to_end(&mut blob)?;
    equal(blob.len(), SIZE)
}
