//! What went wrong with a call, a connection or a setting, and whose fault it is.
//!
//! One opaque [`Error`] for everything that this crate reports. Ask it questions: [`Error::kind`]
//! says what happened, [`Error::fault`] who is to blame, [`Error::sent`] whether the call may have
//! run, and [`Error::remote`] gives the exception that a remote method raised.

use std::fmt;
use std::sync::Arc;

use antifreeze_serial::Exception;
use antifreeze_sync::{LockError, Report};

use crate::deadlock::Deadlock;

/// The error of everything in this crate.
///
/// # Examples
///
/// ```
/// use antifreeze::{ErrorKind, Fault, Uri};
///
/// let error = "PYRO:account".parse::<Uri>().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Uri);
/// assert_eq!(error.fault(), Fault::Caller);
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    sent: Sent,
    message: String,
    remote: Option<Exception>,
    /// Of a deadlock that was found here.
    report: Option<Arc<Report>>,
}

/// What happened, as far as a program can act on it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The remote method raised an exception; see [`Error::remote`].
    Remote,
    /// The call would never have been answered, because somebody waited for whoever waited for it;
    /// see [`Error::deadlock`].
    Deadlock,
    /// Nothing came within the time that was allowed.
    Timeout,
    /// The daemon could not be reached.
    Connect,
    /// The daemon answered the handshake with a refusal.
    Refused,
    /// The connection ended before the answer came.
    Closed,
    /// The peer broke the Pyro protocol.
    Protocol,
    /// A value could not be encoded for the wire, or not decoded as the type that was asked for.
    Serialize,
    /// The text is not a Pyro URI.
    Uri,
    /// The name server was not found, or does not know the name.
    Naming,
    /// A daemon, registration or proxy was used in a way that it does not allow.
    Usage,
    /// A setting has a value that it cannot have.
    Config,
    /// The operating system refused something that is not a connection, such as an address to
    /// listen on.
    Io,
}

/// Who is to blame.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The program at the other end.
    Peer,
    /// The code that called us.
    Caller,
    /// The network, the machine, the time.
    World,
}

/// Whether a call has left this process, from the least to the most.
///
/// Of a call that was sent several times it is the most of all attempts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Sent {
    /// Not all of it was given to the network, perhaps nothing: it has certainly not run.
    No,
    /// All of it was sent and no answer came: it may have run.
    Maybe,
    /// It was answered: it has run, or was refused by the object.
    Yes,
}

impl Error {
    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Who is to blame for it.
    pub fn fault(&self) -> Fault {
        match self.0.kind {
            ErrorKind::Remote | ErrorKind::Refused | ErrorKind::Protocol => Fault::Peer,
            ErrorKind::Deadlock => Fault::World,
            // An answer came that cannot be decoded as what it should be.
            ErrorKind::Serialize if self.0.sent == Sent::Yes => Fault::Peer,
            ErrorKind::Uri | ErrorKind::Usage | ErrorKind::Config | ErrorKind::Serialize => {
                Fault::Caller
            }
            ErrorKind::Timeout
            | ErrorKind::Connect
            | ErrorKind::Closed
            | ErrorKind::Naming
            | ErrorKind::Io => Fault::World,
        }
    }

    /// Whether the call that failed may have run.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// The exception that the remote method raised: its class, arguments, attributes, traceback.
    pub fn remote(&self) -> Option<&Exception> {
        self.0.remote.as_ref()
    }

    /// The deadlock that the call was the victim of, here or wherever it led to.
    ///
    /// Whoever has this error has nothing to wait for any more; what it holds, it should let go of
    /// before it tries again.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use antifreeze::{Error, Proxy};
    /// fn deposit(account: &Proxy, amount: i64) -> Result<i64, Error> {
    ///     loop {
    ///         match account.call("deposit", (amount,)) {
    ///             Err(error) if error.deadlock().is_some_and(|deadlock| deadlock.retry_safe) => {}
    ///             done => return done,
    ///         }
    ///     }
    /// }
    /// ```
    pub fn deadlock(&self) -> Option<Deadlock> {
        let report = self.0.report.as_deref();
        let found = report.map(|report| Deadlock::of_report(report, self.sent() == Sent::No));
        found.or_else(|| Deadlock::of_exception(self.remote()?))
    }

    /// The report of a deadlock that was found here.
    pub(crate) fn report(&self) -> Option<&Report> {
        self.0.report.as_deref()
    }

    /// Whether the remote method raised an exception of this class, such as
    /// `builtins.ValueError` or just `ValueError`.
    pub fn is_remote(&self, class: &str) -> bool {
        self.remote().is_some_and(|e| {
            e.class == class
                || e.class
                    .rsplit_once('.')
                    .is_some_and(|(_, name)| name == class)
        })
    }

    /// Whether the time allowed has run out.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            sent: Sent::No,
            message: message.into(),
            remote: None,
            report: None,
        }))
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A call was answered with an exception.
    pub(crate) fn raised(exception: Exception) -> Self {
        let kind = match Deadlock::of_exception(&exception) {
            Some(_) => ErrorKind::Deadlock,
            None => ErrorKind::Remote,
        };
        let mut error = Self::new(kind, String::new());
        error.0.sent = Sent::Yes;
        error.0.remote = Some(exception);
        error
    }

    /// The call could not be made, for it waited for something that would never have been there.
    #[cold]
    pub(crate) fn unobtainable(error: &LockError) -> Self {
        let report = match error {
            LockError::Deadlock(report) => Some(Arc::clone(report)),
            _ => None,
        };
        let mut this = Self::new(ErrorKind::Deadlock, error.to_string());
        this.0.report = report;
        this
    }

    pub(crate) fn with_sent(mut self, sent: Sent) -> Self {
        self.0.sent = sent;
        self
    }

    /// The same error, told as what it made impossible.
    pub(crate) fn context(mut self, doing: impl fmt::Display) -> Self {
        // That of a remote exception is not in the message.
        self.0.message = format!("{doing}: {self}");
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.remote {
            Some(exception) if self.0.message.is_empty() => {
                if let Some(deadlock) = Deadlock::of_exception(exception) {
                    return f.write_str(&deadlock.text);
                }
                write!(f, "{}: {}", exception.class, exception.message())
            }
            _ => f.write_str(&self.0.message),
        }
    }
}

/// What a program prints whose `main` returns the error: the message, and what else matters.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?}", self.0.kind)?;
        match self.0.sent {
            Sent::Maybe => f.write_str(", may have run)"),
            Sent::No | Sent::Yes => f.write_str(")"),
        }
    }
}

/// The message tells everything, so there is no `source` to repeat it.
impl std::error::Error for Error {}

impl From<antifreeze_serial::Error> for Error {
    fn from(error: antifreeze_serial::Error) -> Self {
        Self::new(ErrorKind::Serialize, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_cannot_be_decoded_is_the_peers_fault() {
        let error = Error::new(ErrorKind::Serialize, "no number");
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(error.with_sent(Sent::Yes).fault(), Fault::Peer);
    }

    #[test]
    fn what_it_made_impossible_hides_no_exception() {
        let exception = Exception::new("builtins.ValueError", "too small");
        let error = Error::raised(exception).context("looking up a name");
        let text = "looking up a name: builtins.ValueError: too small";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn the_more_was_sent_the_more_it_is() {
        assert!(Sent::No < Sent::Maybe && Sent::Maybe < Sent::Yes);
    }
}
