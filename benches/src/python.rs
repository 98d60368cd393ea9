//! The private virtual environment that the Python peers run in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The pins of the interoperability tests, so that what is tested is what is compared with.
const PINS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../interop/requirements.txt");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");
const PACKAGES: [&str; 3] = ["Pyro5", "serpent", "msgpack"];

/// A Python that has the pinned packages.
pub(crate) struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// Makes the virtual environment under `target`, unless it is there with the same pins.
    pub(crate) fn prepare(target: &Path) -> Result<Self> {
        let home = target.join("benches-python");
        let interpreter = home.join("bin/python");
        let stamp = home.join("requirements.txt");
        let pins = fs::read_to_string(PINS).with_context(|| format!("cannot read {PINS}"))?;
        if fs::read_to_string(&stamp).is_ok_and(|made_with| made_with == pins) {
            return Ok(Self { interpreter });
        }
        eprintln!("making a virtual environment in {}", home.display());
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&home))?;
        run(Command::new(&interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--constraint", PINS])
            .args(PACKAGES))?;
        fs::write(&stamp, pins)?;
        Ok(Self { interpreter })
    }

    /// The command line that runs one of our scripts.
    pub(crate) fn script(&self, name: &str) -> Vec<String> {
        let script = Path::new(SCRIPTS).join(name);
        [self.interpreter.as_path(), Path::new("-I"), &script]
            .map(|part| part.display().to_string())
            .into()
    }

    /// The versions of the interpreter and the packages, for the report.
    pub(crate) fn versions(&self) -> Result<String> {
        let script = "import importlib.metadata, platform, sys\n\
            print('Python', platform.python_version(), end='')\n\
            for name in sys.argv[1:]: print(',', name, importlib.metadata.version(name), end='')";
        let output = Command::new(&self.interpreter)
            .args(["-I", "-c", script])
            .args(PACKAGES)
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn run(command: &mut Command) -> Result<()> {
    // Standard output is the report's.
    let status = command.stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
