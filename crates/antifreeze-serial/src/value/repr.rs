//! How Python prints values.

use std::fmt;

use super::{Complex, Timestamp, Value, push_repr_bytes, push_repr_str};
use crate::class::{Exception, UriObject};
use crate::scan::push_float;

fn push_plain_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        push_float(out, value);
    } else if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
}

/// Appends a complex number.
pub(super) fn push_complex(out: &mut Vec<u8>, value: Complex) {
    // As Python does: no fraction where there is none, and no real part that is zero.
    let part = |out: &mut Vec<u8>, part| {
        push_plain_float(out, part);
        if out.ends_with(b".0") {
            out.truncate(out.len() - 2);
        }
    };
    let whole = value.re == 0.0 && value.re.is_sign_positive();
    if !whole {
        out.push(b'(');
        part(out, value.re);
        if value.im.is_sign_positive() || value.im.is_nan() {
            out.push(b'+');
        }
    }
    part(out, value.im);
    out.extend_from_slice(if whole { b"j" } else { b"j)" });
}

fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let Some(clock) = time.clock() else {
        out.extend_from_slice(format!("<datetime {time}>").as_bytes());
        return;
    };
    let (year, month, day) = clock.date.parts();
    let parts = [
        year,
        month,
        day,
        clock.hour,
        clock.minute,
        clock.second,
        clock.micros,
    ];
    // Without zeros at the end, but for hour and minute.
    let shown = parts
        .iter()
        .rposition(|part| *part != 0)
        .map_or(5, |last| (last + 1).max(5));
    out.extend_from_slice(b"datetime.datetime(");
    for part in &parts[..shown] {
        out.extend_from_slice(format!("{part}, ").as_bytes());
    }
    out.extend_from_slice(b"tzinfo=datetime.timezone.utc)");
}

fn push_all(out: &mut Vec<u8>, open: &str, items: &[Value], close: &str) {
    out.extend_from_slice(open.as_bytes());
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        push(out, item);
    }
    out.extend_from_slice(close.as_bytes());
}

fn push_exception(out: &mut Vec<u8>, exception: &Exception) {
    let name = exception.class.rsplit('.').next().unwrap_or_default();
    out.extend_from_slice(name.as_bytes());
    push_all(out, "(", &exception.args, ")");
}

fn push(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::None => out.extend_from_slice(b"None"),
        Value::Ellipsis => out.extend_from_slice(b"..."),
        Value::Bool(value) => out.extend_from_slice(if *value { b"True" } else { b"False" }),
        Value::Int(value) => {
            out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes());
        }
        Value::BigInt(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Float(value) => push_plain_float(out, *value),
        Value::Complex(value) => push_complex(out, *value),
        Value::Timestamp(time) => push_time(out, *time),
        Value::Date(date) => {
            let (year, month, day) = date.parts();
            out.extend_from_slice(format!("datetime.date({year}, {month}, {day})").as_bytes());
        }
        Value::Str(text) => push_repr_str(out, text.as_bytes()),
        Value::Bytes(bytes) => push_repr_bytes(out, bytes),
        Value::List(items) => push_all(out, "[", items, "]"),
        Value::Tuple(items) if items.len() == 1 => push_all(out, "(", items, ",)"),
        Value::Tuple(items) => push_all(out, "(", items, ")"),
        Value::Set(items) if items.is_empty() => out.extend_from_slice(b"set()"),
        Value::Set(items) => push_all(out, "{", items, "}"),
        Value::FrozenSet(items) if items.is_empty() => out.extend_from_slice(b"frozenset()"),
        Value::FrozenSet(items) => push_all(out, "frozenset({", items, "})"),
        Value::Dict(dict) => {
            out.push(b'{');
            for (i, (key, value)) in dict.iter().enumerate() {
                if i > 0 {
                    out.extend_from_slice(b", ");
                }
                push(out, key);
                out.extend_from_slice(b": ");
                push(out, value);
            }
            out.push(b'}');
        }
        Value::Exception(exception) | Value::WrappedException(exception) => {
            push_exception(out, exception);
        }
        Value::Uri(uri) => {
            let object = match &uri.object {
                UriObject::Id(id) => id.clone(),
                UriObject::Tags(tags) => tags.join(","),
            };
            out.extend_from_slice(format!("<URI {}:{object}", uri.protocol).as_bytes());
            if let Some(path) = &uri.sockname {
                out.extend_from_slice(format!("@./u:{path}").as_bytes());
            } else if let Some(host) = &uri.host {
                out.extend_from_slice(format!("@{host}").as_bytes());
                if let Some(port) = uri.port {
                    out.extend_from_slice(format!(":{port}").as_bytes());
                }
            }
            out.push(b'>');
        }
        Value::Proxy(proxy) => {
            out.extend_from_slice(format!("<Proxy {}>", proxy.uri).as_bytes());
        }
        Value::Daemon => out.extend_from_slice(b"<Daemon>"),
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        push(&mut out, self);
        // It is text by construction: what is not is escaped.
        f.pad(&String::from_utf8_lossy(&out))
    }
}
