//! A fractal whose lines are computed by all servers that there are, in batches.

use antifreeze::{Complex, NameServer, expose};
use antifreeze_interop::equal;
use anyhow::ensure;

use crate::{Guest, Stage};

const TAG: &str = "class:mandelbrot_calc";
const MAX_ITERATIONS: u32 = 500;

/// The steps are those of Python, so the numbers are the same to the last digit.
fn iterations(c: Complex) -> u32 {
    let mut z = c;
    for step in 0..MAX_ITERATIONS {
        if z.re.hypot(z.im) > 2.0 {
            return step;
        }
        let (re, im) = (z.re * z.re - z.im * z.im, z.re * z.im + z.im * z.re);
        z = Complex::new(re + c.re, im + c.im);
    }
    MAX_ITERATIONS
}

struct Mandelbrot;

#[expose]
impl Mandelbrot {
    fn calc_line(
        &self,
        start: Complex,
        res_x: u32,
        ii: f64,
        dr: f64,
        line_nr: u32,
    ) -> (u32, String) {
        let mut z = Complex::new(start.re, start.im + ii);
        let pixels = (0..res_x).map(|_| {
            z.re += dr;
            match iterations(z) {
                MAX_ITERATIONS => ' ',
                steps => char::from(b' ' + (steps % 64) as u8),
            }
        });
        (line_nr, pixels.collect())
    }
}

pub(crate) fn serve(stage: &Stage) -> anyhow::Result<()> {
    let uri = stage.daemon.register(None, Mandelbrot)?;
    let names = NameServer::locate(&stage.config)?;
    let name = format!("mandelbrot_{}", stage.words.concat());
    Ok(names.register(&name, &uri, true, [TAG])?)
}

/// Has a frame computed.
pub(crate) fn visit(guest: &Guest) -> anyhow::Result<()> {
    let found = NameServer::locate(&guest.config)?.yplookup_all([TAG])?;
    ensure!(!found.is_empty(), "there are no servers");
    let servers = found.values().map(|uri| guest.proxy(uri));
    let servers: Vec<_> = servers.collect::<Result<_, _>>()?;
    let mut batches: Vec<_> = servers.iter().map(|server| server.batch()).collect();

    let (start, res_x, res_y, width) = (Complex::new(-2.0, -1.0), 100, 40, 3.0);
    let dr = width / f64::from(res_x);
    let di = dr * f64::from(res_x) / f64::from(res_y) * 0.8;
    let mut expected = Vec::new();
    for line_nr in 0..res_y {
        let ii = f64::from(line_nr) * di;
        let server = line_nr as usize % batches.len();
        batches[server].call("calc_line", (start, res_x, ii, dr, line_nr))?;
        expected.push(Mandelbrot.calc_line(start, res_x, ii, dr, line_nr));
    }
    let mut lines = Vec::new();
    for batch in &mut batches {
        lines.extend(batch.send_as::<(u32, String)>()?);
    }
    lines.sort();
    equal(lines, expected)
}
