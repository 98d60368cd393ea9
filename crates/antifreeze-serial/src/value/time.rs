//! Times and dates, which only msgpack tells from numbers and text.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::token;
use crate::decode::Tagged;
use crate::{Error, ErrorKind};

/// A point in time: seconds since 1970 in UTC.
///
/// By msgpack it is a `datetime` for Python, in the time zone of whoever reads it. By the others it is
/// text with the offset `+00:00`, as Python writes a `datetime` that knows its time zone. Read is also
/// a number of seconds, but no text without an offset, which is no point in time.
///
/// ```
/// use antifreeze_serial::{Serializer, Timestamp, encode};
///
/// let time = Timestamp(1_577_934_245.25);
/// assert_eq!(time.to_string(), "2020-01-02T03:04:05.250000+00:00");
/// assert_eq!("2020-01-02T05:04:05.25+02:00".parse::<Timestamp>()?, time);
/// assert_eq!(encode(Serializer::Msgpack, &time)?[..2], [0xd7, 0x32]);
/// # Ok::<(), antifreeze_serial::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Timestamp(pub f64);

/// A day of the calendar, between the years 1 and 9999.
///
/// By msgpack it is a `date` for Python, by the others text such as `2020-02-29`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// The days since the one before 0001-01-01, as in Python.
    ordinal: u32,
}

/// The ordinal of 9999-12-31.
const LAST: u32 = 3_652_059;
/// The ordinal of 1970-01-01.
const EPOCH: i64 = 719_163;
const DAY: i64 = 86_400;

impl Date {
    /// Makes a date, if there is such a day.
    ///
    /// ```
    /// use antifreeze_serial::Date;
    ///
    /// assert_eq!(Date::new(2020, 2, 29).map(|date| date.to_string()).as_deref(), Some("2020-02-29"));
    /// assert_eq!(Date::new(2021, 2, 29), None);
    /// ```
    pub fn new(year: u32, month: u32, day: u32) -> Option<Self> {
        if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        // Years that begin in March have their leap day at the end.
        let (year_of_march, month_of_march) = match month {
            3.. => (year, month - 3),
            _ => (year - 1, month + 9),
        };
        let leap_days = year_of_march / 4 - year_of_march / 100 + year_of_march / 400;
        let before = 365 * year_of_march + leap_days + (153 * month_of_march + 2) / 5;
        let date = Self::from_ordinal((before + day).checked_sub(306)?)?;
        (date.parts() == (year, month, day)).then_some(date)
    }

    /// Returns the date of Python's `date.fromordinal`.
    pub fn from_ordinal(ordinal: u32) -> Option<Self> {
        (1..=LAST).contains(&ordinal).then_some(Self { ordinal })
    }

    /// Returns what Python's `date.toordinal` does: 1 for 0001-01-01.
    pub fn ordinal(self) -> u32 {
        self.ordinal
    }

    /// Returns year, month and day.
    pub fn parts(self) -> (u32, u32, u32) {
        let day = self.ordinal + 305;
        let era = day / 146_097;
        let day_of_era = day % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        (era * 400 + year_of_era + u32::from(month <= 2), month, day)
    }
}

/// A point in time by calendar and clock, in UTC.
pub(super) struct Clock {
    pub(super) date: Date,
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    pub(super) micros: u32,
}

impl Timestamp {
    /// Returns the same as the system's type, unless it is out of its range.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::try_from_secs_f64(self.0.abs()).ok()?;
        if self.0 < 0.0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    /// None outside of the years that Python knows.
    pub(super) fn clock(self) -> Option<Clock> {
        // Beyond that there are no such years, and microseconds would not fit.
        if self.0.is_nan() || self.0.abs() > 1e12 {
            return None;
        }
        let whole = self.0.floor();
        // As Python rounds: half to even.
        let micros = ((self.0 - whole) * 1e6).round_ties_even() as i64;
        let seconds = whole as i64 + micros / 1_000_000;
        let ordinal = u32::try_from(seconds.div_euclid(DAY) + EPOCH).ok()?;
        let second = seconds.rem_euclid(DAY) as u32;
        Some(Clock {
            date: Date::from_ordinal(ordinal)?,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            micros: (micros % 1_000_000) as u32,
        })
    }

    /// Writes it as text, or says that no text can.
    pub(crate) fn to_text(self) -> Result<String, Error> {
        match self.clock() {
            Some(_) => Ok(self.to_string()),
            None => Err(Error::new(
                ErrorKind::Range,
                "a time outside of the years 1 to 9999",
            )),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        f.pad(&format!("{year:04}-{month:02}-{day:02}"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(clock) = self.clock() else {
            return write!(f, "{} s since 1970", self.0);
        };
        let Clock {
            date,
            hour,
            minute,
            second,
            micros,
        } = clock;
        write!(f, "{date}T{hour:02}:{minute:02}:{second:02}")?;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        f.write_str("+00:00")
    }
}

impl FromStr for Date {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_date(text)
            .ok_or_else(|| Error::new(ErrorKind::Refused, "expected a date such as `2020-02-29`"))
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_time(text).ok_or_else(|| {
            Error::new(
                ErrorKind::Refused,
                "expected a time such as `2020-02-29T03:04:05+00:00`, with its offset from UTC",
            )
        })
    }
}

/// A number of so many digits at the front of `text`.
fn number<'t>(text: &mut &'t str, digits: usize) -> Option<u32> {
    let (number, rest): (&'t str, _) = text.split_at_checked(digits)?;
    *text = rest;
    number
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| number.parse().ok())?
}

fn expect(text: &mut &str, word: &str) -> Option<()> {
    *text = text.strip_prefix(word)?;
    Some(())
}

fn parse_date(text: &str) -> Option<Date> {
    let mut rest = text;
    let date = take_date(&mut rest)?;
    rest.is_empty().then_some(date)
}

fn take_date(text: &mut &str) -> Option<Date> {
    let year = number(text, 4)?;
    expect(text, "-")?;
    let month = number(text, 2)?;
    expect(text, "-")?;
    Date::new(year, month, number(text, 2)?)
}

/// Reads hours, minutes and perhaps seconds; returns seconds.
fn take_clock(text: &mut &str) -> Option<(u32, u32, u32)> {
    let hour = number(text, 2)?;
    expect(text, ":")?;
    let minute = number(text, 2)?;
    let second = match expect(text, ":") {
        Some(()) => number(text, 2)?,
        None => 0,
    };
    (hour < 24 && minute < 60 && second < 60).then_some((hour, minute, second))
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let mut rest = text;
    let date = take_date(&mut rest)?;
    rest = rest.strip_prefix(['T', ' '])?;
    let seconds = |(hour, minute, second)| i64::from(hour * 3600 + minute * 60 + second);
    let clock = seconds(take_clock(&mut rest)?);
    let mut fraction = 0.0;
    if let Some(tail) = rest.strip_prefix('.') {
        let len = tail.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 {
            return None;
        }
        fraction = format!("0.{}", &tail[..len]).parse().ok()?;
        rest = &tail[len..];
    }
    let offset = match rest {
        "Z" => 0,
        _ => {
            let west = rest.starts_with('-');
            rest = rest.strip_prefix(['+', '-'])?;
            let offset = seconds(take_clock(&mut rest)?);
            if !rest.is_empty() {
                return None;
            }
            if west { -offset } else { offset }
        }
    };
    let days = i64::from(date.ordinal) - EPOCH;
    Some(Timestamp((days * DAY + clock - offset) as f64 + fraction))
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        })
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(token::TIMESTAMP, &self.0)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(token::DATE, &self.to_string())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(token::TIMESTAMP, TimestampVisitor)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(token::DATE, DateVisitor)
    }
}

struct TimestampVisitor;

impl<'de> Visitor<'de> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("datetime")
    }

    fn visit_i64<E>(self, seconds: i64) -> Result<Timestamp, E> {
        Ok(Timestamp(seconds as f64))
    }

    fn visit_u64<E>(self, seconds: u64) -> Result<Timestamp, E> {
        Ok(Timestamp(seconds as f64))
    }

    fn visit_f64<E>(self, seconds: f64) -> Result<Timestamp, E> {
        Ok(Timestamp(seconds))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        text.parse().map_err(|error| E::custom(Tagged(error)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Timestamp, D::Error> {
        inner.deserialize_any(self)
    }
}

struct DateVisitor;

impl<'de> Visitor<'de> for DateVisitor {
    type Value = Date;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("date")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Date, E> {
        text.parse().map_err(|error| E::custom(Tagged(error)))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Date, D::Error> {
        inner.deserialize_any(self)
    }
}
