//! Why a command did not do what was asked: one clear line, and an exit code.

use std::io;
use std::process::ExitCode;

use antifreeze::{Error, ErrorKind};

use crate::output;

/// The end of a command that did not work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, or a setting, is wrong.
    Usage(String),
    /// What was asked for failed.
    Failed {
        /// One line.
        message: String,
        /// The lines of the remote traceback, if it is wanted and there is one.
        traceback: Vec<String>,
    },
    /// Nobody reads our output any more, as under `antifreeze config | head`.
    NobodyReads,
}

impl Failure {
    /// The failure of an `error` in what stands on the command line.
    pub(crate) fn usage(error: Error) -> Self {
        Self::Usage(error.to_string())
    }

    /// The failure of `error`, with the remote traceback.
    pub(crate) fn with_traceback(error: &Error) -> Self {
        let lines = error
            .remote()
            .map(|exception| exception.traceback())
            .unwrap_or_default();
        match Self::from(error) {
            Self::Failed { message, .. } => Self::Failed {
                message,
                traceback: lines,
            },
            other => other,
        }
    }

    /// Says it on standard error, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                eprintln!("error: {}", output::clean(&message));
                ExitCode::from(2)
            }
            Self::Failed { message, traceback } => {
                for line in traceback {
                    eprintln!("{}", output::clean(line.trim_end()));
                }
                eprintln!("error: {}", output::clean(&message));
                ExitCode::FAILURE
            }
            Self::NobodyReads => ExitCode::SUCCESS,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let mut message = error.to_string();
        // As a Python program would show it.
        if let Some(rest) = message.strip_prefix("builtins.") {
            message = rest.to_owned();
        }
        match error.kind() {
            ErrorKind::Config => Self::Usage(message),
            _ => Self::Failed {
                message,
                traceback: Vec::new(),
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed {
                message: error.to_string(),
                traceback: Vec::new(),
            },
        }
    }
}
