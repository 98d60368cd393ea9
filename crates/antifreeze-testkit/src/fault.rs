//! A proxy on real sockets that does to its connections what networks do, and reorders nothing.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::pair::End;

/// Stands between clients and a daemon, and spoils what passes.
///
/// Every connection to [`address`](Self::address) is carried on to the daemon by a thread of its
/// own. What happens to the bytes is said for each direction, for all connections at once, and may
/// be changed while they are open. Dropping the proxy resets them all.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What happens to the bytes of one direction from now on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fault {
    /// They arrive.
    #[default]
    Pass,
    /// They arrive later by that much.
    Delay(Duration),
    /// They arrive one by one, so far apart.
    Drip(Duration),
    /// They wait where they are, until the sender's socket is full.
    Hold,
    /// They are taken and lost, and so is the end: the connection is half open.
    Vanish,
    /// The connection ends when so many have arrived since it was made: in order for this direction
    /// alone, with a reset for both.
    Cut(u64, End),
}

/// A direction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// From clients to the daemon.
    ToServer,
    /// From the daemon to clients.
    ToClient,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    faults: [Fault; 2],
    carried: [u64; 2],
    /// Connections before that one are over, and how they ended.
    cut: Option<(u64, End)>,
    next_id: u64,
    /// Writing to one makes the connection's thread look here again.
    wakers: HashMap<u64, UnixStream>,
    closed: bool,
}

impl FaultProxy {
    /// A proxy in front of the daemon at `target`, which does no harm yet.
    ///
    /// # Panics
    ///
    /// If this machine has no port or no thread left.
    pub fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared = Arc::new(Shared(Mutex::default()));
        let acceptor = Arc::clone(&shared);
        spawn(move || acceptor.accept_all(&listener, target));
        Self { address, shared }
    }

    /// Where clients connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets that happen to what passes in this direction from now on.
    pub fn set(&self, way: Way, fault: Fault) {
        self.shared
            .change(|state| state.faults[way as usize] = fault);
    }

    /// Ends every connection that is open now.
    pub fn cut(&self, end: End) {
        self.shared
            .change(|state| state.cut = Some((state.next_id, end)));
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.lock().wakers.len()
    }

    /// How many bytes have arrived in this direction, on all connections.
    pub fn carried(&self, way: Way) -> u64 {
        self.shared.lock().carried[way as usize]
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.cut(End::Reset);
        self.shared.lock().closed = true;
        // So that the acceptor looks up.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        for mut waker in state.wakers.values() {
            // One that is full wakes, too.
            let _ = waker.write(&[0]);
        }
    }

    fn accept_all(self: Arc<Self>, listener: &TcpListener, target: SocketAddr) {
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            if self.lock().closed {
                return;
            }
            let Ok(server) = TcpStream::connect(target) else {
                reset(&client);
                continue;
            };
            let (waker, woken) = UnixStream::pair().expect("a pair of sockets");
            for socket in [&waker, &woken] {
                socket.set_nonblocking(true).expect("a socket");
            }
            let mut state = self.lock();
            let id = state.next_id;
            state.next_id += 1;
            state.wakers.insert(id, waker);
            drop(state);
            let shared = Arc::clone(&self);
            spawn(move || {
                let ends = [client, server];
                if Carrier::new(id, &ends, &woken, &shared).run().is_err() {
                    // Whatever one end suffers, the other shall, too.
                    ends.iter().for_each(reset);
                }
                // Counted for as long as the sockets are open.
                drop(ends);
                shared.lock().wakers.remove(&id);
            });
        }
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name("fault-proxy".to_owned());
    thread.stack_size(256 << 10).spawn(run).expect("a thread");
}

/// Lets the socket end with a reset when it is dropped.
fn reset(socket: &TcpStream) {
    // If it has ended already, all the better.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// One connection.
struct Carrier<'a> {
    id: u64,
    ends: &'a [TcpStream; 2],
    woken: &'a UnixStream,
    shared: &'a Shared,
    /// By [`Way`]: the first takes from the first end.
    lanes: [Lane; 2],
}

/// One direction of a connection.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Piece>,
    queued: usize,
    delivered: u64,
    /// The sender says nothing more.
    eof: bool,
    /// The reader was told that nothing more comes.
    ended: bool,
    /// What came was lost, so the reader must not be told that it was all.
    lossy: bool,
    /// The reader takes nothing at the moment.
    full: bool,
    next_drop: Option<Instant>,
}

/// Bytes that arrived together, and when they may go on.
struct Piece {
    bytes: Vec<u8>,
    sent: usize,
    due: Instant,
}

/// What one direction may hold.
const ROOM: usize = 64 << 10;

impl<'a> Carrier<'a> {
    fn new(id: u64, ends: &'a [TcpStream; 2], woken: &'a UnixStream, shared: &'a Shared) -> Self {
        let lanes = [Lane::default(), Lane::default()];
        Self {
            id,
            ends,
            woken,
            shared,
            lanes,
        }
    }

    /// Carries bytes until both directions have ended, or one is broken.
    fn run(mut self) -> io::Result<()> {
        for end in self.ends {
            end.set_nodelay(true)?;
            end.set_nonblocking(true)?;
        }
        loop {
            let state = self.shared.lock();
            let (faults, cut) = (state.faults, state.cut);
            drop(state);
            match cut.filter(|(before, _)| self.id < *before) {
                Some((_, End::Reset)) => return Err(ErrorKind::ConnectionReset.into()),
                Some((_, End::Eof)) => {
                    for (lane, to) in self.lanes.iter_mut().zip(self.ends.iter().rev()) {
                        lane.end(to);
                    }
                }
                None => {}
            }
            let now = Instant::now();
            for (way, &fault) in faults.iter().enumerate() {
                let (from, to) = (&self.ends[way], &self.ends[1 - way]);
                let lane = &mut self.lanes[way];
                let before = lane.delivered;
                lane.take(fault, from, now)?;
                let given = lane.give(fault, to, now);
                self.shared.lock().carried[way] += lane.delivered - before;
                given?;
            }
            if self.lanes.iter().all(|lane| lane.eof && lane.ended) {
                return Ok(());
            }
            self.wait(faults, now)?;
        }
    }

    /// Until there is something to do.
    fn wait(&self, faults: [Fault; 2], now: Instant) -> io::Result<()> {
        let mut wanted = vec![PollFd::new(self.woken, PollFlags::IN)];
        for (index, end) in self.ends.iter().enumerate() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, self.lanes[index].wants(faults[index]));
            flags.set(PollFlags::OUT, self.lanes[1 - index].full);
            // One that nobody waits for would report its end again and again.
            if !flags.is_empty() {
                wanted.push(PollFd::new(end, flags));
            }
        }
        let lanes = self.lanes.iter().zip(faults);
        let next = lanes.filter_map(|(lane, fault)| lane.next(fault)).min();
        let timeout = next.map(|at| at.saturating_duration_since(now));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut wanted, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(why) => return Err(why.into()),
        }
        let mut woken = self.woken;
        let _ = woken.read(&mut [0; 64]);
        Ok(())
    }
}

impl Lane {
    /// Whether more of the sender is welcome.
    fn wants(&self, fault: Fault) -> bool {
        !self.eof && fault != Fault::Hold && (self.ended || self.queued < ROOM)
    }

    /// Takes what the sender has sent.
    fn take(&mut self, fault: Fault, mut from: &TcpStream, now: Instant) -> io::Result<()> {
        if !self.wants(fault) {
            return Ok(());
        }
        let mut chunk = [0; 16 << 10];
        let lost = self.ended || fault == Fault::Vanish;
        match from.read(&mut chunk) {
            Ok(0) => self.eof = true,
            Ok(count) if !lost => {
                let bytes = chunk[..count].to_vec();
                let due = match fault {
                    Fault::Delay(delay) => now + delay,
                    _ => now,
                };
                self.queued += count;
                self.queue.push_back(Piece {
                    bytes,
                    sent: 0,
                    due,
                });
            }
            Ok(_) => {}
            Err(why) if is_nothing(&why) => return Ok(()),
            Err(_) if fault == Fault::Vanish => self.eof = true,
            Err(why) => return Err(why),
        }
        self.lossy |= fault == Fault::Vanish;
        Ok(())
    }

    /// Gives the reader what it may have by now.
    fn give(&mut self, fault: Fault, mut to: &TcpStream, now: Instant) -> io::Result<()> {
        self.full = false;
        while let Some(piece) = self.queue.front_mut() {
            let rest = &piece.bytes[piece.sent..];
            let allowed = match fault {
                Fault::Hold | Fault::Vanish => return Ok(()),
                Fault::Drip(_) if self.next_drop.is_some_and(|at| now < at) => return Ok(()),
                Fault::Drip(pause) => {
                    self.next_drop = Some(now + pause);
                    1
                }
                Fault::Cut(after, _) => {
                    let left = after.saturating_sub(self.delivered);
                    usize::try_from(left).unwrap_or(usize::MAX)
                }
                Fault::Pass | Fault::Delay(_) => usize::MAX,
            };
            let allowed = allowed.min(rest.len());
            if piece.due > now || allowed == 0 {
                break;
            }
            let written = match to.write(&rest[..allowed]) {
                Err(why) if is_nothing(&why) => {
                    self.full = true;
                    return Ok(());
                }
                written => written?,
            };
            piece.sent += written;
            self.queued -= written;
            self.delivered += written as u64;
            if piece.sent == piece.bytes.len() {
                self.queue.pop_front();
            }
        }
        match fault {
            Fault::Cut(after, End::Reset) if self.delivered >= after => {
                Err(ErrorKind::ConnectionReset.into())
            }
            Fault::Cut(after, End::Eof) if self.delivered >= after => {
                self.end(to);
                Ok(())
            }
            Fault::Hold => Ok(()),
            _ => {
                if self.eof && self.queue.is_empty() && !self.lossy {
                    self.end(to);
                }
                Ok(())
            }
        }
    }

    /// Tells the reader that nothing more comes.
    fn end(&mut self, to: &TcpStream) {
        if !self.ended {
            self.ended = true;
            self.queue.clear();
            self.queued = 0;
            // It may be gone.
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    /// When there is something to give, if that is a matter of time.
    fn next(&self, fault: Fault) -> Option<Instant> {
        let due = self.queue.front()?.due;
        match fault {
            Fault::Hold | Fault::Vanish => None,
            _ if self.full => None,
            Fault::Drip(_) => self.next_drop.map(|at| at.max(due)).or(Some(due)),
            _ => Some(due),
        }
    }
}

fn is_nothing(why: &io::Error) -> bool {
    matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
