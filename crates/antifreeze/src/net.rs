//! Sockets, TCP and unix alike, with the options that Pyro's peers expect.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};
use std::vec;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use socket2::{Domain, SockAddr, SockRef, TcpKeepalive, Type};

use crate::config::IpVersion;
use crate::error::{Error, ErrorKind};
use crate::uri::Location;

/// Connections that may wait to be accepted, as in Pyro (`socketutil.py`, `bind_unix_socket`).
const BACKLOG: i32 = 100;

/// How many ports are tried that the system has chosen, until all addresses of a name have one.
const PORTS: usize = 10;

/// The shortest time-out that a socket can have; zero would mean for ever.
const SHORTEST: Duration = Duration::from_micros(1);

/// What has no more bytes, in all or in each segment on the average, is sent in one piece: they are
/// copied in less time than the system takes to learn of several.
const SMALL_BYTES: usize = 512;
const SMALL_SEGMENT_BYTES: usize = 128;

/// How many segments one write takes, and how many most have.
const SEGMENTS: usize = 256;
const FEW_SEGMENTS: usize = 6;

/// How often the system asks whether a peer is there that has nothing to say.
const PROBED: Duration = Duration::from_secs(15);

/// Does `send` with the segments that `lend` fills in, of which it says how many there are.
pub(crate) fn with_segments<'a, R>(
    lend: impl Fn(&mut [IoSlice<'a>]) -> usize,
    send: impl FnOnce(&[IoSlice<'a>]) -> R,
) -> R {
    let mut few = [IoSlice::new(&[]); FEW_SEGMENTS];
    let count = lend(&mut few);
    if count < few.len() {
        return send(&few[..count]);
    }
    let mut many = [IoSlice::new(&[]); SEGMENTS];
    let count = lend(&mut many);
    send(&many[..count])
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket(socket2::Socket);

/// The addresses that a location stands for, tried one after the other.
///
/// Until the deadline, each has an equal share of the time that those before it left.
pub(crate) struct Attempts<'a> {
    location: &'a Location,
    limit: Duration,
    deadline: Option<Instant>,
    addresses: vec::IntoIter<SockAddr>,
    several: bool,
    refusals: Vec<String>,
    kind: ErrorKind,
}

/// What a socket is ready for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl From<PollFlags> for Ready {
    fn from(found: PollFlags) -> Self {
        Self {
            write: found.contains(PollFlags::OUT),
            // The end and a failure are found by reading.
            read: found.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
        }
    }
}

/// A listening socket.
pub(crate) struct Listener {
    socket: socket2::Socket,
    /// Removed when we stop listening.
    unix_path: Option<String>,
}

impl Socket {
    /// Connects, trying every address that the host name stands for, each no longer than `limit`.
    ///
    /// Until the deadline, they share the time that is left; see [`Attempts`].
    pub(crate) fn connect(
        location: &Location,
        prefer: IpVersion,
        limit: Duration,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        let mut attempts = Attempts::new(location, addresses(location, prefer), limit, deadline)?;
        while let Some((address, limit)) = attempts.next(Instant::now()) {
            match connect_one(&address, limit) {
                Ok(socket) => return Ok(Self(socket)),
                Err(why) => attempts.refused(&address, &why),
            }
        }
        Err(attempts.over())
    }

    /// Begins to connect without waiting; when the socket can be written to, or says so at once by
    /// `WouldBlock` on a unix socket whose listener is busy, [`Socket::take_error`] tells how it went.
    pub(crate) fn start_connect(address: &SockAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(address.domain(), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        set_options(&socket);
        match socket.connect(address) {
            Err(why) if why.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(why),
            _ => Ok(Self(socket)),
        }
    }

    /// A stream that somebody else has connected.
    pub(crate) fn connected(fd: OwnedFd) -> Result<Self, Error> {
        let socket = socket2::Socket::from(fd);
        let check = || {
            socket.peer_addr()?;
            if socket.r#type()? != Type::STREAM {
                return Err(io::Error::other("it is no stream"));
            }
            // Whoever drives it sets what it needs.
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(None)?;
            socket.set_write_timeout(None)
        };
        match check() {
            Ok(()) => {
                set_options(&socket);
                Ok(Self(socket))
            }
            Err(why) => {
                let text = format!("expected a connected stream socket: {why}");
                Err(Error::usage(text))
            }
        }
    }

    /// What has failed since this was asked last.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        self.0.take_error()?.map_or(Ok(()), Err)
    }

    /// Writes what the socket takes; waits until it takes something, as long as the time-out says.
    pub(crate) fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_with(slices, SendFlags::NOSIGNAL)
    }

    /// Writes what the socket takes, without waiting.
    pub(crate) fn send_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_with(slices, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(&self, slices: &[IoSlice<'_>], flags: SendFlags) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if total <= SMALL_BYTES {
            let mut whole = [0; SMALL_BYTES];
            let mut rest = &mut whole[..];
            for slice in slices {
                let (piece, after) = rest.split_at_mut(slice.len());
                piece.copy_from_slice(slice);
                rest = after;
            }
            return Ok(rustix::net::send(&self.0, &whole[..total], flags)?);
        }
        if total <= slices.len() * SMALL_SEGMENT_BYTES {
            let mut whole = Vec::with_capacity(total);
            slices
                .iter()
                .for_each(|slice| whole.extend_from_slice(slice));
            return Ok(rustix::net::send(&self.0, &whole, flags)?);
        }
        let mut control = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(&self.0, slices, &mut control, flags)?)
    }

    /// Waits until the socket takes more, or something has come, or the time is over.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut wanted = [PollFd::new(&self.0, PollFlags::IN | PollFlags::OUT)];
        // What does not fit is longer than anybody waits.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        rustix::event::poll(&mut wanted, timeout.as_ref())?;
        Ok(Ready::from(wanted[0].revents()))
    }

    /// Waits until something has come, or the socket takes more if that is wanted, or somebody rings,
    /// or the time is over. Says whether somebody rang, too.
    pub(crate) fn wait_or(
        &self,
        bell: Option<&impl AsFd>,
        write: bool,
        timeout: Option<Duration>,
    ) -> io::Result<(Ready, bool)> {
        let wanted = if write {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let mut polled = [PollFd::new(&self.0, wanted), PollFd::new(&self.0, wanted)];
        let mut count = 1;
        if let Some(bell) = bell {
            polled[1] = PollFd::new(bell, PollFlags::IN);
            count = 2;
        }
        // What does not fit is longer than anybody waits.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        rustix::event::poll(&mut polled[..count], timeout.as_ref())?;
        let rung = count == 2 && !polled[1].revents().is_empty();
        Ok((Ready::from(polled[0].revents()), rung))
    }

    /// Reads what is there; waits for something if nothing is, as long as the time-out says.
    pub(crate) fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, RecvFlags::empty())?.0)
    }

    /// Reads what is there, without waiting.
    pub(crate) fn recv_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shutdown_write(&self) {
        // If that fails the connection has ended anyway.
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }

    /// Ends the connection, for whoever waits on it, too.
    pub(crate) fn shutdown(&self) {
        // If that fails the connection has ended anyway.
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// Has the system ask from now on whether the peer is there. Who has closed in order cannot be told
    /// from who still reads, until its machine forgets the connection (Linux does after a minute).
    pub(crate) fn probe(&self) {
        let asked = TcpKeepalive::new().with_time(PROBED).with_interval(PROBED);
        // There is no such thing on a unix socket, and no need: who is gone there has closed both ways.
        let _ = self.0.set_tcp_keepalive(&asked);
    }

    /// Whether the connection has ended in both directions.
    pub(crate) fn is_broken(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::empty())];
        let at_once = Timespec::default();
        let polled_well = rustix::event::poll(&mut polled, Some(&at_once)).is_ok();
        polled_well
            && polled[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the peer has closed, or sent something that nobody asked for.
    pub(crate) fn is_stale(&self) -> bool {
        let mut byte = [0];
        let peek = rustix::net::recv(&self.0, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK);
        !matches!(peek, Err(Errno::AGAIN))
    }

    /// How long a read and a write may wait.
    pub(crate) fn set_timeouts(
        &self,
        read: Option<Duration>,
        write: Option<Duration>,
    ) -> io::Result<()> {
        self.set_read_timeout(read)?;
        self.0.set_write_timeout(write)
    }

    pub(crate) fn set_read_timeout(&self, read: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(read.map(|read| read.max(SHORTEST)))
    }

    /// Acknowledges what came at once.
    ///
    /// A stock client waits for it when a call follows a oneway, and by itself the kernel takes
    /// 40 ms over it.
    pub(crate) fn acknowledge_now(&self) {
        #[cfg(target_os = "linux")]
        // Does nothing on a unix socket, and is only about speed.
        let _ = self.0.set_tcp_quickack(true);
    }

    /// `host:port` of the peer; none on a unix socket, or if it is gone.
    pub(crate) fn peer_address(&self) -> Option<String> {
        Some(self.0.peer_addr().ok()?.as_socket()?.to_string())
    }

    /// Where the peer came in: our own address.
    pub(crate) fn local_location(&self) -> Option<Location> {
        location_of(&self.0)
    }

    /// Where the peer is.
    pub(crate) fn peer_location(&self) -> Option<Location> {
        location_at(&self.0.peer_addr().ok()?)
    }
}

impl Listener {
    /// Listens at every address that the host name stands for, all on one port.
    ///
    /// A machine may know a name by an address that it does not have, such as `::1`: that is passed
    /// over if there is another.
    pub(crate) fn bind(location: &Location, prefer: IpVersion) -> Result<Vec<Self>, Error> {
        let failed = |why: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot listen on {location}: {why}"))
        };
        let unix_path = match location {
            Location::Unix { path } if !path.starts_with('\0') => Some(path.clone()),
            _ => None,
        };
        let any_port = matches!(location, Location::Tcp { port: 0, .. });
        let addresses = addresses(location, prefer).map_err(failed)?;
        let mut attempts = if any_port { PORTS } else { 1 };
        let sockets = loop {
            attempts -= 1;
            match listen_on_all(&addresses) {
                // Somebody has the port at another address of the name.
                Err(why) if why.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
                result => break result.map_err(failed)?,
            }
        };
        let listeners = sockets.into_iter().map(|socket| Self {
            socket,
            unix_path: unix_path.clone(),
        });
        Ok(listeners.collect())
    }

    /// Where it listens, by address and not by name.
    pub(crate) fn location(&self) -> Option<Location> {
        location_of(&self.socket)
    }

    /// The port; 0 on a unix socket.
    pub(crate) fn port(&self) -> io::Result<u16> {
        port_of(&self.socket)
    }

    /// Takes the next connection, without waiting for one.
    pub(crate) fn accept(&self) -> io::Result<Socket> {
        let (socket, _) = self.socket.accept()?;
        socket.set_nonblocking(false)?;
        set_options(&socket);
        Ok(Socket(socket))
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.unix_path {
            // Somebody may have removed it before us.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl<'a> Attempts<'a> {
    /// Tries those [`addresses`].
    pub(crate) fn new(
        location: &'a Location,
        addresses: io::Result<Vec<SockAddr>>,
        limit: Duration,
        deadline: Option<Instant>,
    ) -> Result<Self, Error> {
        let addresses = addresses.map_err(|why| failed(ErrorKind::Connect, location, &why))?;
        Ok(Self {
            location,
            limit,
            deadline,
            several: addresses.len() > 1,
            addresses: addresses.into_iter(),
            refusals: Vec::new(),
            kind: ErrorKind::Connect,
        })
    }

    /// The next address, and how long it may take.
    pub(crate) fn next(&mut self, now: Instant) -> Option<(SockAddr, Duration)> {
        let untried = self.addresses.len() as u32;
        let address = self.addresses.next()?;
        let limit = match self.deadline {
            Some(at) => self.limit.min(at.saturating_duration_since(now) / untried),
            None => self.limit,
        };
        if limit.is_zero() {
            self.refusals.push("no time was left".to_owned());
            self.kind = ErrorKind::Timeout;
            return None;
        }
        Some((address, limit))
    }

    /// Nobody answers at this address.
    pub(crate) fn refused(&mut self, address: &SockAddr, why: &io::Error) {
        self.kind = match why.kind() {
            io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Connect,
        };
        self.refusals.push(match address.as_socket() {
            Some(address) if self.several => format!("{why} at {address}"),
            _ => why.to_string(),
        });
    }

    /// None of them answers.
    pub(crate) fn over(self) -> Error {
        if self.refusals.is_empty() {
            return failed(self.kind, self.location, &"the host name has no address");
        }
        failed(self.kind, self.location, &self.refusals.join(", "))
    }
}

fn failed(kind: ErrorKind, location: &Location, why: &dyn fmt::Display) -> Error {
    Error::new(kind, format!("cannot connect to {location}: {why}"))
}

/// The address that a socket has on this machine.
fn location_of(socket: &socket2::Socket) -> Option<Location> {
    location_at(&socket.local_addr().ok()?)
}

fn location_at(address: &SockAddr) -> Option<Location> {
    match address.as_socket() {
        Some(tcp) => Some(Location::tcp(
            tcp.ip().to_canonical().to_string(),
            tcp.port(),
        )),
        None => Some(Location::unix(address.as_pathname()?.to_str()?)),
    }
}

/// In place of the address of a socket that has none, as in Pyro (`svr_existingconn.py`).
pub(crate) fn nowhere() -> Location {
    Location::unix("<<not-bound>>")
}

/// The name of this machine, if `host` is an address that stands for all of its addresses.
///
/// Nobody can connect to such an address from elsewhere, so it is of no use in a URI.
pub(crate) fn reachable_host(host: String) -> String {
    let all = host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    let name = rustix::system::uname()
        .nodename()
        .to_str()
        .map(str::to_owned);
    match name {
        Ok(name) if all && !name.is_empty() => name,
        _ => host,
    }
}

/// What a location stands for; a host name is looked up, which may take its time.
pub(crate) fn addresses(location: &Location, prefer: IpVersion) -> io::Result<Vec<SockAddr>> {
    match location {
        Location::Tcp { host, port } => {
            let mut found: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs()?.collect();
            found.dedup();
            match prefer {
                IpVersion::Any => {}
                IpVersion::V4 => found.sort_by_key(SocketAddr::is_ipv6),
                IpVersion::V6 => found.sort_by_key(SocketAddr::is_ipv4),
            }
            Ok(found.into_iter().map(SockAddr::from).collect())
        }
        Location::Unix { path } => Ok(vec![SockAddr::unix(Path::new(path))?]),
    }
}

fn connect_one(address: &SockAddr, timeout: Duration) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(address.domain(), Type::STREAM, None)?;
    set_options(&socket);
    if address.domain() == Domain::UNIX {
        // It waits while the listener's backlog is full, and says `WouldBlock` when that is over.
        socket.set_write_timeout(Some(timeout.max(SHORTEST)))?;
        socket.connect(address).map_err(|why| match why.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => why,
        })?;
    } else {
        socket.connect_timeout(address, timeout)?;
    }
    Ok(socket)
}

/// Listens at all these addresses that there are, on the port of the first.
fn listen_on_all(addresses: &[SockAddr]) -> io::Result<Vec<socket2::Socket>> {
    let mut sockets: Vec<socket2::Socket> = Vec::new();
    let mut missing = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        let mut address = address.clone();
        // The first one decides the port if the system is to choose it.
        if let (Some(first), Some(mut tcp)) = (sockets.first(), address.as_socket()) {
            tcp.set_port(port_of(first)?);
            address = tcp.into();
        }
        match listen_one(&address) {
            Ok(socket) => sockets.push(socket),
            Err(why) if is_missing(&why) => {
                tracing::debug!(?address, %why, "this machine does not have the address");
                missing = why;
            }
            Err(why) => return Err(why),
        }
    }
    if sockets.is_empty() {
        return Err(missing);
    }
    Ok(sockets)
}

/// Whether this machine does not have the address, or none of its kind.
fn is_missing(why: &io::Error) -> bool {
    why.kind() == io::ErrorKind::AddrNotAvailable
        || why.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

fn port_of(socket: &socket2::Socket) -> io::Result<u16> {
    let address = socket.local_addr()?;
    Ok(address.as_socket().map_or(0, |address| address.port()))
}

fn listen_one(address: &SockAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(address.domain(), Type::STREAM, None)?;
    if let Some(SocketAddr::V6(v6)) = address.as_socket() {
        // The IPv4 address of the same name is listened on by a socket of its own; but who asks for
        // all addresses means those of IPv4, too.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    if address.domain() != Domain::UNIX {
        socket.set_reuse_address(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn set_options(socket: &socket2::Socket) {
    let socket = SockRef::from(socket);
    // A unix socket has neither, and a TCP socket works without.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str) -> socket2::Socket {
        listen_one(&address.parse::<SocketAddr>().unwrap().into()).unwrap()
    }

    fn on_all(addresses: &[&str], port: u16) -> io::Result<Vec<socket2::Socket>> {
        let addresses: Vec<SockAddr> = addresses
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), port).into())
            .collect();
        listen_on_all(&addresses)
    }

    #[test]
    fn all_addresses_of_a_name_are_listened_on_or_none() {
        let sockets = on_all(&["127.0.0.1", "127.0.0.2"], 0).unwrap();
        let port = port_of(&sockets[0]).unwrap();
        assert_eq!(port_of(&sockets[1]).unwrap(), port);

        let taken = listener("127.0.0.3:0");
        let port = port_of(&taken).unwrap();
        let error = on_all(&["127.0.0.1", "127.0.0.3"], port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_is_passed_over() {
        // Kept for documentation (RFC 5737), so nobody has it.
        let missing = "192.0.2.1";
        for addresses in [[missing, "127.0.0.1"], ["127.0.0.1", missing]] {
            assert_eq!(on_all(&addresses, 0).unwrap().len(), 1);
        }
        let error = on_all(&[missing], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn segments_of_any_number_and_size_are_written_in_order() {
        let check = |lengths: &[usize]| {
            let (ours, theirs) = socket2::Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
            let fill = |(at, length): (usize, &usize)| vec![at as u8; *length];
            let segments: Vec<Vec<u8>> = lengths.iter().enumerate().map(fill).collect();
            let sent = with_segments(
                |slices| {
                    let lent = slices.iter_mut().zip(&segments);
                    lent.map(|(slice, segment)| *slice = IoSlice::new(segment))
                        .count()
                },
                |slices| Socket(ours).send_now(slices),
            );
            let sent = sent.unwrap();
            let mut came = Vec::new();
            io::Read::read_to_end(&mut &theirs, &mut came).unwrap();
            let most: usize = lengths.iter().take(SEGMENTS).sum();
            assert_eq!(sent, most, "{lengths:?}");
            assert!(came == segments.concat()[..most], "{lengths:?}");
        };
        check(&[]);
        check(&[0]);
        check(&[40, 130]);
        check(&[40, SMALL_BYTES - 40]);
        check(&[40, SMALL_BYTES - 39]);
        check(&[SMALL_SEGMENT_BYTES; FEW_SEGMENTS - 1]);
        check(&[SMALL_SEGMENT_BYTES; FEW_SEGMENTS]);
        check(&[SMALL_SEGMENT_BYTES + 1; FEW_SEGMENTS + 1]);
        check(&[40, 70_000, 40]);
        check(&[100; SEGMENTS]);
        check(&[200; SEGMENTS + 1]);
    }
}
