//! Reports of other processes, as reports of locks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use antifreeze_detector as remote;
use antifreeze_sync::{
    AgentInfo, AgentKind, DeadlockKind, HoldInfo, Member, Mode, Report, ResourceInfo, Site,
    WaitInfo,
};

/// The report as whoever fails gets it.
pub(super) fn report(report: &remote::Report) -> Arc<Report> {
    let kind = match report.kind {
        remote::Kind::SelfLock => DeadlockKind::SelfLock,
        remote::Kind::Upgrade => DeadlockKind::Upgrade,
        remote::Kind::Cycle => DeadlockKind::Cycle,
        remote::Kind::Pool => DeadlockKind::Pool,
    };
    let members = report.members.iter().map(member).collect();
    let mut told = Report::new(kind, members, 0);
    told.id.clone_from(&report.id);
    told.inferred = report.inferred;
    told.left_out = report.left_out as usize;
    Arc::new(told)
}

fn member(member: &remote::Member) -> Member {
    let (kind, name) = match member.about.agent.split_once(' ') {
        Some((kind, name)) => (kind, name.trim_matches('"')),
        None => (&*member.about.agent, ""),
    };
    let kind = match kind {
        "thread" => AgentKind::Thread,
        "task" => AgentKind::Task,
        _ => AgentKind::Call,
    };
    let mut agent = AgentInfo::new(member.frame, kind);
    agent.name = (!name.is_empty()).then(|| name.to_owned());
    agent.place = Some(match &*member.address {
        "" => format!("process {:016x}", member.node),
        address => address.to_owned(),
    });
    let mut told = Member::new(agent);
    told.waits = member.about.waits.iter().map(wait).collect();
    told.holds = member.about.holds.iter().map(hold).collect();
    told
}

fn wait(wait: &remote::Wanted) -> WaitInfo {
    let resource = resource(&wait.lock);
    let mut told = WaitInfo::new(resource, parsed(&wait.mode), Site::told(&wait.site));
    told.waited = Duration::from_millis(wait.ms);
    told
}

fn hold(hold: &remote::Hold) -> HoldInfo {
    let mut told = HoldInfo::new(resource(&hold.lock), parsed(&hold.mode));
    told.site = (!hold.site.is_empty()).then(|| Site::told(&hold.site));
    told
}

/// What reads as `Mutex<u32> "left"`, or as `Mutex<u32> #7`.
fn resource(text: &str) -> ResourceInfo {
    if let Some((kind, number)) = text.rsplit_once(" #")
        && let Ok(number) = number.parse()
    {
        return ResourceInfo::new(number, kind.to_owned());
    }
    let (kind, name) = match text.split_once(" \"") {
        Some((kind, name)) => (kind, name.strip_suffix('"').unwrap_or(name)),
        None => (text, ""),
    };
    // Its number is not told; the name tells it from others as well.
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    let mut info = ResourceInfo::new(hash.finish(), kind.to_owned());
    info.name = (!name.is_empty()).then(|| name.to_owned());
    info
}

const MODES: [(Mode, &str); 8] = [
    (Mode::Write, "write"),
    (Mode::Read, "read"),
    (Mode::UpgradableRead, "upgradable read"),
    (Mode::Upgrade, "upgrade"),
    (Mode::Get, "get"),
    (Mode::Put, "put"),
    (Mode::Signal, "signal"),
    (Mode::Answer, "call"),
];

/// How something is wanted or held.
pub(super) fn mode(mode: Mode) -> String {
    if let Mode::Permits(count) = mode {
        return format!("{count} permits");
    }
    let known = MODES.iter().find(|(known, _)| *known == mode);
    known.map_or("", |(_, text)| text).to_owned()
}

fn parsed(text: &str) -> Mode {
    if let Some(count) = text.strip_suffix(" permits") {
        return Mode::Permits(count.parse().unwrap_or(1));
    }
    let known = MODES.iter().find(|(_, known)| *known == text);
    known.map_or(Mode::Signal, |(mode, _)| *mode)
}
