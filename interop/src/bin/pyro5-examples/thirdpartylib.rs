//! A type of a library that knows nothing of all this, served by an adapter.

use antifreeze::{Class, Value, expose};
use antifreeze_interop::{equal, raised};

use crate::{Guest, Stage};

mod awesome_thirdparty_library {
    pub(super) struct AwesomeClass;

    impl AwesomeClass {
        pub(super) fn method(&self, arg: &str) -> &'static str {
            println!("Awesome object is called with: {arg}");
            "awesome"
        }

        pub(super) fn weird(&self) -> &'static str {
            println!("Weird!");
            "awesome"
        }
    }
}

use awesome_thirdparty_library::AwesomeClass;

/// Of a class that no client knows.
#[derive(Class)]
#[class = "awesome_thirdparty_library.WeirdReturnType"]
struct WeirdReturnType {
    value: String,
}

/// Exposes what should be accessible, and nothing else.
struct Adapter(AwesomeClass);

#[expose]
impl Adapter {
    fn method(&self, arg: &str) -> &'static str {
        self.0.method(arg)
    }

    fn weird(&self) -> WeirdReturnType {
        let value = self.0.weird().to_owned();
        WeirdReturnType { value }
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let adapter = Adapter(AwesomeClass);
    println!(
        "{}",
        stage.daemon.register("example.thirdpartylib", adapter)?
    );
    Ok(())
}

/// Of the class as it is, or of Python's adapter.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let remote = guest.proxy(guest.word(0)?)?;
    let text: String = remote.call("method", ("how are you?",))?;
    equal(&*text, "awesome")?;
    let weird: Value = remote.call("weird", ())?;
    let private = remote.call::<String>("private", ());
    if guest.word(1)? == "adapter" {
        equal(weird.as_str(), Some("weird awesome"))?;
        raised(private, "builtins.AttributeError", "private")?;
    } else {
        let class = "awesome_thirdparty_library.WeirdReturnType";
        equal(weird.class_name(), Some(class))?;
        equal(&*private?, "boo")?;
    }
    Ok(())
}
