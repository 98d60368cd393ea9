//! Clients of all kinds, and what they count.

use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use antifreeze::{Bytes, Error, ErrorKind, Proxy, Sent, Serializer};
use antifreeze_testkit::{End, Fault, FaultProxy, Peer, RawMessage, Way};
use anyhow::{Context, bail, ensure};
use fastrand::Rng;

use crate::server::Server;

/// How long a call may take when nothing is the matter.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a call may take over the bad network.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// Clients of one server.
pub(crate) struct Load {
    address: SocketAddr,
    network: FaultProxy,
    seed: u64,
}

/// How many calls were made, and what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// Additions over the good network; each has happened.
    exact: i64,
    /// Additions over the bad network that were answered.
    answered: i64,
    /// Those that may have happened.
    unknown: i64,
    /// Those that have not.
    unsent: i64,
    /// Other calls; all were answered.
    others: i64,
}

impl Load {
    pub(crate) fn new(server: &Server, seed: u64) -> anyhow::Result<Self> {
        let (address, network) = (server.address, FaultProxy::new(server.address));
        Ok(Self {
            address,
            network,
            seed,
        })
    }

    /// Lets all of them work for that long.
    pub(crate) fn run(&mut self, time: Duration) -> anyhow::Result<Count> {
        type Client = fn(&Load, Instant, &mut Rng) -> anyhow::Result<Count>;
        const CLIENTS: [(&str, usize, Client); 6] = [
            ("steady", 3, Load::steady),
            ("unlucky", 4, Load::unlucky),
            ("carrier", 1, Load::carrier),
            ("newcomer", 1, Load::newcomer),
            ("bulk", 1, Load::bulk),
            ("nuisance", 2, Load::nuisance),
        ];
        let end = Instant::now() + time;
        let mut seeds = Rng::with_seed(self.seed);
        self.seed = seeds.u64(..);
        let this = &*self;
        let counts = thread::scope(|scope| {
            let mut clients = Vec::new();
            for (name, many, client) in CLIENTS {
                for _ in 0..many {
                    let mut random = Rng::with_seed(seeds.u64(..));
                    let run = move || client(this, end, &mut random).context(name);
                    clients.push(scope.spawn(run));
                }
            }
            let mut random = Rng::with_seed(seeds.u64(..));
            this.spoil(end, &mut random);
            let join = |client: thread::ScopedJoinHandle<'_, _>| client.join().expect("no panic");
            clients
                .into_iter()
                .map(join)
                .collect::<anyhow::Result<Vec<Count>>>()
        })?;
        self.network.cut(End::Reset);
        let mut all = Count::default();
        counts.iter().for_each(|count| all.add(count));
        Ok(all)
    }

    /// Whether the server has counted what we have.
    pub(crate) fn check_totals(&self, all: &Count) -> anyhow::Result<()> {
        let total = |id| -> anyhow::Result<i64> { Ok(self.proxy(id)?.call("total", ())?) };
        let (exact, bounded) = (total("exact")?, total("bounded")?);
        ensure!(exact == all.exact, "{exact} were counted of {}", all.exact);
        let most = all.answered + all.unknown;
        ensure!(
            (all.answered..=most).contains(&bounded),
            "{bounded} were counted of {} to {most}",
            all.answered
        );
        Ok(())
    }

    fn connect(&self, id: &str, address: SocketAddr) -> Result<Proxy, Error> {
        let builder = Proxy::builder(format!("PYRO:{id}@{address}").as_str())?;
        builder.serializer(Serializer::Msgpack).lazy()
    }

    /// One over the good network.
    fn proxy(&self, id: &str) -> Result<Proxy, Error> {
        Ok(self.connect(id, self.address)?.within(PATIENCE))
    }

    /// Makes the network bad, in ever other ways.
    fn spoil(&self, end: Instant, random: &mut Rng) {
        while Instant::now() < end {
            let way = if random.bool() {
                Way::ToServer
            } else {
                Way::ToClient
            };
            let ending = if random.bool() { End::Reset } else { End::Eof };
            let fault = match random.u8(..7) {
                0 => Fault::Delay(Duration::from_millis(random.u64(..20))),
                1 => Fault::Drip(Duration::from_micros(random.u64(..500))),
                2 => Fault::Hold,
                3 => Fault::Vanish,
                4 => Fault::Cut(random.u64(..2_000), ending),
                _ => Fault::Pass,
            };
            self.network.set(way, fault);
            thread::sleep(Duration::from_millis(random.u64(10..150)));
            self.network.set(way, Fault::Pass);
            // Who has lost something would wait for it in vain.
            if random.u8(..3) == 0 || fault == Fault::Vanish {
                self.network.cut(ending);
            }
            thread::sleep(Duration::from_millis(random.u64(..50)));
        }
    }

    /// Calls, oneways and batches, none of which may fail.
    fn steady(&self, end: Instant, random: &mut Rng) -> anyhow::Result<Count> {
        let proxy = self.proxy("exact")?;
        let mut count = Count::default();
        while Instant::now() < end {
            match random.u8(..4) {
                0 => {
                    proxy.oneway("add_later", (1,))?;
                    count.exact += 1;
                }
                1 => {
                    let mut batch = proxy.batch();
                    for _ in 0..10 {
                        batch.call("add", (1,))?;
                    }
                    let totals = batch.send_as::<i64>()?;
                    ensure!(totals.is_sorted() && totals.len() == 10, "{totals:?}");
                    count.exact += 10;
                }
                _ => {
                    proxy.call::<i64>("add", (1,))?;
                    count.exact += 1;
                }
            }
        }
        // What is behind the oneways has seen them.
        proxy.call::<i64>("total", ())?;
        Ok(count)
    }

    /// Calls over the bad network.
    fn unlucky(&self, end: Instant, _: &mut Rng) -> anyhow::Result<Count> {
        let proxy = self
            .connect("bounded", self.network.address())?
            .within(IMPATIENCE);
        let mut count = Count::default();
        while Instant::now() < end {
            let Err(error) = proxy.call::<i64>("add", (1,)) else {
                count.answered += 1;
                continue;
            };
            match (error.kind(), error.sent()) {
                (ErrorKind::Timeout | ErrorKind::Closed | ErrorKind::Connect, Sent::Maybe) => {
                    count.unknown += 1;
                }
                (_, Sent::No) => count.unsent += 1,
                _ => bail!("not what a bad network does: {error:?}"),
            }
        }
        Ok(count)
    }

    /// Large values there and back.
    fn carrier(&self, end: Instant, random: &mut Rng) -> anyhow::Result<Count> {
        let proxy = self.proxy("exact")?;
        let mut count = Count::default();
        while Instant::now() < end {
            let (byte, size) = (random.u8(..), random.usize(..2 << 20));
            let data = Bytes::from(vec![byte; size]);
            let back: Bytes = proxy.call("echo", (&data,))?;
            ensure!(back == data, "{size} bytes came back otherwise");
            count.others += 1;
        }
        Ok(count)
    }

    /// A connection for each call.
    fn newcomer(&self, end: Instant, random: &mut Rng) -> anyhow::Result<Count> {
        let mut count = Count::default();
        while Instant::now() < end {
            self.proxy("exact")?.call::<()>("quick", ())?;
            count.others += 1;
            thread::sleep(Duration::from_millis(random.u64(..5)));
        }
        Ok(count)
    }

    /// Many connections at a time, each used now and then.
    fn bulk(&self, end: Instant, random: &mut Rng) -> anyhow::Result<Count> {
        let proxies: Vec<Proxy> = (0..100)
            .map(|_| self.proxy("exact"))
            .collect::<Result<_, _>>()?;
        let mut count = Count::default();
        while Instant::now() < end {
            let proxy = random.choice(&proxies).context("there are some")?;
            proxy.call::<()>("quick", ())?;
            count.others += 1;
            if random.u8(..50) == 0 {
                proxy.release();
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(count)
    }

    /// Peers that are silent, stop in the middle, send rubbish, or do not read.
    fn nuisance(&self, end: Instant, random: &mut Rng) -> anyhow::Result<Count> {
        let mut kept: Vec<Peer> = Vec::new();
        while Instant::now() < end {
            let peer = Peer::from(TcpStream::connect(self.address)?);
            let connect = RawMessage::connect("exact").encode();
            let call = RawMessage::invoke_method(1, "exact", "total").encode();
            let said = match random.u8(..5) {
                0 => Vec::new(),
                1 => connect[..random.usize(1..connect.len())].to_vec(),
                2 => (0..random.usize(1..200)).map(|_| random.u8(..)).collect(),
                3 => [&connect[..], &call[..random.usize(1..call.len())]].concat(),
                _ => [&connect[..], &call.repeat(50)].concat(),
            };
            // It may be refused before all is said.
            let _ = peer.socket().write_all(&said);
            match random.u8(..3) {
                0 => peer.reset(),
                1 => drop(peer),
                _ => kept.push(peer),
            }
            if kept.len() > 20 {
                kept.swap_remove(random.usize(..kept.len()));
            }
            thread::sleep(Duration::from_millis(random.u64(..20)));
        }
        Ok(Count::default())
    }
}

impl Count {
    pub(crate) fn add(&mut self, other: &Self) {
        self.exact += other.exact;
        self.answered += other.answered;
        self.unknown += other.unknown;
        self.unsent += other.unsent;
        self.others += other.others;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            exact,
            answered,
            unknown,
            unsent,
            others,
        } = self;
        let calls = exact + answered + others;
        write!(
            f,
            "{calls} calls answered, {unknown} with an unknown end, {unsent} not sent"
        )
    }
}
