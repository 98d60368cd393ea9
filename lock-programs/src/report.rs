//! Reports of the detector in the oracle's words.

use antifreeze_sync::{Report, ResourceInfo};

use crate::cast::{Cast, is_here};
use crate::oracle::{On, Told, ToldHold, ToldMember, ToldWait};
use crate::program::Mode;

/// What a report says, or why it cannot be true of this program.
pub(crate) fn told(report: &Report, cast: &Cast) -> Result<Told, String> {
    let mut members = Vec::with_capacity(report.members.len());
    for member in &report.members {
        let agent = agent(member.agent.frame, cast)?;
        let mut waits = Vec::new();
        for wait in &member.waits {
            if !is_here(&wait.site) {
                return Err(format!("a wait at {}, where nobody waits", wait.site));
            }
            waits.push(ToldWait {
                on: on(&wait.resource, cast)?,
                mode: mode(wait.mode)?,
                timed: wait.timed,
            });
        }
        let mut holds = Vec::new();
        for hold in &member.holds {
            if hold.site.as_ref().is_some_and(|site| !is_here(site)) {
                return Err(format!(
                    "a hold from {:?}, where nobody acquires",
                    hold.site
                ));
            }
            holds.push(ToldHold {
                on: on(&hold.resource, cast)?,
                mode: mode(hold.mode)?,
                queued: hold.queued,
            });
        }
        let waited = member
            .waits
            .iter()
            .map(|wait| wait.waited)
            .max()
            .unwrap_or_default();
        members.push(ToldMember {
            agent,
            waited,
            waits,
            holds,
        });
    }
    Ok(Told { members })
}

fn agent(frame: u64, cast: &Cast) -> Result<usize, String> {
    cast.agent(frame)
        .ok_or_else(|| format!("frame {frame} is nobody of this program"))
}

fn on(resource: &ResourceInfo, cast: &Cast) -> Result<On, String> {
    let name = resource.name.as_deref().unwrap_or_default();
    if let Some((program, number)) = name.rsplit_once('#')
        && program == cast.name
    {
        return number
            .parse()
            .map(On::EndOf)
            .map_err(|_| format!("{name} is no agent of ours"));
    }
    let Some((program, number)) = name.rsplit_once('.') else {
        return Err(format!("a {} with the name {name:?}", resource.kind));
    };
    if program != cast.name {
        return Err(format!("{name} is of another program"));
    }
    number
        .parse()
        .map(On::Thing)
        .map_err(|_| format!("{name} is no lock of ours"))
}

fn mode(mode: antifreeze_sync::Mode) -> Result<Mode, String> {
    use antifreeze_sync::Mode as Theirs;
    Ok(match mode {
        Theirs::Write => Mode::Write,
        Theirs::Read => Mode::Read,
        Theirs::UpgradableRead => Mode::Upgradable,
        Theirs::Upgrade => Mode::Upgrade,
        Theirs::Permits(count) => Mode::Permits(count),
        Theirs::Signal => Mode::Signal,
        other => return Err(format!("mode {other:?} is not known")),
    })
}
