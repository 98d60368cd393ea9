//! Calls of all shapes by marshal.

use std::collections::BTreeMap;

use antifreeze::{Serializer, Value, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

struct Bench;

#[expose]
impl Bench {
    fn length(&self, string: &str) -> usize {
        string.len()
    }

    fn timestwo(&self, value: i64) -> i64 {
        value * 2
    }

    fn bigreply(&self) -> String {
        "BIG REPLY".repeat(500)
    }

    fn bigarg(&self, arg: &str) -> usize {
        arg.len()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the example is about many arguments"
    )]
    fn manyargs(
        &self,
        a1: i64,
        a2: i64,
        a3: i64,
        a4: i64,
        a5: i64,
        a6: i64,
        a7: i64,
        a8: i64,
        a9: i64,
        a10: i64,
        a11: i64,
        a12: i64,
        a13: i64,
        a14: i64,
        a15: i64,
    ) -> i64 {
        [
            a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15,
        ]
        .iter()
        .sum()
    }

    fn noreply(&self, arg: Value) {
        drop(arg);
    }

    fn varargs(&self, #[args] args: Vec<Value>) -> usize {
        args.len()
    }

    fn keywords(&self, #[kwargs] args: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        args
    }

    fn echo(&self, #[args] args: Vec<Value>) -> Value {
        Value::Tuple(args)
    }

    #[oneway]
    fn oneway(&self, #[args] args: Vec<Value>) {
        drop(args);
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    println!("{}", stage.daemon.register("example.benchmark", Bench)?);
    Ok(())
}

pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    const ROUNDS: usize = 100;
    let builder = guest.builder(guest.word(0)?)?;
    let bench = builder.serializer(Serializer::Marshal).connect()?;
    ensure!(bench.metadata()?.oneway.contains("oneway"), "not oneway");
    let numbers: Vec<i64> = (1..=15).collect();
    let mixed = ("een", 2, (3,), [4]);
    for _ in 0..ROUNDS {
        equal(bench.call::<usize>("length", ("Irmen de Jong",))?, 13)?;
        equal(bench.call::<i64>("timestwo", (21,))?, 42)?;
        equal(bench.call::<String>("bigreply", ())?.len(), 4500)?;
        equal(bench.call::<i64>("manyargs", &numbers)?, 120)?;
        bench.call::<()>("noreply", (&numbers,))?;
        bench.call::<()>("noreply", (Value::None,))?;
        equal(bench.call::<usize>("varargs", mixed)?, 4)?;
        let named = BTreeMap::from([("arg1", "zork")]);
        let back: BTreeMap<String, String> = bench.call_kw("keywords", (), &named)?;
        equal(back.get("arg1").map(String::as_str), Some("zork"))?;
        let back: Value = bench.call("echo", mixed)?;
        equal(back.to_string(), "('een', 2, (3,), (4,))")?;
        equal(
            bench.call::<usize>("bigarg", ("Argument".repeat(50),))?,
            400,
        )?;
        bench.call::<()>("oneway", ("stringetje", 432423434, 9.8765432))?;
    }
    Ok(())
}
