//! Blocking TCP and nothing else: the bytes of a msgpack call back and forth, one write and one
//! read a side. What no remote call can beat.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Result, ensure};

use super::{ClientOptions, accept};
use crate::wire::{self, Serializer};

/// Big enough for either message.
const BUFFER: usize = 4096;

pub(super) fn serve() -> Result<(String, impl FnOnce() -> Result<()> + Send + 'static)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    Ok((address, move || accept(&listener, answer)))
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let expected = wire::request(Serializer::Msgpack).len();
    let reply = wire::reply(Serializer::Msgpack);
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => ensure!(read == expected, "read {read} bytes instead of {expected}"),
        }
        stream.write_all(&reply)?;
    }
}

pub(super) fn client(options: &ClientOptions) -> Result<impl FnMut() -> Result<()> + use<>> {
    let mut stream = TcpStream::connect(&options.address)?;
    stream.set_nodelay(true)?;
    let request = wire::request(Serializer::Msgpack);
    let expected = wire::reply(Serializer::Msgpack).len();
    let mut buffer = [0; BUFFER];
    Ok(move || {
        stream.write_all(&request)?;
        let read = stream.read(&mut buffer)?;
        ensure!(read == expected, "read {read} bytes instead of {expected}");
        Ok(())
    })
}
