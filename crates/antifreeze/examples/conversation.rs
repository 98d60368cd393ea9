//! Two objects whose methods each hold a lock while they call the other one: the conversation that
//! hangs for ever under Pyro. Here its last call gets an error that names all of it.
//!
//! ```sh
//! cargo run -p antifreeze --example conversation
//! ```
//!
//! `ComposeBars` has the lock of the bars and asks for foos; `GetFoosLikeABar` has the lock of the foos
//! and asks of each whether it is like a bar; and that needs the lock of the bars.

use std::error::Error;
use std::sync::OnceLock;

use antifreeze::sync::BoundedSemaphore;
use antifreeze::{Daemon, ErrorKind, Object, Proxy, Uri, expose};

type Failure = Box<dyn Error + Send + Sync>;

struct Obj1 {
    foos: Vec<u32>,
    foo_lock: BoundedSemaphore,
    obj2: OnceLock<Uri>,
}

#[expose]
impl Obj1 {
    #[rename = "GetFoosLikeABar"]
    fn get_foos_like_a_bar(&self) -> Result<Vec<u32>, Failure> {
        let obj2 = Proxy::connect(self.obj2.get().ok_or("there are no bars")?)?;
        let mut foos = Vec::new();

        let _locked = self.foo_lock.acquire()?;
        for one in &self.foos {
            if obj2.call("IsFooLikeABar", (one,))? {
                foos.push(*one);
            }
        }
        Ok(foos)
    }
}

struct Obj2 {
    bars: Vec<u32>,
    bar_lock: BoundedSemaphore,
    obj1: Uri,
}

#[expose]
impl Obj2 {
    #[rename = "IsFooLikeABar"]
    fn is_foo_like_a_bar(&self, one: u32) -> Result<bool, Failure> {
        let _locked = self.bar_lock.acquire()?;
        Ok(self.bars.contains(&one))
    }

    #[rename = "ComposeBars"]
    fn compose_bars(&self) -> Result<Vec<u32>, Failure> {
        let obj1 = Proxy::connect(&self.obj1)?;

        let _locked = self.bar_lock.acquire()?;
        let foos: Vec<u32> = obj1.call("GetFoosLikeABar", ())?; // <--- Deadlock
        Ok(self
            .bars
            .iter()
            .map(|bar| bar + foos.len() as u32)
            .collect())
    }
}

fn main() -> Result<(), Failure> {
    let (one, other) = (Daemon::bind("localhost:0")?, Daemon::bind("localhost:0")?);
    let obj1 = Object::new(Obj1 {
        foos: vec![1, 2, 3],
        foo_lock: BoundedSemaphore::named("fooLock", 1),
        obj2: OnceLock::new(),
    });
    let obj1_uri = one.register("obj1", &obj1)?;
    let obj2 = Obj2 {
        bars: vec![2, 3, 4],
        bar_lock: BoundedSemaphore::named("barLock", 1),
        obj1: obj1_uri.clone(),
    };
    let obj2_uri = other.register("obj2", obj2)?;
    obj1.read().obj2.set(obj2_uri.clone()).ok();
    let _running = (one.start()?, other.start()?);

    // By itself, either of them is fine.
    let foos: Vec<u32> = Proxy::connect(&obj1_uri)?.call("GetFoosLikeABar", ())?;
    println!("foos like a bar: {foos:?}");

    match Proxy::connect(&obj2_uri)?.call::<Vec<u32>>("ComposeBars", ()) {
        Err(error) if error.kind() == ErrorKind::Deadlock => println!("{error}"),
        other => println!("{other:?}"),
    }
    Ok(())
}
