//! A call that goes through three servers and comes back to the first.

use std::sync::Arc;

use antifreeze::{Config, Error, Proxy, expose};
use antifreeze_interop::equal;
use anyhow::Context as _;

use crate::{Guest, Stage};

struct Chain {
    name: String,
    next: String,
    config: Arc<Config>,
}

#[expose]
impl Chain {
    fn process(&self, mut message: Vec<String>) -> Result<Vec<String>, Error> {
        let Self { name, next, config } = self;
        if message.contains(name) {
            println!("Back at {name}; we completed the circle!");
            return Ok(vec![format!("complete at {name}")]);
        }
        println!("I'm {name}, passing to {next}");
        message.push(name.clone());
        let next = Proxy::builder(format!("PYRONAME:example.chain.{next}"))?;
        let next = next.config(Config::clone(config)).connect()?;
        let mut result: Vec<String> = next.call("process", (message,))?;
        result.insert(0, format!("passed on from {name}"));
        Ok(result)
    }
}

/// Serves the node that the first word says, before the node of the second.
pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let [name, next] = &stage.words[..] else {
        anyhow::bail!("expected a name and the next one's");
    };
    let chain = Chain {
        name: name.clone(),
        next: next.clone(),
        config: Arc::new(stage.config.clone()),
    };
    let uri = stage.daemon.register(None, chain)?;
    stage.name(&format!("example.chain.{name}"), &uri)
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let chain = guest.proxy("PYRONAME:example.chain.A")?;
    let result: Vec<String> = chain
        .call("process", (vec!["hello"],))
        .context("the circle is broken")?;
    let expected = [
        "passed on from A",
        "passed on from B",
        "passed on from C",
        "complete at A",
    ];
    equal(result, expected)
}
