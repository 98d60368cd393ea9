//! What the programs of the interop tests check their peers by.

#![forbid(unsafe_code)]

use anyhow::{bail, ensure};

/// Fails unless both are equal, and says where the difference is.
#[track_caller]
pub fn equal<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    found: T,
    expected: U,
) -> anyhow::Result<()> {
    let place = std::panic::Location::caller();
    ensure!(
        found == expected,
        "line {}: found {found:?}, expected {expected:?}",
        place.line()
    );
    Ok(())
}

/// Fails unless the call raised this class with this text in its message.
#[track_caller]
pub fn raised<T: std::fmt::Debug>(
    result: Result<T, antifreeze::Error>,
    class: &str,
    text: &str,
) -> anyhow::Result<antifreeze::Exception> {
    let line = std::panic::Location::caller().line();
    let error = match result {
        Ok(value) => bail!("line {line}: no exception but {value:?}, expected {class}"),
        Err(error) => error,
    };
    let Some(exception) = error.remote() else {
        bail!("line {line}: expected {class}, but the call failed with {error:?}");
    };
    ensure!(
        exception.class == class && exception.message().contains(text),
        "line {line}: expected {class} with {text:?}, found {} with {:?}",
        exception.class,
        exception.message()
    );
    Ok(exception.clone())
}

/// Fails unless the error is of this kind and says this.
#[track_caller]
pub fn failed<T: std::fmt::Debug>(
    result: Result<T, antifreeze::Error>,
    kinds: &[antifreeze::ErrorKind],
    text: &str,
) -> anyhow::Result<antifreeze::Error> {
    let line = std::panic::Location::caller().line();
    match result {
        Ok(value) => bail!("line {line}: expected a failure, found {value:?}"),
        Err(error) => {
            ensure!(
                kinds.contains(&error.kind()) && error.to_string().contains(text),
                "line {line}: expected {kinds:?} with {text:?}, found {error:?}"
            );
            Ok(error)
        }
    }
}
