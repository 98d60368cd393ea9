//! `antifreeze call`: one call of a remote object.

use std::time::Duration;

use antifreeze::{Config, Error, Proxy, Returned, Serializer, Uri, Value};
use antifreeze_serial::Dict;

use crate::failure::Failure;
use crate::output;

/// Call a method of a remote object and print what it returns
///
/// Arguments are Python literals, and the result is printed as one. Text needs its own quotes,
/// inside of those that the shell takes away:
///
///   antifreeze call PYRO:test.echoserver@localhost:7777 echo '"hello"'
///   antifreeze call PYRONAME:bank.account deposit 10 note='"rent"'
///   antifreeze call PYRONAME:stage move '[1.5, -2]' wait=True
///
/// A method that is marked oneway is not waited for: the result is None at once. Of one that returns an
/// item stream, each item is printed on a line of its own when it comes.
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// The object: PYRO:object@host:port, or PYRONAME:name to ask the name server
    uri: String,
    /// The method to call, or the attribute to read
    method: String,
    /// An argument: a Python literal such as 5, -1.5, None, '"text"', '[1, 2]'; or NAME=literal
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// How the call is encoded [default: the setting `serializer`, which is serpent]
    #[arg(long, value_name = "NAME", value_parser = serializer)]
    serializer: Option<Serializer>,
    /// How long all of it may take, or each item of a stream, as 2.5 or 500ms [default: the setting
    /// `call_deadline`, which is none]
    #[arg(long, value_name = "SECONDS", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Print the result as JSON, as Pyro's serializer writes it
    #[arg(long)]
    json: bool,
    /// If the method raises an exception, show its remote traceback too
    #[arg(long)]
    traceback: bool,
}

/// What the arguments mean.
struct Call {
    uri: Uri,
    method: String,
    positional: Vec<Value>,
    named: Dict,
    config: Config,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (json, traceback) = (self.json, self.traceback);
        let call = self.understand()?;
        let failed = |error: Error| match traceback {
            true => Failure::with_traceback(&error),
            false => Failure::from(error),
        };
        let print = |value: &Value| -> Result<(), Failure> {
            let text = match json {
                true => output::json(value)?,
                false => value.to_string(),
            };
            Ok(output::print(&text)?)
        };
        match call.run().map_err(failed)? {
            Returned::Value(value) => print(&value),
            Returned::Items(mut items) => items.try_for_each(|item| print(&item.map_err(failed)?)),
        }
    }

    fn understand(self) -> Result<Call, Failure> {
        let mut config = Config::load()?;
        if let Some(serializer) = self.serializer {
            config.serializer = serializer;
        }
        if let Some(timeout) = self.timeout {
            config.call_deadline = Some(timeout);
        }
        let uri = Uri::parse_with_ns_port(&self.uri, config.ns_port).map_err(Failure::usage)?;
        let (positional, named) = arguments(&self.arguments).map_err(Failure::Usage)?;
        Ok(Call {
            uri,
            method: self.method,
            positional,
            named,
            config,
        })
    }
}

impl Call {
    fn run(self) -> Result<Returned<Value>, Error> {
        let proxy = Proxy::builder(self.uri)?.config(self.config).connect()?;
        let (method, metadata) = (&self.method, proxy.metadata()?);
        if metadata.attrs.contains(method) && self.positional.is_empty() && self.named.is_empty() {
            return proxy.attr_any(method);
        }
        let (positional, named) = (Value::Tuple(self.positional), Value::Dict(self.named));
        proxy.call_any(method, positional, named)
    }
}

/// The literals, and those that have a name.
fn arguments(texts: &[String]) -> Result<(Vec<Value>, Dict), String> {
    let (mut positional, mut named) = (Vec::new(), Dict::new());
    for text in texts {
        match split_name(text) {
            None => positional.push(literal(text, "")?),
            Some((name, _)) if named.get(name).is_some() => {
                return Err(format!("the argument {name} is there twice"));
            }
            Some((name, text)) => named.insert(name, literal(text, name)?),
        }
    }
    Ok((positional, named))
}

/// Splits `name=literal`, where the name can be one in Python.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let letter = |c: char| c == '_' || c.is_alphabetic();
    let is_name = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_numeric());
    is_name.then_some((name, value))
}

fn literal(text: &str, name: &str) -> Result<Value, String> {
    Value::parse_literal(text).map_err(|error| {
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("{name}=")
        };
        let text: String = text.chars().take(80).collect();
        // JSON's strings are Python's too.
        let quoted = serde_json::Value::from(text.as_str())
            .to_string()
            .replace('\'', r"'\''");
        format!(
            "expected a Python literal; got {text} ({error}); if it is text, write {name}'{quoted}'"
        )
    })
}

fn serializer(text: &str) -> Result<Serializer, antifreeze_serial::Error> {
    text.parse()
}

pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    const SETTING: &str = "connect_timeout";
    let mut config = Config::default();
    // The text is that of a setting, and is refused in the same words.
    config.set(SETTING, text).map_err(|error| {
        error
            .to_string()
            .trim_start_matches(SETTING)
            .trim_start_matches(": ")
            .to_owned()
    })?;
    Ok(config.connect_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arguments, written as Python would write them in a call.
    fn check(texts: &[&str], expected: &str) {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let (positional, named) = arguments(&texts).unwrap();
        let named = named
            .iter()
            .map(|(name, value)| format!("{}={value}", name.as_str().unwrap()));
        let all: Vec<String> = positional
            .iter()
            .map(Value::to_string)
            .chain(named)
            .collect();
        assert_eq!(all.join(", "), expected);
    }

    /// The argument is refused with this message.
    fn refuse(texts: &[&str], expected: &[&str]) {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let error = arguments(&texts).unwrap_err();
        for part in expected {
            assert!(error.contains(part), "{error}\ndoes not have {part}");
        }
    }

    #[test]
    fn arguments_are_python_literals() {
        check(&[], "");
        check(
            &["1", "-2.5", "None", "'a=b'", "[1, 'x']"],
            "1, -2.5, None, 'a=b', [1, 'x']",
        );
        check(
            &["a=1", "2", "_b9='x=y'", "größe=(1,)"],
            "2, a=1, _b9='x=y', größe=(1,)",
        );
        check(&["{'a=': 1}"], "{'a=': 1}");
    }

    #[test]
    fn what_is_none_is_refused_with_the_quotes_it_needs() {
        refuse(
            &["hello"],
            &["expected a Python literal; got hello", r#"write '"hello"'"#],
        );
        refuse(&["note=it's"], &["got it's", r#"write note='"it'\''s"'"#]);
        refuse(&["9a=1"], &["got 9a=1"]);
        refuse(&["a=1", "a=2"], &["the argument a is there twice"]);
        refuse(&["__import__('os')"], &["expected a Python literal"]);
        refuse(&[""], &["expected a Python literal"]);
    }

    #[test]
    fn a_time_is_in_seconds_or_has_a_unit() {
        assert_eq!(timeout("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(timeout("20ms"), Ok(Duration::from_millis(20)));
        timeout("0").unwrap_err();
        timeout("soon").unwrap_err();
    }
}
