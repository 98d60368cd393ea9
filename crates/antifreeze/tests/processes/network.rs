//! Hosts with a network between them that can be cut: network namespaces of Linux, which need no
//! privileges but to have namespaces of one's own, and `unshare`, `nsenter` and `ip`.

use std::env;
use std::io::{self, Write};
use std::panic::Location;
use std::process::{Command, Output};

use crate::common::{Driver, is_full};
use crate::link::Link;

/// Set in the process that has a network of its own.
const INSIDE: &str = "TEST_NETWORK";

/// Everything once that such networks take, to see at once where there are none.
const PROBE: &str = "ip link set lo up && ip link add probe type veth peer name eborp \
    && ip rule add pref 100 lookup local && ip rule del pref 0 \
    && ip rule add pref 10 iif probe blackhole \
    && nsenter --net --target $$ true && unshare --net true";

/// Runs a test in a network of its own, of which nothing is left when it ends: the same test of this
/// program once more, in another process. Where there is no way to make one, says so, and with
/// `FULL_TESTS` fails.
#[track_caller]
pub(crate) fn in_a_network(test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let unshared = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--"]).args(args);
        command.env(INSIDE, "1").output()
    };
    match unshared(&["sh", "-c", PROBE]) {
        Ok(output) if output.status.success() => {}
        other => {
            let why = other.map_or_else(|error| error.to_string(), |output| said(&output));
            assert!(!is_full(), "no network can be made here: {why}");
            // Not by a macro, which tells nobody when the test passes.
            let _ = writeln!(
                io::stderr(),
                "not tested, as no network can be made here: {why}"
            );
            return;
        }
    }
    let program = env::current_exe().unwrap();
    // The name of a test is that of the thread that runs it.
    let thread = std::thread::current();
    let name = thread.name().expect("the test has a thread of its own");
    let output = unshared(&[program.to_str().unwrap(), "--exact", name, "--nocapture"]).unwrap();
    let said = said(&output);
    println!("{said}");
    let passed = output.status.success() && said.contains("1 passed");
    assert!(passed, "{name} failed, {}", Location::caller());
}

fn said(output: &Output) -> String {
    let both = [&*output.stdout, &*output.stderr];
    String::from_utf8_lossy(&both.concat()).into_owned()
}

/// Runs a program that must succeed; a line is a program and its arguments.
#[track_caller]
fn run(line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error: io::Error| panic!("{line}: {error}"));
    assert!(output.status.success(), "{line}: {}", said(&output));
}

/// Processes, each on a host of its own, wired in pairs; the test itself is wired to each.
pub(crate) struct Network {
    links: Vec<Link>,
}

impl Network {
    /// Nobody waits longer than so many seconds in these processes.
    pub(crate) fn start<const N: usize>(driver: Driver, seconds: &str) -> Self {
        run("ip link set lo up");
        run("ip addr add 10.77.0.100/32 dev lo");
        let mut links: Vec<Link> = Vec::new();
        for host in 0..N {
            let start = |pid: u32| {
                let me = format!("nsenter --net --target {pid}");
                run(&format!("{me} ip link set lo up"));
                run(&format!("{me} ip addr add {}/32 dev lo", address(host)));
                // What comes from a wire is looked at first by the rules that cut it.
                run(&format!("{me} ip rule add pref 100 lookup local"));
                run(&format!("{me} ip rule del pref 0"));
                let test = Place {
                    pid: None,
                    address: "10.77.0.100".into(),
                };
                let here = Place {
                    pid: Some(pid),
                    address: address(host),
                };
                wire(&here, &test, &format!("h{host}"));
                for (other, link) in links.iter().enumerate() {
                    let there = Place {
                        pid: Some(link.process.pid()),
                        address: address(other),
                    };
                    wire(&here, &there, &format!("h{host}{other}"));
                }
            };
            let place = format!("{}:0", address(host));
            let variables = [
                ("TEST_PLACE", &*place),
                ("ANTIFREEZE_QUEUE_TIMEOUT", seconds),
            ];
            let link = Link::elsewhere(driver, &variables, start);
            links.push(link);
        }
        Self { links }
    }

    pub(crate) fn links<const N: usize>(&self) -> [&Link; N] {
        std::array::from_fn(|host| &self.links[host])
    }

    /// From now on nothing arrives that one sends to the other. Nobody is told.
    pub(crate) fn cut(&self, way: (usize, usize)) {
        self.rule("add", way);
    }

    /// It arrives again, also what was sent meanwhile and is sent once more.
    pub(crate) fn mend(&self, way: (usize, usize)) {
        self.rule("del", way);
    }

    fn rule(&self, what: &str, (from, to): (usize, usize)) {
        let pid = self.links[to].process.pid();
        let wire = format!("h{}{}", from.max(to), from.min(to));
        run(&format!(
            "nsenter --net --target {pid} ip rule {what} pref 10 iif {wire} blackhole"
        ));
    }
}

fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

/// A host: the network of a process, or that of the test.
struct Place {
    pid: Option<u32>,
    address: String,
}

impl Place {
    fn run(&self, line: &str) {
        match self.pid {
            Some(pid) => run(&format!("nsenter --net --target {pid} {line}")),
            None => run(line),
        }
    }
}

/// A wire between two hosts, which has the same name at both ends.
fn wire(one: &Place, other: &Place, name: &str) {
    let there = other.pid.unwrap_or_else(std::process::id);
    one.run(&format!(
        "ip link add {name} type veth peer name {name} netns {there}"
    ));
    for (here, there) in [(one, other), (other, one)] {
        here.run(&format!("ip link set {name} up"));
        let (to, from) = (&there.address, &here.address);
        here.run(&format!("ip route add {to}/32 dev {name} src {from}"));
    }
}
