//! Quotes without end from several markets, found in the name server.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use antifreeze::{NameServer, expose};
use antifreeze_interop::equal;
use anyhow::{Context as _, ensure};

use crate::{Guest, Stage};

struct StockMarket {
    name: &'static str,
    symbols: &'static [&'static str],
    second: Duration,
}

#[expose]
impl StockMarket {
    fn quotes(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let (symbols, pause) = (self.symbols.iter().cycle(), self.second / 4);
        symbols.zip(1..).map(move |(symbol, number)| {
            sleep(pause);
            (*symbol, f64::from(number % 145 + 5))
        })
    }

    #[attr]
    fn name(&self) -> &'static str {
        self.name
    }

    #[attr]
    fn symbols(&self) -> &'static [&'static str] {
        self.symbols
    }
}

const MARKETS: [(&str, &str, &[&str]); 2] = [
    ("nasdaq", "NASDAQ", &["AAPL", "CSCO", "MSFT", "GOOG"]),
    ("newyork", "NYSE", &["IBM", "HPQ", "BP"]),
];

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    for (id, name, symbols) in MARKETS {
        let market = StockMarket {
            name,
            symbols,
            second: stage.second,
        };
        let uri = stage.daemon.register(id, market)?;
        stage.name(&format!("example.stockmarket.{id}"), &uri)?;
    }
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let names = NameServer::locate(&guest.config)?;
    let mut seen = BTreeMap::new();
    for uri in names.list(Some("example.stockmarket."))?.values() {
        let market = guest.proxy(uri)?;
        let symbols: BTreeSet<String> = market.attr("symbols")?;
        for quote in market.stream::<(String, f64)>("quotes", ())?.take(5) {
            let (symbol, value) = quote?;
            ensure!(symbols.contains(&symbol), "{symbol} is not traded here");
            ensure!((5.0..=150.0).contains(&value), "{value} is no price");
        }
        seen.insert(market.attr::<String>("name")?, symbols);
    }
    equal(seen.keys().collect::<Vec<_>>(), ["NASDAQ", "NYSE"])?;
    let newyork = seen.get("NYSE").context("no such market")?;
    equal(newyork.iter().collect::<Vec<_>>(), ["BP", "HPQ", "IBM"])
}
