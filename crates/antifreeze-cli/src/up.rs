//! `antifreeze up`: everything there is, on its defaults, and what to try with it.

use std::env;
use std::path::Path;

use antifreeze::{Config, Uri};

use crate::failure::Failure;
use crate::listen::Listen;
use crate::{echo_object, output};

/// Serve an object on embedded defaults, and say what to try with it
///
/// Begin here. It needs no other program and no settings. It prints the URI of its object, and
/// lines that you can paste into a shell and into Python. Ctrl-C ends it.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    listen: Listen,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (daemon, uri) = echo_object::bind(self.listen, Config::load()?)?;
        output::print("The echo object is up:\n")?;
        output::print(&uri.to_string())?;
        output::print(&what_to_try(&uri, &program()))?;
        Ok(daemon.serve()?)
    }
}

fn what_to_try(uri: &Uri, program: &str) -> String {
    format!(
        "\n\
         Try it from another shell:\n\
         \n\
         {program} call {uri} echo '\"hello\"'\n\
         {program} meta {uri}\n\
         \n\
         From Python, after `pip install Pyro5`:\n\
         \n\
         import Pyro5.api\n\
         echo = Pyro5.api.Proxy(\"{uri}\")\n\
         print(echo.echo(\"hello\"))\n\
         \n\
         Ctrl-C ends it."
    )
}

/// How the user can start this program once more, in the same directory.
fn program() -> String {
    let this = env::current_exe().ok();
    let in_path = || {
        let first = env::split_paths(&env::var_os("PATH")?)
            .map(|directory| directory.join("antifreeze"))
            .find(|file| file.is_file())?;
        (first.canonicalize().ok()? == this.as_deref()?.canonicalize().ok()?).then_some(())
    };
    if in_path().is_some() {
        return "antifreeze".to_owned();
    }
    // Set for a program that was started by `cargo run`.
    if env::var_os("CARGO_MANIFEST_DIR").is_some() {
        let release = if cfg!(debug_assertions) {
            ""
        } else {
            "--release "
        };
        return format!("cargo run -q {release}--");
    }
    let called = env::args_os().next().unwrap_or_else(|| "antifreeze".into());
    Path::new(&called).display().to_string()
}
