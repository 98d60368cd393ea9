//! An instrument whose scan takes a minute, and that answers at once meanwhile.
//!
//! All methods take `&self`, so none of them excludes another. Only the device itself is behind a
//! lock, and only the scan takes it: progress and abort have no reason to wait.
//!
//! ```text
//! cargo run --release --example instrument
//! cargo run --release --example instrument -- 5      for a scan of five seconds
//! ```
//!
//! Scan from one Python program, or from this one:
//!
//! ```python
//! import Pyro5.api
//! instrument = Pyro5.api.Proxy("PYRO:instrument@localhost:…")
//! print(len(instrument.scan()), "samples")
//! ```
//!
//! and look after it from another:
//!
//! ```python
//! import Pyro5.api
//! instrument = Pyro5.api.Proxy("PYRO:instrument@localhost:…")
//! print(instrument.progress(), "%")
//! instrument.abort()
//! ```

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use antifreeze::{Daemon, Error, expose};

const SAMPLES_PER_SECOND: f64 = 100.0;

struct Instrument {
    /// The hardware can do one thing at a time.
    device: Mutex<Device>,
    samples_wanted: usize,
    samples_taken: AtomicUsize,
    aborted: AtomicBool,
}

#[expose]
impl Instrument {
    /// Takes all samples, and returns those that it has when somebody calls `abort`.
    ///
    /// A second scan waits here until the first one is done with the device.
    fn scan(&self) -> Vec<f64> {
        let mut device = self.device.lock().expect("a device never panics");
        self.aborted.store(false, Ordering::Relaxed);
        self.samples_taken.store(0, Ordering::Relaxed);
        let mut samples = Vec::new();
        while samples.len() < self.samples_wanted && !self.aborted.load(Ordering::Relaxed) {
            samples.push(device.sample());
            self.samples_taken.store(samples.len(), Ordering::Relaxed);
        }
        samples
    }

    /// How much of the present or last scan is done, in percent.
    fn progress(&self) -> f64 {
        self.samples_taken.load(Ordering::Relaxed) as f64 * 100.0 / self.samples_wanted as f64
    }

    /// Ends the present scan after the sample that is being taken.
    fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }
}

/// Stands for the hardware.
struct Device {
    phase: f64,
}

impl Device {
    fn sample(&mut self) -> f64 {
        thread::sleep(Duration::from_secs_f64(1.0 / SAMPLES_PER_SECOND));
        self.phase += 0.1;
        self.phase.sin()
    }
}

fn main() -> Result<(), Error> {
    let seconds: f64 = match env::args().nth(1).map(|text| text.parse()) {
        None => 60.0,
        Some(Ok(seconds)) if seconds > 0.0 => seconds,
        Some(_) => {
            eprintln!("usage: instrument [SECONDS OF A SCAN]");
            std::process::exit(2);
        }
    };
    let instrument = Instrument {
        device: Mutex::new(Device { phase: 0.0 }),
        samples_wanted: (seconds * SAMPLES_PER_SECOND).ceil() as usize,
        samples_taken: AtomicUsize::new(0),
        aborted: AtomicBool::new(false),
    };
    let daemon = Daemon::bind("localhost:0")?;
    let uri = daemon.register("instrument", instrument)?;
    println!("{uri}");
    daemon.serve()
}
