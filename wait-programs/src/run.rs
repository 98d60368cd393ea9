//! Many programs, and what came of all of them.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::generate;
use crate::lead::{self, Path, Seen};
use crate::program::Program;
use crate::troupe::Troupe;

/// What is asked for.
pub(crate) struct Order {
    pub(crate) count: u64,
    pub(crate) seed: u64,
    pub(crate) at_once: u64,
    pub(crate) ambiguous: bool,
    pub(crate) enough: usize,
    pub(crate) python: PathBuf,
}

/// What came of all programs.
#[derive(Default)]
pub(crate) struct Tally {
    programs: u64,
    sum: Seen,
    deadlocked: u64,
    clean: u64,
    hopped: u64,
    reported: u64,
    frames: usize,
    time: Duration,
    failures: Vec<String>,
    ambiguous: bool,
}

/// Whether there is a Python with Pyro5.
pub(crate) fn probe(python: &FilePath) -> Result<(), String> {
    let tried = Command::new(python)
        .args(["-c", "import Pyro5.api"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let reason = said.trim().lines().last().unwrap_or("it failed").to_owned();
            Err(format!(
                "expected a Python with Pyro5 at {}, got: {reason}; `cargo xtask wait-programs` makes one",
                python.display()
            ))
        }
        Err(error) => Err(format!(
            "expected a Python with Pyro5 at {}, got: {error}",
            python.display()
        )),
    }
}

fn make(order: &Order, number: u64) -> (Program, Rng) {
    let mut rng = Rng::with_seed(order.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
    // Numbers that are near give sequences that begin alike.
    rng = Rng::with_seed(rng.u64(..) ^ number.rotate_left(32));
    let program = match order.ambiguous {
        true => generate::ambiguous(&mut rng),
        false => generate::program(&mut rng),
    };
    (program, rng)
}

/// Runs one program, and prints all of it.
pub(crate) fn run_one(order: &Order, number: u64) -> bool {
    let (program, mut rng) = make(order, number);
    println!("{program:#?}");
    let mut troupe = match Troupe::start(&order.python) {
        Ok(troupe) => troupe,
        Err(problem) => {
            eprintln!("error: {problem}");
            return false;
        }
    };
    let seen = lead::run(&program, &format!("p{number}"), &mut troupe, &mut rng);
    println!("{}", seen.story.join("\n"));
    match seen.problem {
        None => true,
        Some(problem) => {
            println!("{problem}");
            false
        }
    }
}

/// Runs them all.
pub(crate) fn run_all(order: &Order) -> Tally {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..order.at_once.clamp(1, order.count.max(1)) {
            scope.spawn(|| {
                let mut troupe = None;
                while tally.lock().expect("nobody panics").failures.len() < order.enough {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= order.count {
                        return;
                    }
                    let (program, mut rng) = make(order, number);
                    let ready = match troupe.take() {
                        Some(troupe) => Ok(troupe),
                        None => Troupe::start(&order.python),
                    };
                    let mut ready = match ready {
                        Ok(ready) => ready,
                        Err(problem) => {
                            tally.lock().expect("nobody panics").failures.push(problem);
                            return;
                        }
                    };
                    let seen = lead::run(&program, &format!("p{number}"), &mut ready, &mut rng);
                    // What went wrong may hang on.
                    troupe = seen.problem.is_none().then_some(ready);
                    tally
                        .lock()
                        .expect("nobody panics")
                        .add(order, number, seen);
                }
            });
        }
    });
    let mut tally = tally.into_inner().expect("nobody panics");
    tally.time = begun.elapsed();
    tally.ambiguous = order.ambiguous;
    tally
}

impl Tally {
    fn add(&mut self, order: &Order, number: u64, seen: Seen) {
        self.programs += 1;
        self.deadlocked += u64::from(seen.deadlocked);
        self.clean += u64::from(seen.contended && !seen.deadlocked);
        self.hopped += u64::from(seen.hopped);
        self.reported += u64::from(seen.false_positives > 0);
        self.frames += seen.frames;
        if let Some(problem) = seen.problem {
            let flag = if order.ambiguous { " --ambiguous" } else { "" };
            let text = format!(
                "program {number} (--seed {} --only {number}{flag}): {problem}",
                order.seed
            );
            eprintln!("{text}\n{}", seen.story.join("\n"));
            self.failures.push(text);
        }
        let sum = &mut self.sum;
        sum.found += seen.found;
        sum.missed += seen.missed;
        sum.dissolved += seen.dissolved;
        sum.false_positives += seen.false_positives;
        sum.late += seen.late;
        sum.misnamed += seen.misnamed;
        sum.let_past += seen.let_past;
        sum.opaque += seen.opaque;
        sum.latencies.extend(seen.latencies);
    }

    /// Whether all deadlocks were found, and nothing else, in enough programs of each sort.
    pub(crate) fn passes(&self, order: &Order) -> bool {
        let all = self.failures.is_empty() && self.programs == order.count && self.sum.missed == 0;
        if order.ambiguous {
            return all;
        }
        let at_least = |count: u64, part: u64| count * part >= self.programs;
        all && self.sum.false_positives == 0
            && at_least(self.deadlocked, 4)
            && at_least(self.clean, 4)
            && at_least(self.hopped, 10)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = &self.sum;
        for failure in &self.failures {
            let line = failure.lines().next().unwrap_or_default();
            writeln!(f, "{}", line.chars().take(300).collect::<String>())?;
        }
        let (seconds, programs) = (self.time.as_secs_f64(), self.programs.max(1));
        writeln!(
            f,
            "{} programs with {} frames in {seconds:.1} s, {:.0} ms each",
            self.programs,
            self.frames,
            seconds * 1e3 / programs as f64
        )?;
        if self.ambiguous {
            return write!(
                f,
                "ambiguous programs {}, false reports in {} of them",
                self.programs, self.reported
            );
        }
        for (path, name) in [
            (Path::Local, "one process"),
            (Path::Several, "several"),
            (Path::Python, "with a Python hop"),
        ] {
            let of_path = sum.latencies.iter().filter(|(of, _)| *of == path);
            let mut all: Vec<Duration> = of_path.map(|(_, took)| *took).collect();
            all.sort_unstable();
            let Some(last) = all.last() else { continue };
            let at = |part: usize| all[(all.len() - 1) * part / 1000].as_secs_f64() * 1e3;
            writeln!(
                f,
                "last wait to verdict, {name}: {} deadlocks, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                all.len(),
                at(500),
                at(990),
                last.as_secs_f64() * 1e3
            )?;
        }
        writeln!(
            f,
            "let past others {}, too late {}, misnamed {}, ended by a deadline before {}, failures {}",
            sum.let_past,
            sum.late,
            sum.misnamed,
            sum.dissolved,
            self.failures.len()
        )?;
        writeln!(
            f,
            "programs with calls through real Pyro5 {}, deadlocks through it {}",
            self.hopped, sum.opaque
        )?;
        write!(
            f,
            "recall {}/{}, false positives {}, deadlocked {}, contended and clean {}",
            sum.found,
            sum.found + sum.missed,
            sum.false_positives,
            self.deadlocked,
            self.clean
        )
    }
}
