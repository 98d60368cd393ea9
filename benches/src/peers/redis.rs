//! redis-server's PING and ECHO: no remote call, but what a tuned server in C answers.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Job;
use super::raw::{self, Exchange};
use super::repeat::Calls;
use super::workloads::Workload;
use crate::roles::ServerReport;

const SERVER: &str = "redis-server";

/// What `redis-server --version` says, if there is one.
pub(super) fn version() -> Option<String> {
    let output = Command::new(SERVER).arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let version = said.split(' ').find_map(|word| word.strip_prefix("v="))?;
    Some(format!("{SERVER} {version}"))
}

/// Is a server, as the other servers are: says where, and ends with its input.
pub(crate) fn serve() -> Result<()> {
    let (address, server) = start()?;
    println!("{address}");
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(server);
    let report = ServerReport { allocations: None };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// Starts one that writes nothing to disk, on a port that was free a moment before.
fn start() -> Result<(SocketAddr, Running)> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let port = address.port().to_string();
    let child = Command::new(SERVER)
        .args(["--port", &port, "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let server = Running(child.with_context(|| format!("cannot start {SERVER}"))?);
    let patience = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < patience, "{SERVER} does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    Ok((address, server))
}

/// A server that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail for a child that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As redis-benchmark does, with what is in flight after its `-P`.
pub(super) fn clients(job: Job, address: &str) -> Result<Calls> {
    raw::clients(job, address, &exchange(job.workload))
}

fn exchange(workload: Workload) -> Exchange {
    let (question, answer_length) = match workload.echo() {
        None => (b"*1\r\n$4\r\nPING\r\n".to_vec(), b"+PONG\r\n".len()),
        Some(length) => {
            let data = "Z".repeat(length);
            let question = format!("*2\r\n$4\r\nECHO\r\n${length}\r\n{data}\r\n");
            (
                question.into_bytes(),
                format!("${length}\r\n{data}\r\n").len(),
            )
        }
    };
    Exchange {
        question,
        answer_length,
        in_flight: workload.in_flight(),
    }
}
