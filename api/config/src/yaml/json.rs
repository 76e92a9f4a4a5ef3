//! YAML as JSON, read as Kubernetes reads it: with YAML 1.1's booleans and octal numbers, keys in the order written.
//!
//! For objects that pass through. The kinds that Weft reads go through `fields`, which is stricter.

use super::{Node, Value, documents};
use serde_json::Value as Json;
use std::fmt;

/// Why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlFault {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    pub reason: String,
    pub remedy: String,
}

impl fmt::Display for YamlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.line, self.column, self.reason, self.remedy)
    }
}

impl std::error::Error for YamlFault {}

/// All documents of a text, empty ones left out.
pub fn from_yaml(text: &str) -> Result<Vec<Json>, YamlFault> {
    let mut values = Vec::new();
    for document in documents(text) {
        if let Some(fault) = document.faults.into_iter().next() {
            let (line, column) = (fault.at.line, fault.at.column);
            return Err(YamlFault { line, column, reason: fault.reason, remedy: fault.remedy });
        }
        values.push(json(document.root));
    }
    Ok(values)
}

fn json(node: Node) -> Json {
    match node.value {
        Value::Null => Json::Null,
        Value::Quoted(text) => Json::String(text),
        Value::Plain(text) => plain(text),
        Value::List(nodes) => Json::Array(nodes.into_iter().map(json).collect()),
        Value::Map(entries) => Json::Object(entries.into_iter().map(|entry| (entry.key, json(entry.node))).collect()),
    }
}

fn plain(text: String) -> Json {
    match text.as_str() {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => return Json::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Json::Bool(false);
        }
        _ => {}
    }
    number(&text).map_or(Json::String(text), Json::Number)
}

fn number(text: &str) -> Option<serde_json::Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    let digits = text.replace('_', "");
    let (negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8), ("0", 8)];
    let based = radix.iter().find_map(|(prefix, radix)| {
        let digits =
            unsigned.strip_prefix(prefix).filter(|digits| digits.starts_with(|c: char| c.is_ascii_alphanumeric()))?;
        u64::from_str_radix(digits, *radix).ok()
    });
    let whole = based.or_else(|| unsigned.bytes().all(|b| b.is_ascii_digit()).then(|| unsigned.parse().ok())?);
    match (whole, negative) {
        (Some(number), false) => Some(number.into()),
        (Some(number), true) => 0_i64.checked_sub_unsigned(number).map(Into::into),
        (None, _) => {
            float(unsigned).and_then(|number| serde_json::Number::from_f64(if negative { -number } else { number }))
        }
    }
}

fn float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    (plain && text.starts_with(|c: char| c.is_ascii_digit() || c == '.')).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("yes", "true"),
            ("Off", "false"),
            ("\"yes\"", "\"yes\""),
            ("0644", "420"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("0", "0"),
            ("08", "8"),
            ("12", "12"),
            ("-12", "-12"),
            ("+5", "5"),
            ("1_000", "1000"),
            ("1.5", "1.5"),
            ("1e3", "1000.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.2.3", "\"1.2.3\""),
            ("10.0.0.1", "\"10.0.0.1\""),
            ("100m", "\"100m\""),
            ("2026-11-24", "\"2026-11-24\""),
            ("v1", "\"v1\""),
            ("~", "null"),
        ];
        for (text, want) in cases {
            let got = from_yaml(&format!("a: {text}")).map(|values| values[0]["a"].to_string());
            assert_eq!(got.as_deref(), Ok(want), "scalar {text}");
        }
    }

    #[test]
    fn documents_keep_their_order_and_their_keys() {
        let got = from_yaml("b: 1\na: [x, {c: 2}]\n---\n---\nz: |\n  line\n").expect("YAML");
        assert_eq!(
            got.iter().map(Json::to_string).collect::<Vec<_>>(),
            [r#"{"b":1,"a":["x",{"c":2}]}"#, r#"{"z":"line\n"}"#]
        );
        let fault = from_yaml("a: [").expect_err("not closed");
        assert_eq!(fault.line, 1, "{fault}");
    }
}
