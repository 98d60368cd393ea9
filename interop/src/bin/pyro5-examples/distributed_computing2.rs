//! A text whose words are counted in many places at once, which are found in the name server.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::{fs, thread};

use antifreeze::{Config, NameServer, Proxy, expose};
use antifreeze_interop::equal;
use anyhow::anyhow;

use crate::{Guest, Stage};

const COUNTERS: &str = "example.dc2.wordcount.";
const DISPATCHER: &str = "example.dc2.dispatcher";

/// They are in every text.
const FILTER_WORDS: &str = "a an at the i he she s but was has had have and are as be by for if in is it \
    of or that the to with his all any this that not from on me him her their so you there now then no \
    yes one were they them which what when who how where some my into up out some we us t do";

type Counts = BTreeMap<String, u64>;

struct WordCounter;

#[expose]
impl WordCounter {
    fn count(&self, lines: Vec<Option<String>>) -> Counts {
        let mut counts = Counts::new();
        for line in lines.into_iter().flatten() {
            let line = line.replace(|c: char| c.is_ascii_punctuation(), " ");
            for word in line.to_lowercase().split_whitespace() {
                let filtered = || FILTER_WORDS.split(' ').any(|known| known == word);
                if word.chars().all(char::is_alphabetic) && !filtered() {
                    *counts.entry(word.to_owned()).or_default() += 1;
                }
            }
        }
        counts
    }
}

struct Dispatcher {
    config: Config,
}

#[expose]
impl Dispatcher {
    fn count(&self, lines: Vec<Option<String>>) -> anyhow::Result<Counts> {
        let uris = NameServer::locate(&self.config)?.list(Some(COUNTERS))?;
        let connect = |uri| Proxy::builder(uri)?.config(self.config.clone()).connect();
        let counters: Vec<_> = uris.values().map(connect).collect::<Result<_, _>>()?;
        let mut totals = Counts::new();
        thread::scope(|scope| {
            let chunks = lines.chunks(200).zip(counters.iter().cycle());
            let tasks = chunks.map(|(chunk, counter)| {
                scope.spawn(move || counter.call::<Counts>("count", (chunk,)))
            });
            for task in tasks.collect::<Vec<_>>() {
                for (word, count) in task.join().map_err(|_| anyhow!("it panicked"))?? {
                    *totals.entry(word).or_default() += count;
                }
            }
            Ok(totals)
        })
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    for number in 1..=5 {
        let uri = stage.daemon.register(None, WordCounter)?;
        stage.name(&format!("{COUNTERS}{number}"), &uri)?;
    }
    let config = stage.config.clone();
    let uri = stage.daemon.register(None, Dispatcher { config })?;
    stage.name(DISPATCHER, &uri)
}

/// Has the words of a file counted by one, and by all.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let book = fs::read_to_string(guest.word(0)?)?;
    let lines: Vec<&str> = book.lines().collect();
    let count = |name: &str| {
        let counter = guest.proxy(&format!("PYRONAME:{name}"))?;
        anyhow::Ok(counter.call::<Counts>("count", (&lines,))?)
    };
    let counts = count(&format!("{COUNTERS}1"))?;
    equal(&count(DISPATCHER)?, &counts)?;
    let mut words: Vec<_> = counts.into_iter().collect();
    words.sort_by_key(|(_, count)| Reverse(*count));
    for (word, count) in words.iter().take(5) {
        println!("  {word} ({count})");
    }
    Ok(())
}
