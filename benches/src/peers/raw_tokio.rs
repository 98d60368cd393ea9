//! As raw TCP, in tasks of tokio: what an event loop costs before there is any library.

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Job;
use super::raw::{Exchange, Inbox};
use super::repeat::{Caller, Calls, in_tasks};
use super::workloads::Workload;
use crate::wire::{self, Serializer};

pub(super) async fn serve(job: Job) -> Result<(String, impl Future<Output = Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let serve = async move {
        loop {
            let (stream, _) = listener.accept().await?;
            // It fails when the client goes, which is how every session ends.
            tokio::spawn(answer(stream, job.workload));
        }
    };
    Ok((address, serve))
}

async fn answer(mut stream: TcpStream, workload: Workload) -> Result<()> {
    stream.set_nodelay(true)?;
    let Exchange {
        question,
        in_flight,
        ..
    } = Exchange::of(workload);
    let answers = wire::reply(Serializer::Msgpack).repeat(in_flight);
    let mut inbox = Inbox::new(question.len(), in_flight);
    loop {
        let read = stream.read(inbox.room()).await?;
        let whole = inbox.read(read)?;
        match workload.echo() {
            None => {
                let answers = &answers[..answers.len() / in_flight * whole];
                stream.write_all(answers).await?;
            }
            Some(_) if whole > 0 => stream.write_all(inbox.message()).await?,
            Some(_) => {}
        }
    }
}

pub(super) async fn clients(job: Job, address: &str) -> Result<Calls> {
    let mut callers = Vec::new();
    for _ in 0..job.workload.connections() {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Exchange {
            question,
            answer_length,
            in_flight,
        } = Exchange::of(job.workload);
        callers.push(Connection {
            stream,
            questions: question.repeat(in_flight),
            question_length: question.len(),
            inbox: Inbox::new(answer_length, in_flight),
            answered: in_flight,
        });
    }
    in_tasks(job, callers).await
}

struct Connection {
    stream: TcpStream,
    questions: Vec<u8>,
    question_length: usize,
    inbox: Inbox,
    /// By the call before.
    answered: usize,
}

impl Caller for Connection {
    async fn call(&mut self) -> Result<usize> {
        let questions = &self.questions[..self.question_length * self.answered];
        self.stream.write_all(questions).await?;
        self.answered = 0;
        while self.answered == 0 {
            let read = self.stream.read(self.inbox.room()).await?;
            self.answered = self.inbox.read(read)?;
        }
        Ok(self.answered)
    }
}
