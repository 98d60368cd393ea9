//! A scripted peer on a real socket: it sends any bytes and says what it expects, and when.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use antifreeze_proto::SerializerId;
use socket2::SockRef;

use crate::raw::RawMessage;

/// One end of a TCP connection in the hands of a test.
///
/// Every method that waits is bounded, and panics with what it had until then.
#[derive(Debug)]
pub struct Peer {
    socket: TcpStream,
    buffered: Vec<u8>,
    patience: Duration,
}

impl Peer {
    /// How long a peer waits, unless told otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Connects to a daemon.
    ///
    /// # Panics
    ///
    /// If nobody listens there.
    pub fn connect(address: impl ToSocketAddrs) -> Self {
        Self::from(TcpStream::connect(address).expect("somebody listens"))
    }

    /// Waits for a client to connect. The detectors of deadlocks do not count as such: on a busy machine
    /// they ask after whoever is waited for a little long.
    ///
    /// # Panics
    ///
    /// If none does in time.
    pub fn accept(listener: &TcpListener) -> Self {
        let end = Instant::now() + Self::PATIENCE;
        listener.set_nonblocking(true).expect("a listener");
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(false).expect("a socket");
                    if !is_detector(&socket) {
                        return Self::from(socket);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("no client connected: {error}"),
            }
        }
    }

    /// A listener on a free port of this machine, and its address.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        (listener, address)
    }

    /// Waits at most so long from now on.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    ///
    /// If the other end does not take them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.socket
            .set_write_timeout(Some(self.patience))
            .expect("a socket");
        self.socket
            .write_all(bytes)
            .expect("the other end takes the bytes");
    }

    /// Sends bytes as they are; false if the other end does not take them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        let patience = Some(self.patience);
        let bounded = self.socket.set_write_timeout(patience);
        bounded.and_then(|()| self.socket.write_all(bytes)).is_ok()
    }

    /// Sends bytes one by one, each in a segment of its own where the network allows it.
    pub fn send_slowly(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(&[*byte]);
            std::thread::sleep(pause);
        }
    }

    /// Sends a message.
    pub fn send_message(&mut self, message: &RawMessage) {
        self.send(&message.encode());
    }

    /// Sends a CONNECT for this object and returns the answer.
    pub fn shake_hands(&mut self, object: &str) -> RawMessage {
        self.send_message(&RawMessage::connect(object));
        self.expect_message()
    }

    /// Waits for `count` bytes.
    ///
    /// # Panics
    ///
    /// If they do not come in time.
    pub fn expect_bytes(&mut self, count: usize) -> Vec<u8> {
        let end = Instant::now() + self.patience;
        while self.buffered.len() < count {
            match self.read_until(end) {
                Some(0) => panic!(
                    "expected {count} bytes, got {} and eof",
                    self.buffered.len()
                ),
                Some(_) => {}
                None => panic!(
                    "expected {count} bytes, got {} in time",
                    self.buffered.len()
                ),
            }
        }
        self.buffered.drain(..count).collect()
    }

    /// Lets a proxy in as a daemon of Pyro5 does, and answers what it asks then, with nothing: which
    /// sort of server this is.
    ///
    /// # Panics
    ///
    /// If it does not ask that in time.
    pub fn let_in(&mut self, welcome: &RawMessage) {
        self.send_message(welcome);
        let question = self.expect_message();
        assert!(
            contains(&question.payload, b"Pyro.Daemon") && contains(&question.payload, b"info"),
            "expected a question for the sort of server, got {question:?}"
        );
        let nothing = RawMessage::result(question.seq, "");
        self.send_message(&nothing.serializer(SerializerId(question.serializer)));
    }

    /// Waits for a message.
    ///
    /// # Panics
    ///
    /// If it does not come in time.
    pub fn expect_message(&mut self) -> RawMessage {
        let mut bytes = self.expect_bytes(40);
        let length = RawMessage::length(&bytes).expect("a header");
        bytes.extend(self.expect_bytes(length - bytes.len()));
        RawMessage::decode(&bytes).expect("a whole message").0
    }

    /// Waits for the other end to close; a reset counts.
    ///
    /// # Panics
    ///
    /// If it sends something instead, or does not close in time.
    pub fn expect_eof(&mut self) {
        let end = Instant::now() + self.patience;
        let got = self.read_until(end);
        assert!(
            self.buffered.is_empty(),
            "expected eof, got {} bytes",
            self.buffered.len()
        );
        assert_eq!(got, Some(0), "expected eof, nothing came in time");
    }

    /// Makes sure that nothing comes, not even the end, for so long.
    ///
    /// # Panics
    ///
    /// If something does.
    pub fn expect_silence(&mut self, duration: Duration) {
        let got = self.read_until(Instant::now() + duration);
        assert_eq!(
            got,
            None,
            "expected silence, got {} bytes or eof",
            self.buffered.len()
        );
        assert!(
            self.buffered.is_empty(),
            "expected silence, got {} bytes",
            self.buffered.len()
        );
    }

    /// Sends nothing more, and goes on reading.
    pub fn shutdown_write(&mut self) {
        self.socket
            .shutdown(Shutdown::Write)
            .expect("a connected socket");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let zero = Some(Duration::ZERO);
        SockRef::from(&self.socket)
            .set_linger(zero)
            .expect("a socket");
    }

    /// The socket itself.
    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Reads once: how much came, `Some(0)` at the end, `None` if nothing came in time.
    fn read_until(&mut self, end: Instant) -> Option<usize> {
        // Zero would mean no time-out at all.
        let left = end
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left)).expect("a socket");
        let mut chunk = [0; 65_536];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(count) => {
                    self.buffered.extend_from_slice(&chunk[..count]);
                    return Some(count);
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return None,
                    ErrorKind::ConnectionReset => return Some(0),
                    _ => panic!("reading: {error}"),
                },
            }
        }
    }
}

impl From<TcpStream> for Peer {
    fn from(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket");
        Self {
            socket,
            buffered: Vec::new(),
            patience: Self::PATIENCE,
        }
    }
}

/// Whether the first thing that comes is a CONNECT of a detector to another of its kind.
fn is_detector(socket: &TcpStream) -> bool {
    let mut bytes = [0; 512];
    let patience = socket.set_read_timeout(Some(Duration::from_millis(200)));
    let seen = socket.peek(&mut bytes).unwrap_or(0);
    let patience = patience.and_then(|()| socket.set_read_timeout(None));
    patience.expect("a socket");
    contains(&bytes[..seen], b"Antifreeze.Detector")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
