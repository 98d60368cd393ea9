//! Work that a client puts into a queue, and that workers take from there.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use antifreeze::{Class, Exception, Proxy, Value, expose};
use antifreeze_interop::equal;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::{Guest, Stage};

struct Queue {
    items: Mutex<VecDeque<Value>>,
    count: Semaphore,
}

impl Queue {
    fn new() -> Self {
        Self {
            items: Mutex::default(),
            count: Semaphore::new(0),
        }
    }

    fn put(&self, item: Value) {
        self.items.lock().push_back(item);
        self.count.add_permits(1);
    }

    async fn get(&self, seconds: f64) -> Option<Value> {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let one = timeout(limit, self.count.acquire()).await;
        one.ok()?.ok()?.forget();
        self.items.lock().pop_front()
    }

    fn size(&self) -> usize {
        self.items.lock().len()
    }
}

/// It does not know of what class the items are.
struct DispatcherQueue {
    work: Queue,
    results: Queue,
}

fn nothing(text: &str) -> Exception {
    Exception::new("builtins.ValueError", text)
}

/// Nobody occupies a thread while waiting for an item.
#[expose]
impl DispatcherQueue {
    #[rename = "putWork"]
    fn put_work(&self, item: Value) {
        self.work.put(item);
    }

    #[rename = "getWork"]
    async fn take_work(&self, #[default = 5.0] timeout: f64) -> Result<Value, Exception> {
        let item = self.work.get(timeout).await;
        item.ok_or_else(|| nothing("no items in queue"))
    }

    #[rename = "putResult"]
    fn put_result(&self, item: Value) {
        self.results.put(item);
    }

    #[rename = "getResult"]
    async fn take_result(&self, #[default = 5.0] timeout: f64) -> Result<Value, Exception> {
        let item = self.results.get(timeout).await;
        item.ok_or_else(|| nothing("no result available"))
    }

    #[rename = "workQueueSize"]
    fn work_queue_size(&self) -> usize {
        self.work.size()
    }

    #[rename = "resultQueueSize"]
    fn result_queue_size(&self) -> usize {
        self.results.size()
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let (work, results) = (Queue::new(), Queue::new());
    let uri = stage
        .daemon
        .register(None, DispatcherQueue { work, results })?;
    stage.name("example.distributed.dispatcher", &uri)
}

#[derive(Class)]
#[class = "workitem.Workitem"]
struct Workitem {
    #[serde(rename = "itemId")]
    item_id: u64,
    data: u64,
    result: Option<Vec<u64>>,
    #[serde(rename = "processedBy")]
    processed_by: Option<String>,
}

/// The prime factors of a number.
pub(crate) fn factorize(mut number: u64) -> Vec<u64> {
    let mut factors = Vec::new();
    let mut candidate = 2;
    while candidate * candidate <= number {
        if number.is_multiple_of(candidate) {
            factors.push(candidate);
            number /= candidate;
        } else {
            candidate += 1;
        }
    }
    factors.extend((number > 1).then_some(number));
    factors
}

/// Works until it is stopped.
fn work(dispatcher: &Proxy) -> anyhow::Result<()> {
    println!("getting work from dispatcher.");
    loop {
        match dispatcher.call::<Workitem>("getWork", ()) {
            Ok(mut item) => {
                println!("factorizing {}", item.data);
                item.result = Some(factorize(item.data));
                item.processed_by = Some("a worker in Rust".to_owned());
                dispatcher.call::<()>("putResult", (item,))?;
            }
            Err(error) if error.is_remote("builtins.ValueError") => {
                println!("no work available yet.");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn give_work(dispatcher: &Proxy) -> anyhow::Result<()> {
    const ITEMS: u64 = 40;
    for item_id in 1..=ITEMS {
        let item = Workitem {
            item_id,
            data: 3211 * 7919 * item_id,
            result: None,
            processed_by: None,
        };
        dispatcher.call::<()>("putWork", (item,))?;
    }
    let mut results = BTreeMap::new();
    for _ in 0..ITEMS {
        let item: Workitem = dispatcher.call("getResult", (20,))?;
        let result = item.result.unwrap_or_default();
        println!("{} --> {result:?}", item.data);
        results.insert(item.item_id, result);
    }
    equal(
        results.into_keys().collect::<Vec<_>>(),
        (1..=ITEMS).collect::<Vec<_>>(),
    )?;
    equal(dispatcher.call::<u64>("resultQueueSize", ())?, 0)
}

/// Plays the client; or, if it is told so, a worker.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let dispatcher = guest.proxy("PYRONAME:example.distributed.dispatcher")?;
    if guest.words.is_empty() {
        give_work(&dispatcher)
    } else {
        work(&dispatcher)
    }
}
