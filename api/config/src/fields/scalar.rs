//! What a node stands for: the type of a plain scalar, words for a problem, JSON.
//!
//! It does not know which type a field wants.

use crate::yaml::{Node, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Boolean,
    Number,
}

/// YAML 1.2's core schema.
pub(super) fn scalar_type(text: &str) -> Scalar {
    if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") {
        return Scalar::Boolean;
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let hex = |prefix, radix| {
        unsigned.strip_prefix(prefix).is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(radix)))
    };
    let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && unsigned.parse::<f64>().is_ok();
    if number || hex("0x", 16) || hex("0o", 8) || matches!(unsigned, ".inf" | ".Inf" | ".nan" | ".NaN") {
        return Scalar::Number;
    }
    Scalar::Text
}

pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Quoted(text) => format!("the text {text:?}"),
        Value::Plain(text) => match scalar_type(text) {
            Scalar::Boolean => format!("the boolean {text}"),
            Scalar::Number => format!("the number {text}"),
            Scalar::Text => format!("the text {text:?}"),
        },
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
    }
}

pub(super) fn to_json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Quoted(text) => Json::String(text.clone()),
        Value::Plain(text) => match scalar_type(text) {
            Scalar::Boolean => Json::Bool(text.eq_ignore_ascii_case("true")),
            Scalar::Number => number(text).map_or_else(|| Json::String(text.clone()), Json::Number),
            Scalar::Text => Json::String(text.clone()),
        },
        Value::List(nodes) => Json::Array(nodes.iter().map(to_json).collect()),
        Value::Map(entries) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by(|a, b| a.key.cmp(&b.key));
            Json::Object(sorted.into_iter().map(|e| (e.key.clone(), to_json(&e.node))).collect())
        }
    }
}

fn number(text: &str) -> Option<serde_json::Number> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Ok(n) = unsigned.parse::<i64>() {
        return Some(n.into());
    }
    if let Ok(n) = unsigned.parse::<u64>() {
        return Some(n.into());
    }
    let radix =
        |prefix, radix| unsigned.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok());
    if let Some(n) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(n.into());
    }
    unsigned.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_core_schemas_types() {
        let cases = [
            ("true", r#"true"#),
            ("False", "false"),
            ("yes", r#""yes""#),
            ("12", "12"),
            ("+12", "12"),
            ("-3", "-3"),
            ("0x1f", "31"),
            ("0o17", "15"),
            ("1.50", "1.5"),
            ("1e3", "1000.0"),
            (".5", "0.5"),
            ("18446744073709551615", "18446744073709551615"),
            (".nan", r#"".nan""#),
            ("1.2.3", r#""1.2.3""#),
            ("10.0.0.1", r#""10.0.0.1""#),
            ("v1", r#""v1""#),
            ("infinity", r#""infinity""#),
        ];
        for (text, want) in cases {
            let node = Node { at: crate::yaml::Position::START, value: Value::Plain(text.into()) };
            assert_eq!(to_json(&node).to_string(), want, "scalar {text}");
        }
    }
}
