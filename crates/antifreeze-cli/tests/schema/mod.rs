//! As much of JSON Schema as `docs/waits.schema.json` uses.

use serde_json::Value;

/// The value has the shape that is documented.
#[track_caller]
pub(crate) fn check(value: &Value) {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/waits.schema.json")).unwrap();
    let mut wrong = Vec::new();
    compare(value, &schema, &schema, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}\nin {value:#}");
}

fn compare(value: &Value, schema: &Value, root: &Value, at: &str, wrong: &mut Vec<String>) {
    let entries = schema.as_object().unwrap();
    for (word, expected) in entries {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => {}
            "$ref" => {
                let pointer = expected.as_str().unwrap().trim_start_matches('#');
                compare(value, root.pointer(pointer).unwrap(), root, at, wrong);
            }
            "type" => {
                let types = match expected {
                    Value::Array(types) => types.clone(),
                    one => vec![one.clone()],
                };
                if !types.iter().any(|name| is_a(value, name.as_str().unwrap())) {
                    wrong.push(format!("{at}: expected {expected}, got {value}"));
                }
            }
            "anyOf" => {
                let is = |schema: &Value| {
                    let mut wrong = Vec::new();
                    compare(value, schema, root, at, &mut wrong);
                    wrong.is_empty()
                };
                if !expected.as_array().unwrap().iter().any(is) {
                    wrong.push(format!("{at}: none of {expected}"));
                }
            }
            "items" => {
                for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                    compare(item, expected, root, &format!("{at}/{nth}"), wrong);
                }
            }
            "required" => {
                for name in expected.as_array().unwrap() {
                    let name = name.as_str().unwrap();
                    if value.is_object() && value.get(name).is_none() {
                        wrong.push(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    match expected.get(name) {
                        Some(schema) => {
                            compare(inner, schema, root, &format!("{at}/{name}"), wrong)
                        }
                        None => wrong.push(format!("{at}: {name} is not documented")),
                    }
                }
            }
            other => panic!("the schema has {other:?}, of which nothing is known here"),
        }
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}
