//! How the text of a setting is read, and how its value is written.
//!
//! What is written is read as the same value.

use std::time::Duration;

use antifreeze_detector::Opaque;
use antifreeze_serial::Serializer;

use super::IpVersion;

/// A kind of text.
pub(super) struct Form<T> {
    /// What is expected, in the words of an error.
    pub(super) expected: &'static str,
    pub(super) read: fn(&str) -> Option<T>,
    pub(super) write: fn(&T) -> String,
}

pub(super) const TEXT: Form<String> = Form {
    expected: "text that is not empty",
    read: |text| (!text.is_empty()).then(|| text.to_owned()),
    write: String::clone,
};

pub(super) const FLAG: Form<bool> = Form {
    expected: "true or false",
    // As Pyro reads them.
    read: |text| match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    },
    write: bool::to_string,
};

pub(super) const PORT: Form<u16> = Form {
    expected: "a port number from 1 to 65535",
    read: |text| number(text).filter(|&port| port != 0)?.try_into().ok(),
    write: u16::to_string,
};

pub(super) const COUNT: Form<usize> = Form {
    expected: "a whole number above 0",
    read: |text| number(text).filter(|&count| count != 0)?.try_into().ok(),
    write: usize::to_string,
};

pub(super) const COUNT_32: Form<u32> = Form {
    expected: "a whole number from 1 to 4294967295",
    read: |text| number(text).filter(|&count| count != 0)?.try_into().ok(),
    write: u32::to_string,
};

pub(super) const SIZE: Form<u64> = Form {
    expected: "a size above 0, such as 1048576 or \"64 MiB\"",
    read: |text| {
        let (count, unit) = split_unit(text);
        let factor = SIZES.iter().find(|(name, _)| *name == unit)?.1;
        number(count)?.checked_mul(factor).filter(|&size| size != 0)
    },
    write: |&size| {
        let (unit, factor) = SIZES
            .iter()
            .find(|(_, factor)| size % factor == 0)
            .unwrap_or(&SIZES[0]);
        format!("{} {unit}", size / factor)
    },
};

/// The first that divides a size is the one that it is written in.
const SIZES: [(&str, u64); 9] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

pub(super) const TIME: Form<Duration> = Form {
    expected: "a time, such as 2.5 (seconds) or \"500 ms\"",
    read: read_time,
    write: write_time,
};

pub(super) const TIMEOUT: Form<Duration> = Form {
    expected: "a time above 0, such as 2.5 (seconds) or \"500 ms\"",
    read: |text| read_time(text).filter(|time| !time.is_zero()),
    write: write_time,
};

pub(super) const OPTIONAL_TIMEOUT: Form<Option<Duration>> = Form {
    expected: "a time, such as 2.5 (seconds) or \"500 ms\", or \"none\"",
    // In Pyro's own settings, 0 is what says that there is no limit.
    read: |text| match text {
        "none" => Some(None),
        text => read_time(text).map(|time| Some(time).filter(|time| !time.is_zero())),
    },
    write: |time| time.as_ref().map_or_else(|| "none".to_owned(), write_time),
};

fn read_time(text: &str) -> Option<Duration> {
    let (count, unit) = split_unit(text);
    let (_, seconds) = TIMES.iter().find(|(name, _)| *name == unit)?;
    // `parse` alone would take "inf", signs and exponents.
    let digits = count.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let count: f64 = digits.then(|| count.parse().ok()).flatten()?;
    let time = Duration::try_from_secs_f64(count * seconds).ok()?;
    // Added to a clock, a longer one would overflow.
    (time <= Duration::from_secs(100 * 365 * 24 * 3600)).then_some(time)
}

fn write_time(time: &Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{} s", time.as_secs()),
        nanos if nanos % 1_000_000 == 0 => format!("{} ms", time.as_millis()),
        nanos if nanos % 1_000 == 0 => format!("{} us", time.as_micros()),
        nanos => format!("{}.{nanos:09} s", time.as_secs()),
    }
}

const TIMES: [(&str, f64); 7] = [
    ("", 1.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("min", 60.0),
    ("h", 3600.0),
];

pub(super) const SERIALIZER: Form<Serializer> = Form {
    expected: "serpent, json, marshal or msgpack",
    read: |text| text.parse().ok(),
    write: Serializer::to_string,
};

pub(super) const IP_VERSION: Form<IpVersion> = Form {
    expected: "4, 6 or any",
    read: |text| match text {
        "4" => Some(IpVersion::V4),
        "6" => Some(IpVersion::V6),
        "any" | "0" => Some(IpVersion::Any),
        _ => None,
    },
    write: |version| match version {
        IpVersion::Any => "any".to_owned(),
        IpVersion::V4 => "4".to_owned(),
        IpVersion::V6 => "6".to_owned(),
    },
};

pub(super) const OPAQUE: Form<Opaque> = Form {
    expected: "error or report",
    read: |text| match text {
        "error" => Some(Opaque::Error),
        "report" => Some(Opaque::Report),
        _ => None,
    },
    write: |opaque| match opaque {
        Opaque::Error => "error".to_owned(),
        Opaque::Report => "report".to_owned(),
    },
};

/// Digits, perhaps grouped by underscores as in Rust, Python and TOML.
fn number(text: &str) -> Option<u64> {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    digits.then(|| text.replace('_', "").parse().ok()).flatten()
}

/// A number and what follows it, without the space between them.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_')));
    let (count, unit) = text.split_at(end.unwrap_or(text.len()));
    (count, unit.trim_start())
}
