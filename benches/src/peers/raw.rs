//! Blocking TCP and bytes whose lengths both ends know: what no remote call can beat. An echo is
//! stored as a whole before it is forwarded, as whoever has to decode it does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Result, ensure};

use super::Job;
use super::contestants::Serve;
use super::repeat::{Calls, in_threads};
use super::workloads::Workload;
use crate::wire::{self, Serializer};

/// Questions and answers of a connection, each of one length.
#[derive(Clone)]
pub(super) struct Exchange {
    pub(super) question: Vec<u8>,
    pub(super) answer_length: usize,
    pub(super) in_flight: usize,
}

impl Exchange {
    /// The bytes of the msgpack call, or those that are echoed.
    pub(super) fn of(workload: Workload) -> Self {
        let (question, answer_length) = match workload.echo() {
            Some(length) => (vec![0x5a; length], length),
            None => (
                wire::request(Serializer::Msgpack),
                wire::reply(Serializer::Msgpack).len(),
            ),
        };
        Self {
            question,
            answer_length,
            in_flight: workload.in_flight(),
        }
    }
}

/// Bytes that come in pieces, counted in messages of one length.
pub(super) struct Inbox {
    buffer: Vec<u8>,
    filled: usize,
    length: usize,
}

impl Inbox {
    /// With room for `count` messages.
    pub(super) fn new(length: usize, count: usize) -> Self {
        Self {
            buffer: vec![0; length * count],
            filled: 0,
            length,
        }
    }

    /// Where to read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// Notes that so much was read; gives how many messages are whole now, and takes them out.
    pub(super) fn read(&mut self, count: usize) -> Result<usize> {
        ensure!(count > 0, "the stream ended");
        self.filled += count;
        let whole = self.filled / self.length;
        // Nobody looks at what they say: the rest of the next one may stay where it is.
        self.filled %= self.length;
        Ok(whole)
    }

    /// The bytes of the message that was taken out last, if there is room for one only.
    pub(super) fn message(&self) -> &[u8] {
        &self.buffer
    }
}

pub(super) fn serve(job: Job) -> Result<(String, Serve)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let serve = move || {
        loop {
            let (stream, _) = listener.accept()?;
            // It fails when the client goes, which is how every session ends.
            thread::spawn(move || answer(stream, job.workload));
        }
    };
    Ok((address, Box::new(serve)))
}

fn answer(mut stream: TcpStream, workload: Workload) -> Result<()> {
    stream.set_nodelay(true)?;
    let Exchange {
        question,
        in_flight,
        ..
    } = Exchange::of(workload);
    let answers = wire::reply(Serializer::Msgpack).repeat(in_flight);
    let mut inbox = Inbox::new(question.len(), in_flight);
    loop {
        let read = stream.read(inbox.room())?;
        let whole = inbox.read(read)?;
        match workload.echo() {
            None => stream.write_all(&answers[..answers.len() / in_flight * whole])?,
            Some(_) if whole > 0 => stream.write_all(inbox.message())?,
            Some(_) => {}
        }
    }
}

/// Connects, and exchanges as the job says.
pub(super) fn clients(job: Job, address: &str, exchange: &Exchange) -> Result<Calls> {
    let callers = (0..job.workload.connections()).map(|_| {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(caller(stream, exchange.clone()))
    });
    in_threads(job, callers.collect::<Result<_>>()?)
}

/// Asks until so many questions are in flight, in one write, then waits until some are answered.
fn caller(mut stream: TcpStream, exchange: Exchange) -> impl FnMut() -> Result<usize> + use<> {
    let Exchange {
        question,
        answer_length,
        in_flight,
    } = exchange;
    let questions = question.repeat(in_flight);
    let mut inbox = Inbox::new(answer_length, in_flight);
    let mut answered = in_flight;
    move || {
        stream.write_all(&questions[..question.len() * answered])?;
        answered = 0;
        while answered == 0 {
            let read = stream.read(inbox.room())?;
            answered = inbox.read(read)?;
        }
        Ok(answered)
    }
}
