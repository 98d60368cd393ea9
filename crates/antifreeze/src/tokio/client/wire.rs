//! A socket to a daemon, waited for by a task.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ::tokio::io::Interest;
use ::tokio::io::unix::AsyncFd;
use ::tokio::runtime::Handle;
use ::tokio::task::spawn_blocking;
use ::tokio::time::{self, sleep, timeout, timeout_at};
use antifreeze_proto::{ClientEvent, Input, Output, Response, Seq, Time};
use socket2::SockAddr;
use tracing::debug;

use crate::client::crank::{Crank, Outgoing, Received};
use crate::client::given;
use crate::client::remote::Remote;
use crate::client::servertype;
use crate::config::IpVersion;
use crate::error::{Error, ErrorKind, Sent};
use crate::naming::Place;
use crate::net::{self, Attempts, Socket};
use crate::rpc::Metadata;
use crate::tokio::alarm::Alarm;
use crate::tokio::watch;
use crate::uri::Location;

/// A unix socket whose listener has no room is tried again after this; nothing tells when it has.
const BUSY_LISTENER: Duration = Duration::from_millis(5);

/// A connection before, in and after its handshake.
pub(super) struct Wire {
    socket: AsyncFd<Arc<Socket>>,
    pub(super) crank: Crank,
    /// For the timers of the crank.
    alarm: Alarm,
    /// The socket had nothing to read since the task was woken, which will be woken when it has.
    quiet: bool,
    /// Nothing that takes time was done since the clock was read.
    fresh: bool,
}

impl Wire {
    /// Connects and says hello, without waiting for what the daemon says to that.
    pub(super) async fn connect(
        remote: &Remote,
        place: &Place,
        seq: Seq,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        expect_runtime()?;
        let socket = connect(remote, &place.location, deadline).await?;
        Ok(Self {
            socket,
            crank: Crank::new(remote, place, seq, deadline, now)?,
            alarm: Alarm::default(),
            quiet: false,
            fresh: false,
        })
    }

    /// Goes on with a socket on which no hands are shaken.
    pub(super) fn take(socket: Socket, remote: &Remote, seq: Seq) -> Result<Self, Error> {
        expect_runtime()?;
        let failed = |why: io::Error| Error::new(ErrorKind::Io, format!("cannot wait: {why}"));
        let socket = watch(Arc::new(socket), Interest::READABLE | Interest::WRITABLE);
        Ok(Self {
            socket: socket.map_err(failed)?,
            crank: Crank::without_handshake(remote, seq, now),
            alarm: Alarm::default(),
            quiet: false,
            fresh: false,
        })
    }

    /// What the object exposes, if no handshake has told.
    pub(super) async fn metadata(
        &mut self,
        remote: &Remote,
        object: &str,
        deadline: Option<Instant>,
    ) -> Result<Metadata, Error> {
        let answer = self.ask(given::question(remote, object)?, deadline).await?;
        given::metadata(remote, answer)
    }

    pub(super) fn socket(&self) -> &Arc<Socket> {
        self.socket.get_ref()
    }

    /// What happens next; nothing is lost if it is not waited for.
    pub(super) async fn event(&mut self) -> ClientEvent {
        poll_fn(|cx| {
            self.wake();
            self.poll_event(cx)
        })
        .await
    }

    /// Whether the daemon is not ours and runs one call at a time.
    pub(super) async fn is_single(
        &mut self,
        remote: &Remote,
        deadline: Option<Instant>,
    ) -> Result<bool, Error> {
        if !servertype::is_wanted(self.crank.peer()) {
            return Ok(false);
        }
        let deadline = servertype::deadline(remote, now(), deadline);
        let answer = self.ask(servertype::question(remote)?, deadline).await?;
        Ok(servertype::is_single(remote, &answer))
    }

    /// Makes a call of our own, before any other.
    async fn ask(
        &mut self,
        question: Outgoing,
        deadline: Option<Instant>,
    ) -> Result<Response, Error> {
        self.crank.now();
        let question = self.crank.call(question, deadline)?;
        loop {
            match self.event().await {
                ClientEvent::Returned { id, response } if id == question => return Ok(response),
                ClientEvent::Closed(cause) => {
                    return Err(self.crank.lost(question, &cause).with_sent(Sent::No));
                }
                event => debug!(?event, "an event that nobody waits for"),
            }
        }
    }

    /// The task was woken: time has passed, and the socket may have something.
    pub(super) fn wake(&mut self) {
        self.crank.now();
        self.fresh = true;
        self.quiet = false;
    }

    /// Turns the crank until something is to be told; first of all, the task [wakes](Self::wake) it.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<ClientEvent> {
        loop {
            match self.crank.next() {
                Output::Transmit => {
                    self.crank.transmit(self.socket.get_ref());
                    if self.crank.wants_write() {
                        // It was much, which takes time.
                        self.crank.now();
                    }
                }
                Output::Event(event) => return Poll::Ready(event),
                Output::Wait(until) => ready!(self.poll_input(cx, until)),
            }
        }
    }

    /// Whether the connection has not ended; reads if it was unused for a while.
    pub(super) fn is_open(&mut self) -> bool {
        self.crank.is_open(self.socket.get_ref())
    }

    /// Waits for the socket or the time, and lets the crank know.
    fn poll_input(&mut self, cx: &mut Context<'_>, until: Option<Time>) -> Poll<()> {
        if self.crank.is_overdue() {
            self.crank.tick(self.socket.get_ref());
            return Poll::Ready(());
        }
        if self.crank.wants_write()
            && let Poll::Ready(writable) = self.socket.poll_write_ready(cx)
        {
            match writable {
                Ok(mut writable) => {
                    if !self.crank.transmit(writable.get_inner()) {
                        writable.clear_ready();
                    }
                }
                Err(why) => self.crank.handle(Input::Failed(why.kind())),
            }
            return Poll::Ready(());
        }
        if self.crank.wants_read() && !self.quiet {
            match self.socket.poll_read_ready(cx) {
                Poll::Pending => self.quiet = true,
                Poll::Ready(Ok(mut readable)) => {
                    // What was read before may have taken long, to inflate it.
                    if !std::mem::take(&mut self.fresh) {
                        self.crank.now();
                    }
                    match self.crank.receive_now(readable.get_inner()) {
                        Received::Some(_) => {}
                        // More of it is a new event, for they come at edges.
                        Received::All(_) | Received::Nothing => readable.clear_ready(),
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(Err(why)) => {
                    self.crank.handle(Input::Failed(why.kind()));
                    return Poll::Ready(());
                }
            }
        }
        let until = until.map(|until| self.crank.instant(until));
        ready!(self.alarm.poll(cx, until.map(Into::into)));
        // Else it would not be known that the time has come, and the alarm would ring for ever.
        self.crank.now();
        Poll::Ready(())
    }
}

fn expect_runtime() -> Result<(), Error> {
    match Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::usage(
            "expected to connect in a tokio runtime, found none",
        )),
    }
}

/// The clock of tasks, which tests can stop.
pub(super) fn now() -> Instant {
    time::Instant::now().into_std()
}

/// Connects, trying every address that the host name stands for, as [`Socket::connect`].
async fn connect(
    remote: &Remote,
    location: &Location,
    deadline: Option<Instant>,
) -> Result<AsyncFd<Arc<Socket>>, Error> {
    let config = &remote.config;
    let found = addresses(location.clone(), config.prefer_ip_version);
    let found = match deadline {
        Some(at) => timeout_at(at.into(), found).await.map_err(|_| {
            let text = format!("cannot connect to {location}: its name was not found in time");
            Error::new(ErrorKind::Timeout, text)
        })?,
        None => found.await,
    };
    let mut attempts = Attempts::new(location, found, config.connect_timeout, deadline)?;
    while let Some((address, limit)) = attempts.next(now()) {
        match timeout(limit, connect_one(&address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(why)) => attempts.refused(&address, &why),
            Err(_) => attempts.refused(&address, &io::ErrorKind::TimedOut.into()),
        }
    }
    Err(attempts.over())
}

/// What a location stands for. Only a host name is looked up, which blocks a thread.
async fn addresses(location: Location, prefer: IpVersion) -> io::Result<Vec<SockAddr>> {
    match &location {
        Location::Tcp { host, .. } if host.parse::<std::net::IpAddr>().is_err() => {
            spawn_blocking(move || net::addresses(&location, prefer)).await?
        }
        _ => net::addresses(&location, prefer),
    }
}

async fn connect_one(address: &SockAddr) -> io::Result<AsyncFd<Arc<Socket>>> {
    let socket = loop {
        match Socket::start_connect(address) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => sleep(BUSY_LISTENER).await,
            started => break watch(Arc::new(started?), Interest::READABLE | Interest::WRITABLE)?,
        }
    };
    drop(socket.writable().await?);
    socket.get_ref().take_error()?;
    Ok(socket)
}
