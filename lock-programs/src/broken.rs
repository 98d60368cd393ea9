//! Detectors that are broken on purpose, by their names.

use antifreeze_sync::faults::Fault;

/// Which fault has this name.
///
/// # Errors
///
/// If none has: the error names all of them.
pub(crate) fn parse(wanted: &str) -> Result<Fault, String> {
    let found = Fault::ALL.into_iter().find(|fault| name(*fault) == wanted);
    found.ok_or_else(|| format!("expected one of {}", Fault::ALL.map(name).join(", ")))
}

/// `NoSecondPass` is `no-second-pass`.
fn name(fault: Fault) -> String {
    let mut name = String::new();
    for letter in format!("{fault:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Breaks the detector for as long as this process lives.
///
/// # Errors
///
/// If it cannot be broken.
pub(crate) fn set(fault: Fault) -> Result<(), String> {
    #[cfg(feature = "faults")]
    {
        antifreeze_sync::faults::set(fault, true);
        Ok(())
    }
    #[cfg(not(feature = "faults"))]
    Err(format!(
        "expected a build with the feature faults for --broken {}, got one without",
        name(fault)
    ))
}
