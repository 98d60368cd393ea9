//! Streams whose items could never come: their consumers are told so, by name.

use std::sync::{Arc, Barrier};
use std::thread;

use antifreeze::{
    Config, Error, ItemStream, Object, Proxy, Running, Serializer, Uri, Value, WeakObject, expose,
    tokio as tasks,
};

use crate::common::{Driver, SOON, bind};
use crate::on_both_drivers;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Takes the pages that a library gives out.
struct Book {
    pages: Vec<String>,
    library: Proxy,
    meeting: Arc<Barrier>,
}

#[expose]
impl Book {
    /// Has the object while it takes the items.
    fn copy(&mut self, method: String) -> Result<usize, Failure> {
        self.take(&method)
    }

    /// The same together with others.
    fn copy_together(&mut self) -> Result<usize, Failure> {
        self.meeting.wait();
        self.take("torn")
    }

    async fn copy_async(&mut self, method: String) -> Result<usize, Failure> {
        let library = tasks::Proxy::builder(self.library.uri())?
            .serializer(self.library.serializer())
            .lazy()?;
        let mut items = library.stream::<String>(&method, ()).await?;
        let mut length = 0;
        while let Some(page) = items.next().await {
            length += page?.len();
        }
        Ok(length)
    }

    /// Only reads while it takes what only needs to read.
    fn compare(&self) -> Result<usize, Failure> {
        self.take("pages")
    }
}

impl Book {
    fn take(&self, method: &str) -> Result<usize, Failure> {
        let items = self.library.stream::<String>(method, ())?;
        let lengths = items.map(|item| item.map(|page| page.len()));
        Ok(lengths.sum::<Result<usize, Error>>()?)
    }
}

/// Gives out the pages of a book, which it takes anew for each.
struct Library(WeakObject<Book>);

#[expose]
impl Library {
    fn pages(&self) -> ItemStream<String> {
        let mut numbers = 0..;
        ItemStream::reading(self.0.clone(), move |book: &Book| {
            book.pages.get(numbers.next()?).cloned()
        })
    }

    fn torn(&self) -> ItemStream<String> {
        ItemStream::writing(self.0.clone(), |book: &mut Book| book.pages.pop())
    }
}

struct Served {
    running: Running,
    meeting: Arc<Barrier>,
}

impl Served {
    fn new(driver: Driver) -> Self {
        Self {
            running: bind(driver, Config::default()).start().unwrap(),
            meeting: Arc::new(Barrier::new(2)),
        }
    }

    fn proxy(&self, id: &str, serializer: Serializer) -> Proxy {
        let uri = Uri::new(id, self.running.daemon().location().clone()).unwrap();
        let proxy = Proxy::builder(uri).unwrap().serializer(serializer);
        proxy.lazy().unwrap()
    }

    /// A book that takes the pages of this library.
    fn book(&self, id: &str, library: &str, serializer: Serializer) -> Object<Book> {
        let book = Object::new(Book {
            pages: vec!["one".to_owned(), "two".to_owned()],
            library: self.proxy(library, serializer),
            meeting: Arc::clone(&self.meeting),
        });
        self.running.daemon().replace(id, &book).unwrap();
        book
    }

    /// A library of this book.
    fn library(&self, id: &str, book: &Object<Book>) {
        let library = Library(book.downgrade());
        self.running.daemon().replace(id, library).unwrap();
    }
}

/// Checks what the consumer's caller sees.
#[track_caller]
fn check(error: &Error, named: &[&str]) {
    let exception = error.remote().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(exception.class, "builtins.OSError", "{exception}");
    let [Value::Int(35), Value::Str(text)] = &exception.args[..] else {
        panic!("{exception}");
    };
    let text = text.as_str().unwrap();
    for name in named {
        assert!(text.contains(name), "{name:?} is not in {text}");
    }
    assert!(matches!(
        exception.attribute("antifreeze"),
        Some(Value::Dict(_))
    ));
    assert!(error.deadlock().is_some());
}

const SERIALIZERS: [Serializer; 4] = [
    Serializer::Serpent,
    Serializer::Marshal,
    Serializer::Json,
    Serializer::Msgpack,
];

fn a_consumer_that_holds_what_each_item_needs_is_told(driver: Driver) {
    let served = Served::new(driver);
    for serializer in SERIALIZERS {
        let book = served.book("book", "library", serializer);
        served.library("library", &book);
        let proxy = served.proxy("book", serializer).within(SOON);
        for consumer in ["copy", "copy_async"] {
            for method in ["pages", "torn"] {
                let error = proxy.call::<usize>(consumer, (method,)).unwrap_err();
                let item = format!("\"library.{method}.next\"");
                check(&error, &[&item, &format!("\"book.{consumer}\""), "Book>"]);
            }
        }
        // Readers of one chain are not in each other's way, and the object is free again.
        assert_eq!(proxy.call::<usize>("compare", ()).unwrap(), 6);
        assert_eq!(book.write().pages.len(), 2);
    }
}

fn consumers_that_wait_for_each_other_are_told(driver: Driver) {
    let served = Served::new(driver);
    for serializer in SERIALIZERS {
        let one = served.book("one", "library-of-other", serializer);
        let other = served.book("other", "library-of-one", serializer);
        served.library("library-of-one", &one);
        served.library("library-of-other", &other);
        let copies = ["one", "other"].map(|book| {
            let proxy = served.proxy(book, serializer).within(SOON);
            thread::spawn(move || proxy.call::<usize>("copy_together", ()))
        });
        let copied = copies.map(|copy| copy.join().unwrap());
        let failed: Vec<_> = copied
            .iter()
            .filter_map(|copy| copy.as_ref().err())
            .collect();
        let [error] = failed[..] else {
            panic!("{copied:?}");
        };
        check(
            error,
            &[
                ".torn.next\"",
                "one.copy_together\"",
                "other.copy_together\"",
            ],
        );
    }
}

on_both_drivers!(
    a_consumer_that_holds_what_each_item_needs_is_told,
    consumers_that_wait_for_each_other_are_told,
);
