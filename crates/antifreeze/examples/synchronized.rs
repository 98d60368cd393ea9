//! The conversation again, without a lock in sight: a method with `&mut self` has its object for itself
//! until it returns, also while it calls others. What comes back to it gets an error.
//!
//! ```text
//! cargo run -p antifreeze --example synchronized
//! ```

use std::error::Error;

use antifreeze::{Daemon, ErrorKind, Proxy, Uri, expose};

type Failure = Box<dyn Error + Send + Sync>;

struct Obj1 {
    foos: Vec<u32>,
    obj2: Option<Uri>,
}

#[expose]
impl Obj1 {
    fn meet(&mut self, obj2: String) -> Result<(), Failure> {
        self.obj2 = Some(obj2.parse()?);
        Ok(())
    }

    #[rename = "GetFoosLikeABar"]
    fn get_foos_like_a_bar(&mut self) -> Result<Vec<u32>, Failure> {
        let obj2 = Proxy::connect(self.obj2.as_ref().ok_or("there are no bars")?)?;
        let mut foos = Vec::new();
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
    obj1: Uri,
}

#[expose]
impl Obj2 {
    /// With `&self` it would be let in while another `&self` method of the same chain of calls runs.
    #[rename = "IsFooLikeABar"]
    fn is_foo_like_a_bar(&mut self, one: u32) -> bool {
        self.bars.contains(&one)
    }

    #[rename = "ComposeBars"]
    fn compose_bars(&mut self) -> Result<usize, Failure> {
        let obj1 = Proxy::connect(&self.obj1)?;
        let foos: Vec<u32> = obj1.call("GetFoosLikeABar", ())?;
        Ok(self.bars.len() + foos.len())
    }
}

fn main() -> Result<(), Failure> {
    let (one, other) = (Daemon::bind("localhost:0")?, Daemon::bind("localhost:0")?);
    let foos = vec![1, 2, 3];
    let obj1 = one.register("obj1", Obj1 { foos, obj2: None })?;
    let bars = vec![2, 3, 4];
    let obj2 = Obj2 {
        bars,
        obj1: obj1.clone(),
    };
    let obj2 = other.register("obj2", obj2)?;
    let _running = (one.start()?, other.start()?);

    let foos = Proxy::connect(&obj1)?;
    foos.call::<()>("meet", (obj2.to_string(),))?;
    // By itself, either of them is fine.
    let found: Vec<u32> = foos.call("GetFoosLikeABar", ())?;
    println!("foos like a bar: {found:?}");

    match Proxy::connect(&obj2)?.call::<usize>("ComposeBars", ()) {
        Err(error) if error.kind() == ErrorKind::Deadlock => println!("{error}"),
        other => println!("{other:?}"),
    }
    Ok(())
}
