//! A private Python environment below the target directory, made once and again whenever the
//! requirements or the interpreter change.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps::{Place, succeed};

/// Prints what the environment depends on, and fails where the suite could not run.
const PROBE: &str = "\
import sys
assert sys.version_info >= (3, 9), 'Python 3.9 or later is needed, this is ' + sys.version
import pip, venv
print(sys.version, sys.executable)
";

/// The interpreter of the environment; it exists after [`set_up`].
pub(crate) fn interpreter(place: &Place) -> PathBuf {
    let inside = if cfg!(windows) {
        "Scripts/python.exe"
    } else {
        "bin/python"
    };
    environment(place).join(inside)
}

fn environment(place: &Place) -> PathBuf {
    place.target.join("interop-venv")
}

/// Makes the environment unless the one that is there still fits.
pub(crate) fn set_up(place: &Place) -> anyhow::Result<()> {
    let requirements = place.root.join("interop/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let (python, version) = find_python()?;
    // Written last, so a half made environment is never taken for a whole one.
    let stamp = environment(place).join("antifreeze-stamp");
    let fitting = format!("{version}\n{wanted}");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == fitting) {
        println!("using {}", environment(place).display());
        return Ok(());
    }

    // Without pip inside: some distributions ship `venv` without what it takes to put pip there.
    // The pip outside installs into it just as well.
    succeed(
        Command::new(&python)
            .args(["-m", "venv", "--clear", "--without-pip"])
            .arg(environment(place)),
    )?;
    let output = Command::new(interpreter(place))
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ])
        .output()
        .context("cannot start the Python of the new environment")?;
    let packages = String::from_utf8(output.stdout).context("a path that is not UTF-8")?;
    succeed(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-input", "--target", packages.trim(), "--requirement"])
            .arg(&requirements),
    )?;
    fs::write(&stamp, fitting).with_context(|| format!("cannot write {}", stamp.display()))
}

/// The first Python that will do, and its version and place.
fn find_python() -> anyhow::Result<(OsString, String)> {
    let candidates = match std::env::var_os("ANTIFREEZE_PYTHON") {
        Some(chosen) => vec![chosen],
        None => vec!["python3".into(), "python".into()],
    };
    let mut problems = String::new();
    for python in candidates {
        match Command::new(&python).args(["-c", PROBE]).output() {
            Ok(output) if output.status.success() => {
                let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                return Ok((python, version));
            }
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                let reason = text.trim().lines().last().unwrap_or("it failed").to_owned();
                problems += &format!("\n  {}: {reason}", python.to_string_lossy());
            }
            Err(error) => problems += &format!("\n  {}: {error}", python.to_string_lossy()),
        }
    }
    bail!("no usable Python (3.9 or later with pip; set ANTIFREEZE_PYTHON to name one):{problems}")
}
