//! `antifreeze meta`: what a remote object has.

use antifreeze::{Config, Metadata, Proxy, Uri};

use crate::failure::Failure;
use crate::output;

/// Show the methods and attributes of a remote object
///
/// A method that is marked oneway gives no answer: the caller does not wait, and is not told
/// whether it worked.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The object: PYRO:object@host:port, or PYRONAME:name to ask the name server
    uri: String,
    /// Print JSON: an object with the lists methods, oneway and attrs
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = Config::load()?;
        let uri = Uri::parse_with_ns_port(&self.uri, config.ns_port).map_err(Failure::usage)?;
        let metadata = Proxy::builder(uri)?.config(config).connect()?.metadata()?;
        let text = if self.json {
            json(&metadata)
        } else {
            plain(&metadata)
        };
        Ok(output::print(&text)?)
    }
}

fn json(metadata: &Metadata) -> String {
    let Metadata {
        methods,
        oneway,
        attrs,
        ..
    } = metadata;
    serde_json::json!({ "methods": methods, "oneway": oneway, "attrs": attrs }).to_string()
}

fn plain(metadata: &Metadata) -> String {
    let mut lines = Vec::new();
    for method in &metadata.methods {
        let oneway = if metadata.oneway.contains(method) {
            " (oneway)"
        } else {
            ""
        };
        lines.push(format!("method    {}{oneway}", output::clean(method)));
    }
    for attr in &metadata.attrs {
        lines.push(format!("attribute {}", output::clean(attr)));
    }
    lines.join("\n")
}
