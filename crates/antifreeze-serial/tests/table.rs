//! The table of values against serializers: a change of the wire is a change of one line.

use antifreeze_serial::{Limits, Serializer, Value, decode, encode};

const VALUES: [&str; 38] = [
    "None",
    "True",
    "1",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1.0",
    "1e22",
    "1e-7",
    "1e999",
    "-1e999",
    "1+2j",
    "'text'",
    "'it\\'s \\x00\\n\u{e9}'",
    "'\\ud800'",
    "b'\\x00a'",
    "()",
    "(1,)",
    "(1, 2)",
    "[]",
    "[1]",
    "{1}",
    "set()",
    "{}",
    "{'a': 1}",
    "{1: 2}",
    "{1.5: 2}",
    "{True: 2}",
    "{None: 2}",
    "{(1, 2): 3}",
    "{b'k': 1}",
    "{1+2j: 1}",
    "...",
    "{'__class__': 'float', 'value': 'nan'}",
    "{'__class__': 'Pyro5.core.URI', 'state': ('PYRO', 'obj', None, 'localhost', 4444)}",
    "{'__class__': 'ValueError', '__exception__': True, 'args': ('boom',)}",
    "{'__class__': 'Pyro5.server.Daemon', 'state': ()}",
    "{'__class__': 'my.Class', 'a': (1,)}",
];

#[test]
fn values_on_the_wire() {
    let mut table = String::new();
    let frozen = Value::FrozenSet(vec![Value::Int(1)]);
    let values = VALUES.map(|literal| Value::parse_literal(literal).unwrap());
    for value in values.iter().chain([&frozen]) {
        table.push_str(&format!("{value}\n"));
        for serializer in Serializer::ALL {
            let cell = match encode(serializer, value) {
                Err(error) => format!("{error} ({})", error.python_class()),
                Ok(bytes) => {
                    let back: Value = decode(serializer, &bytes, &Limits::default()).unwrap();
                    let bytes = bytes
                        .strip_prefix(b"# serpent utf-8 python3.2\n")
                        .unwrap_or(&bytes);
                    let shown = match (serializer, std::str::from_utf8(bytes)) {
                        (Serializer::Serpent | Serializer::Json, Ok(text)) => text.to_owned(),
                        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                    };
                    match back == *value {
                        true => shown,
                        false => format!("{shown}  ->  {back}"),
                    }
                }
            };
            table.push_str(&format!("  {serializer:8} {cell}\n"));
        }
    }
    insta::assert_snapshot!(table);
}
