//! Pyro messages in prepared bytes: complete messages are found by their headers and numbered, but
//! nothing is encoded, decoded or looked up. What is left is the cost of the other end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Result, bail, ensure};

use super::{ClientOptions, accept};
use crate::wire::{self, HEADER, OBJECT};

/// Big enough for any of the messages.
const BUFFER: usize = 4096;

pub(super) fn serve() -> Result<(String, impl FnOnce() -> Result<()> + Send + 'static)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("PYRO:{OBJECT}@{}", listener.local_addr()?);
    Ok((address, move || accept(&listener, answer)))
}

fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; BUFFER];
    let Some(length) = read_message(&mut stream, &mut buffer)? else {
        return Ok(());
    };
    let question = &buffer[..length];
    ensure!(
        wire::is_connect(question),
        "the client began with something else than CONNECT"
    );
    let serializer = wire::serializer(question)?;
    let mut welcome = wire::connect_ok(serializer);
    wire::address_to(&mut welcome, question);
    stream.write_all(&welcome)?;

    let mut reply = wire::reply(serializer);
    while let Some(length) = read_message(&mut stream, &mut buffer)? {
        wire::address_to(&mut reply, &buffer[..length]);
        stream.write_all(&reply)?;
    }
    Ok(())
}

pub(super) fn client(options: &ClientOptions) -> Result<impl FnMut() -> Result<()> + use<>> {
    let Some((_, location)) = options.address.split_once('@') else {
        bail!("{} is no Pyro URI", options.address);
    };
    let mut stream = TcpStream::connect(location)?;
    stream.set_nodelay(true)?;
    let mut buffer = [0; BUFFER];
    stream.write_all(&wire::connect(options.serializer))?;
    ensure!(
        read_message(&mut stream, &mut buffer)?.is_some(),
        "the server refused to connect"
    );

    let mut request = wire::request(options.serializer);
    let mut sequence = 0_u16;
    Ok(move || {
        sequence = sequence.wrapping_add(1);
        wire::number(&mut request, sequence);
        stream.write_all(&request)?;
        let length = read_message(&mut stream, &mut buffer)?.unwrap_or(0);
        let answered = length > HEADER && wire::is_reply_to(&buffer, sequence);
        ensure!(answered, "call {sequence} was not answered");
        Ok(())
    })
}

/// Reads one message, with one read when it has come as a whole; `None` at the end of the stream.
fn read_message(stream: &mut TcpStream, buffer: &mut [u8; BUFFER]) -> Result<Option<usize>> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => bail!("the stream ended inside a message"),
            read => filled += read,
        }
        if let Some(length) = wire::length(&buffer[..filled]).filter(|length| *length <= filled) {
            ensure!(length == filled, "more than one message at once");
            return Ok(Some(length));
        }
    }
}
