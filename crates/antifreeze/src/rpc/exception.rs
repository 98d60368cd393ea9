//! Rust errors as the exceptions that Python will see.
//!
//! A class that stock Pyro5 cannot rebuild would cost its client the connection and the text, so
//! everything becomes a builtin or one of Pyro's own. Communication errors are never passed on as
//! such: a Python server in between would drop its connection instead of answering
//! (`server.py`, `handleRequest`).

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use antifreeze_serial::{Exception, Value};
use antifreeze_sync::__private::deadlock_of_panic;
use antifreeze_sync::LockError;

use super::queue::Reason;
use crate::deadlock;
use crate::error::{Error, ErrorKind};

pub(crate) const PYRO_ERROR: &str = "Pyro5.errors.PyroError";
pub(crate) const DAEMON_ERROR: &str = "Pyro5.errors.DaemonError";
pub(crate) const ATTRIBUTE_ERROR: &str = "builtins.AttributeError";
pub(crate) const TYPE_ERROR: &str = "builtins.TypeError";
pub(crate) const VALUE_ERROR: &str = "builtins.ValueError";
pub(crate) const RUNTIME_ERROR: &str = "builtins.RuntimeError";
pub(crate) const TIMEOUT_ERROR: &str = "builtins.TimeoutError";
const OS_ERROR: &str = "builtins.OSError";

/// An exception of a class that is not Pyro's, for a method to return as its error.
///
/// It is sent as it is. Stock clients can make something of it if they have told Pyro how, with
/// `register_dict_to_class`; to others it is a `SerializeError`, and costs them their connection. So
/// what a method returns as an [`Exception`] becomes a `RuntimeError` of the same text, if Pyro does
/// not know the class.
///
/// # Examples
///
/// ```
/// use antifreeze::{CustomException, Exception, expose};
///
/// struct Stage;
///
/// #[expose]
/// impl Stage {
///     fn move_to(&self, position: f64) -> Result<(), CustomException> {
///         if position > 100.0 {
///             return Err(CustomException(Exception::new("lab.StageError", "limit hit")));
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct CustomException(pub Exception);

/// The exception for an error that a method returned.
pub(crate) fn from_error(error: Box<dyn StdError + Send + Sync>) -> Exception {
    let mut chain = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push(cause.to_string());
        source = cause.source();
    }
    let mut exception = match own_exception(error) {
        Ok(mut exception) => {
            deadlock::forbid_retry(&mut exception);
            exception
        }
        Err(error) => convert(error.as_ref()),
    };
    if !chain.is_empty() {
        let told = chain
            .into_iter()
            .map(|cause| format!("    caused by: {cause}\n"));
        exception.set_traceback(told);
    }
    exception
}

/// The exception that the error is, as it may be sent.
fn own_exception(
    error: Box<dyn StdError + Send + Sync>,
) -> Result<Exception, Box<dyn StdError + Send + Sync>> {
    let error = match error.downcast::<Exception>() {
        Ok(exception) => return Ok(answerable(*exception)),
        Err(error) => error,
    };
    let CustomException(exception) = *error.downcast::<CustomException>()?;
    // Pyro refuses what claims to be its own and is not.
    let foreign = |class: &str| class.contains('.') && !class.starts_with("Pyro5.");
    Ok(
        if foreign(&exception.class) && !exception.is_known_to_pyro() {
            exception
        } else {
            answerable(exception)
        },
    )
}

fn convert(error: &(dyn StdError + Send + Sync + 'static)) -> Exception {
    if let Some(cause) = lock_error(error) {
        let mut exception = from_lock_error(cause);
        let text = error.to_string();
        if let Some(deadlock) = cause.deadlock() {
            // What the method says about it comes first, and the whole cycle is told once.
            if !text.contains(&deadlock.id) {
                exception.args[1] = format!("{text}: {deadlock}").into();
            }
        } else {
            exception.args = vec![text.into()];
        }
        return exception;
    }
    if let Some(error) = error.downcast_ref::<Error>() {
        return from_own(error);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return from_io(error);
    }
    if let Some(error) = error.downcast_ref::<antifreeze_serial::Error>() {
        return Exception::new(error.python_class(), error.to_string());
    }
    let class = if is_parse_error(error) {
        "builtins.ValueError"
    } else {
        RUNTIME_ERROR
    };
    Exception::new(class, error.to_string())
}

/// The error of a lock, if it is one or came of one.
fn lock_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a LockError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The exception for a call that was ended from outside, and not because it waited too long.
pub(super) fn ended(reason: Reason) -> Exception {
    match reason {
        Reason::Closing => closing(""),
        Reason::Terminated => terminated(),
        Reason::Lost | Reason::TooLong => Exception::new(PYRO_ERROR, "the caller is gone"),
    }
}

/// What a client is told of an item stream that is over, or never was.
pub(super) fn terminated() -> Exception {
    Exception::new(PYRO_ERROR, "item stream terminated")
}

/// The exception for what a daemon does not wait for that shuts down.
pub(crate) fn closing(detail: &str) -> Exception {
    let text = format!("the daemon is shutting down{detail}");
    Exception::new(DAEMON_ERROR, text)
}

/// The exception for a call that did not get what it needs to begin.
pub(crate) fn from_refusal(error: &LockError) -> Exception {
    match error {
        LockError::Deadlock(report) => deadlock::exception(report, true),
        _ => from_lock_error(error),
    }
}

/// The exception for a lock that could not be had.
pub(crate) fn from_lock_error(error: &LockError) -> Exception {
    match error {
        LockError::Deadlock(report) => deadlock::exception(report, false),
        LockError::Timeout => Exception::new(TIMEOUT_ERROR, error.to_string()),
        _ => Exception::new(RUNTIME_ERROR, error.to_string()),
    }
}

/// A call that the method made has failed.
fn from_own(error: &Error) -> Exception {
    if let Some(remote) = error.remote() {
        let mut exception = answerable(remote.clone());
        deadlock::forbid_retry(&mut exception);
        // Python's own middle hops replace the traceback, too; where it came from stays readable.
        let lines = remote.traceback();
        exception.set_traceback(lines.iter().map(|line| format!("    | {line}")));
        return exception;
    }
    if let Some(report) = error.report() {
        return deadlock::exception(report, false);
    }
    let class = match error.kind() {
        ErrorKind::Naming => "Pyro5.errors.NamingError",
        ErrorKind::Io => OS_ERROR,
        ErrorKind::Uri | ErrorKind::Usage | ErrorKind::Config => "builtins.ValueError",
        ErrorKind::Serialize => TYPE_ERROR,
        _ => PYRO_ERROR,
    };
    Exception::new(class, error.to_string())
}

/// The exception itself, unless a Python server in between would drop its connection over it, or a
/// Python client could not rebuild it.
fn answerable(exception: Exception) -> Exception {
    let Some(class) = exception.pyro_class() else {
        let mut known = Exception::new(RUNTIME_ERROR, exception.to_string());
        known.attributes = exception.attributes;
        return known;
    };
    if is_communication_error(&class) || is_no_error(&class) {
        return Exception::new(PYRO_ERROR, exception.to_string());
    }
    exception
}

fn from_io(error: &io::Error) -> Exception {
    let mut exception = Exception::new(OS_ERROR, error.to_string());
    if let Some(code) = error.raw_os_error() {
        exception.args.insert(0, Value::from(i64::from(code)));
    }
    exception
}

fn is_communication_error(class: &str) -> bool {
    const NAMES: [&str; 6] = [
        "CommunicationError",
        "ConnectionClosedError",
        "TimeoutError",
        "ProtocolError",
        "MessageTooLargeError",
        "SerializeError",
    ];
    class
        .strip_prefix("Pyro5.errors.")
        .is_some_and(|name| NAMES.contains(&name))
}

/// Whether it is no `Exception` in Python, so that a client that handles errors would not see it, and
/// might even exit.
fn is_no_error(class: &str) -> bool {
    const NAMES: [&str; 5] = [
        "BaseException",
        "BaseExceptionGroup",
        "GeneratorExit",
        "KeyboardInterrupt",
        "SystemExit",
    ];
    class
        .strip_prefix("builtins.")
        .is_some_and(|name| NAMES.contains(&name))
}

fn is_parse_error(error: &(dyn StdError + 'static)) -> bool {
    error.is::<std::num::ParseIntError>()
        || error.is::<std::num::ParseFloatError>()
        || error.is::<std::num::TryFromIntError>()
        || error.is::<std::str::ParseBoolError>()
        || error.is::<std::str::Utf8Error>()
        || error.is::<std::string::FromUtf8Error>()
        || error.is::<std::char::ParseCharError>()
        || error.is::<std::net::AddrParseError>()
}

/// The exception for a method that panicked.
pub(crate) fn from_panic(panic: &(dyn Any + Send), member: &str) -> Exception {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    if let Some(report) = deadlock_of_panic(text) {
        return deadlock::exception(&report, false);
    }
    Exception::new(RUNTIME_ERROR, format!("method '{member}' panicked: {text}"))
}

/// Completes the traceback, as Python's `get_pyro_traceback` will print it.
pub(crate) fn finish_traceback(exception: &mut Exception, object: &str, place: impl Display) {
    let mut lines = vec![
        "Traceback (most recent call last):\n".to_owned(),
        format!("  Rust object \"{object}\", in {place}\n"),
    ];
    lines.extend(exception.traceback());
    let class = exception
        .class
        .strip_prefix("builtins.")
        .unwrap_or(&exception.class);
    // Python tells these two apart from all other arguments.
    let message = match (class, &exception.args[..]) {
        ("OSError", [Value::Int(number), Value::Str(text)]) => format!("[Errno {number}] {text}"),
        _ => exception.message(),
    };
    lines.push(format!("{class}: {message}\n"));
    exception.set_traceback(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: impl Into<Box<dyn StdError + Send + Sync>>, class: &str, message: &str) {
        let exception = from_error(error.into());
        assert_eq!(
            (exception.class.as_str(), exception.message().as_str()),
            (class, message)
        );
    }

    #[test]
    fn errors_become_classes_that_python_knows() {
        check("plain text", "builtins.RuntimeError", "plain text");
        check(
            "x".parse::<i64>().unwrap_err(),
            "builtins.ValueError",
            "invalid digit found in string",
        );
        check(
            Exception::new("builtins.KeyError", "k"),
            "builtins.KeyError",
            "k",
        );
        check(Error::new(ErrorKind::Closed, "gone"), PYRO_ERROR, "gone");
        check(
            Exception::new("Pyro5.errors.ProtocolError", "raised by hand"),
            PYRO_ERROR,
            "Pyro5.errors.ProtocolError: raised by hand",
        );
        check(
            Exception::new("lab.StageError", "limit hit"),
            "builtins.RuntimeError",
            "lab.StageError: limit hit",
        );
        check(
            CustomException(Exception::new("lab.StageError", "limit hit")),
            "lab.StageError",
            "limit hit",
        );
        for class in [
            "builtins.SystemExit",
            "exceptions.SystemExit",
            "KeyboardInterrupt",
            "GeneratorExit",
            "builtins.BaseException",
            "builtins.BaseExceptionGroup",
            "TimeoutError",
            "ProtocolError",
            "Pyro5.errors.CommunicationError",
        ] {
            let text = format!("{class}: 1");
            check(Exception::new(class, "1"), PYRO_ERROR, &text);
            check(
                CustomException(Exception::new(class, "1")),
                PYRO_ERROR,
                &text,
            );
        }
        // No class of its own: it is Pyro's to say what those are.
        for class in ["Pyro5.errors.StageError", "Pyro5.core.URI"] {
            let custom = CustomException(Exception::new(class, "no"));
            check(custom, RUNTIME_ERROR, &format!("{class}: no"));
        }
        check(
            Exception::new("builtins.TimeoutError", "late"),
            TIMEOUT_ERROR,
            "late",
        );
        check(
            Error::new(ErrorKind::Naming, "no"),
            "Pyro5.errors.NamingError",
            "no",
        );
    }

    #[test]
    fn a_remote_exception_keeps_its_class_unless_a_python_hop_would_drop_it() {
        check(
            Error::raised(Exception::new("builtins.KeyError", "k")),
            "builtins.KeyError",
            "k",
        );
        check(
            Error::raised(Exception::new("Pyro5.errors.TimeoutError", "late")),
            PYRO_ERROR,
            "Pyro5.errors.TimeoutError: late",
        );
    }

    #[test]
    fn io_errors_keep_their_number() {
        let exception = from_error(io::Error::from_raw_os_error(2).into());
        assert_eq!(exception.class, "builtins.OSError");
        assert_eq!(exception.args[0], Value::from(2_i64));
    }

    #[test]
    fn the_traceback_names_the_whole_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read the sensor")]
        struct Outer(#[source] io::Error);
        let mut exception = from_error(Outer(io::Error::other("cable cut")).into());
        finish_traceback(&mut exception, "probe", "Probe.read");
        assert_eq!(
            exception.traceback().concat(),
            "Traceback (most recent call last):\n  Rust object \"probe\", in Probe.read\n    \
             caused by: cable cut\nRuntimeError: cannot read the sensor\n"
        );
    }
}
