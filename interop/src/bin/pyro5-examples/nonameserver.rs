//! Objects that are found by nothing but their URIs.

use antifreeze::expose;
use anyhow::ensure;

use crate::{Guest, Stage};

struct QuoteGen;

#[expose]
impl QuoteGen {
    fn quote(&self) -> &'static str {
        "Well begun is half done."
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!("{}", stage.daemon.register(None, QuoteGen)?);
    println!("{}", stage.daemon.register("example.quotegen", QuoteGen)?);
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    for uri in &guest.words {
        let quote: String = guest.proxy(uri)?.call("quote", ())?;
        ensure!(!quote.is_empty(), "expected a quote");
    }
    Ok(())
}
