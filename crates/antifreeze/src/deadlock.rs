//! Deadlocks as exceptions that Python knows, and back.
//!
//! A Python program sees an `OSError` with the number of `EDEADLK`, the whole text, and the same as
//! plain data in the attribute `antifreeze`. It hands that on as it is, but inside of a batch it loses
//! attributes; so the text alone is enough to tell.

use antifreeze_serial::{Exception, Limits, Serializer, Value};
use antifreeze_sync::{DeadlockKind, Member, Report};
use serde::Serialize;

const OS_ERROR: &str = "builtins.OSError";

/// `EDEADLK` of Linux.
const EDEADLK: i64 = 35;

/// The attribute which has it as plain data.
const ATTRIBUTE: &str = "antifreeze";

/// The entry of that which says whether the call that failed may be made again without harm.
const RETRY_SAFE: &str = "retry_safe";

/// What every text has in it, before the rest of the deadlock's name.
const NAME: &str = "[af-";

/// A cycle of waiting of which a call was the victim; see [`Error::deadlock`](crate::Error::deadlock).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Deadlock {
    /// Names it in logs, as in `af-7c1e03d2`.
    pub id: String,
    /// Who is in it, who holds what and waits for what, where, and what can be done.
    pub text: String,
    /// Nothing of the call that failed was executed, neither there nor further on, so it may be made
    /// again as it was.
    pub retry_safe: bool,
}

impl Deadlock {
    /// Of a deadlock that was found here.
    pub(crate) fn of_report(report: &Report, retry_safe: bool) -> Self {
        Self {
            id: report.id.clone(),
            text: report.to_string(),
            retry_safe,
        }
    }

    /// If that is what an exception tells of.
    pub(crate) fn of_exception(exception: &Exception) -> Option<Self> {
        let told = exception.attribute(ATTRIBUTE);
        let texts = exception.args.iter().filter_map(Value::as_str);
        let text = texts.last().unwrap_or_default();
        let is_os_error = matches!(&*exception.class, OS_ERROR | "OSError");
        let is_numbered = exception.args.first() == Some(&Value::from(EDEADLK));
        let id = told.and_then(|told| told.get("id")).and_then(Value::as_str);
        let id = id.or_else(|| name_in(text)).filter(|_| is_os_error)?;
        (is_numbered || told.is_some()).then(|| Self {
            id: id.to_owned(),
            text: text.to_owned(),
            retry_safe: told.and_then(|told| told.get(RETRY_SAFE)) == Some(&Value::Bool(true)),
        })
    }
}

/// The name of the deadlock that a text is about.
fn name_in(text: &str) -> Option<&str> {
    let begin = text.find(NAME)? + 1;
    let length = text[begin..].find(']')?;
    Some(&text[begin..begin + length])
}

/// The exception that tells of it; `retry_safe` if nothing of the call was executed.
pub(crate) fn exception(deadlock: &Report, retry_safe: bool) -> Exception {
    let mut exception = Exception::new(OS_ERROR, deadlock.to_string());
    exception.args.insert(0, EDEADLK.into());
    exception.set_attribute(ATTRIBUTE, told(deadlock, retry_safe));
    exception
}

/// A deadlock as data that every serializer carries.
fn told(deadlock: &Report, retry_safe: bool) -> Value {
    #[derive(Serialize)]
    struct Told<'a> {
        v: u32,
        id: &'a str,
        kind: DeadlockKind,
        retry_safe: bool,
        cycle: &'a [Member],
        victim: usize,
        inferred: bool,
        left_out: usize,
    }
    let told = Told {
        v: 1,
        id: &deadlock.id,
        kind: deadlock.kind,
        retry_safe,
        cycle: &deadlock.members,
        victim: deadlock.victim,
        inferred: deadlock.inferred,
        left_out: deadlock.left_out,
    };
    // It consists of texts, numbers and lists, so neither can fail.
    antifreeze_serial::encode(Serializer::Json, &told)
        .and_then(|json| antifreeze_serial::decode(Serializer::Json, &json, &Limits::default()))
        .unwrap_or_default()
}

/// Something was executed of the call that is answered with this, or may have been.
pub(crate) fn forbid_retry(exception: &mut Exception) {
    let told = exception
        .attributes
        .iter_mut()
        .find(|(name, _)| name == ATTRIBUTE);
    if let Some((_, Value::Dict(told))) = told
        && told.get(RETRY_SAFE).is_some()
    {
        told.insert(RETRY_SAFE, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadlock_is_known_however_it_comes_back() {
        let report = Report::new(DeadlockKind::Cycle, Vec::new(), 0);
        let check = |change: fn(&mut Exception), expected: Option<bool>| {
            let mut exception = exception(&report, true);
            change(&mut exception);
            let known = Deadlock::of_exception(&exception);
            assert_eq!(known.as_ref().map(|known| known.retry_safe), expected);
            assert!(known.is_none_or(|known| known.id == report.id));
        };
        check(|_| {}, Some(true));
        check(forbid_retry, Some(false));
        // As Python hands it on inside of a batch.
        check(|exception| exception.attributes.clear(), Some(false));
        // Where the number is another one.
        check(|exception| exception.args[0] = 11.into(), Some(true));
        check(|exception| exception.class = "OSError".into(), Some(true));
        check(
            |exception| exception.class = "builtins.ValueError".into(),
            None,
        );
        check(
            |exception| {
                exception.attributes.clear();
                exception.args[1] = "resource deadlock avoided".into();
            },
            None,
        );
    }
}
