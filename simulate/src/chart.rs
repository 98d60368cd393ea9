//! Lines in a chart, written as SVG.

use std::fmt;

/// A chart. Written out, it is a whole SVG file.
pub(crate) struct Chart {
    title: &'static str,
    x: (&'static str, Scale),
    y: (&'static str, Scale),
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// How an axis is divided.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Log,
    /// As `Log` from about one on, but with a place for nothing.
    FromZero,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 345.0;
/// Colours that nearly everybody can tell apart (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#999999", "#cc79a7", "#000000",
];

impl Scale {
    fn at(self, value: f64) -> f64 {
        match self {
            Self::Log => value.max(1e-9).log10(),
            Self::FromZero => value.mul_add(10.0, 1.0).log10(),
        }
    }

    /// What is written at the axis, between these.
    fn ticks(self, from: f64, to: f64) -> Vec<f64> {
        let zero = (self == Self::FromZero).then_some(0.0);
        let powers = (-3..=7).map(|power| 10_f64.powi(power));
        let powers = powers.filter(|at| *at >= from * 0.99 && *at <= to * 1.01);
        zero.into_iter()
            .chain(powers.filter(|at| self == Self::Log || *at >= 0.1))
            .collect()
    }
}

impl Chart {
    pub(crate) fn new(
        title: &'static str,
        x: (&'static str, Scale),
        y: (&'static str, Scale),
    ) -> Self {
        Self {
            title,
            x,
            y,
            lines: Vec::new(),
        }
    }

    pub(crate) fn line(&mut self, name: String, points: Vec<(f64, f64)>) {
        self.lines.push((name, points));
    }

    /// The least and the greatest, at whole powers of ten.
    fn bounds(&self, scale: Scale, of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let all = || self.lines.iter().flat_map(|(_, points)| points).map(&of);
        let least = all().fold(f64::INFINITY, f64::min).max(1e-3);
        let most = all().fold(1e-3, f64::max);
        let from = match scale {
            Scale::Log => 10_f64.powf(least.log10().floor()),
            Scale::FromZero => 0.0,
        };
        (from, 10_f64.powf(most.log10().ceil()))
    }
}

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, x, y, lines } = self;
        let (x_from, x_to) = self.bounds(x.1, |point| point.0);
        let (y_from, y_to) = self.bounds(y.1, |point| point.1);
        let part = |scale: Scale, value, from, to| {
            (scale.at(value) - scale.at(from)) / (scale.at(to) - scale.at(from))
        };
        let across = |value| LEFT + (RIGHT - LEFT) * part(x.1, value, x_from, x_to);
        let up = |value| BOTTOM - (BOTTOM - TOP) * part(y.1, value, y_from, y_to);
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">{title}</text>"
        )?;
        for tick in x.1.ticks(x_from, x_to) {
            let at = across(tick);
            writeln!(
                f,
                "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#ddd\"/>\
                 <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                BOTTOM + 18.0,
                Number(tick)
            )?;
        }
        for tick in y.1.ticks(y_from, y_to) {
            let at = up(tick);
            writeln!(
                f,
                "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                Number(tick)
            )?;
        }
        writeln!(
            f,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"6\" y=\"{}\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 40.0,
            x.0,
            TOP - 8.0,
            y.0
        )?;
        for (place, (name, points)) in lines.iter().enumerate() {
            let colour = COLOURS[place % COLOURS.len()];
            let places: Vec<String> = points
                .iter()
                .map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y)))
                .collect();
            writeln!(
                f,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                places.join(" ")
            )?;
            for (x, y) in points {
                let (x, y) = (across(*x), up(*y));
                writeln!(
                    f,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                )?;
            }
            let at = TOP + 20.0 * place as f64;
            writeln!(
                f,
                "<path d=\"M{} {at}h20\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{}\" y=\"{}\">{name}</text>",
                RIGHT + 15.0,
                RIGHT + 42.0,
                at + 4.0
            )?;
        }
        writeln!(f, "</svg>")
    }
}

/// A number with commas.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1e6 => write!(f, "{},000,000", n / 1e6),
            n if n >= 1e3 => write!(f, "{},000", n / 1e3),
            n => write!(f, "{n}"),
        }
    }
}
