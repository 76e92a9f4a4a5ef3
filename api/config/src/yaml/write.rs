//! A JSON value as YAML text, block style, keys in their order.
//!
//! It does not know what the value means. Whatever it writes, the reader beside it reads back as the same value.

use serde_json::Value;
use std::fmt::Write;

/// One document, without `---`, ending in a line break.
pub fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut text, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut text, value, 0),
        _ => {
            scalar(&mut text, value, 0);
            text.push('\n');
        }
    }
    text
}

/// Several documents, as `kubectl apply -f` takes them.
pub fn to_yaml_documents<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    values.into_iter().map(to_yaml).collect::<Vec<_>>().join("---\n")
}

/// A mapping or a list with something in it, each entry on lines of its own.
fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                indent(text, depth);
                plain_or_quoted(text, key);
                text.push(':');
                after_key(text, value, depth);
            }
        }
        Value::Array(list) => {
            for value in list {
                indent(text, depth);
                text.push('-');
                after_dash(text, value, depth);
            }
        }
        _ => {}
    }
}

fn after_key(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(text, value, depth + 1);
        }
        // A list stands under its key, not further in.
        Value::Array(list) if !list.is_empty() => {
            text.push('\n');
            block(text, value, depth);
        }
        _ => {
            text.push(' ');
            scalar(text, value, depth + 1);
            text.push('\n');
        }
    }
}

/// The first entry of a mapping or list stands on the dash's own line.
fn after_dash(text: &mut String, value: &Value, depth: usize) {
    let filled = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    text.push(' ');
    if filled {
        let start = text.len();
        block(text, value, depth + 1);
        text.replace_range(start..start + 2 * (depth + 1), "");
    } else {
        scalar(text, value, depth + 1);
        text.push('\n');
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(written) if is_block(written) => literal(text, written, depth),
        Value::String(written) => plain_or_quoted(text, written),
        Value::Object(_) => text.push_str("{}"),
        Value::Array(_) => text.push_str("[]"),
        other => write!(text, "{other}").expect("a text takes every write"),
    }
}

/// Several lines of printable text, the first of which is not indented, ending in one line break.
fn is_block(written: &str) -> bool {
    let printable = |c: char| c == '\n' || (!c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}');
    written.trim_end_matches('\n').contains('\n')
        && written.ends_with('\n')
        && !written.ends_with("\n\n")
        && !written.starts_with([' ', '\n'])
        && written.chars().all(printable)
}

fn literal(text: &mut String, written: &str, depth: usize) {
    text.push('|');
    for line in written.trim_end_matches('\n').split('\n') {
        text.push('\n');
        if !line.is_empty() {
            indent(text, depth);
            text.push_str(line);
        }
    }
}

/// Quoted unless it is plainly a text to every reader, YAML 1.1's included (`yes`, `0o7`, `1:30`).
fn plain_or_quoted(text: &mut String, written: &str) {
    let first = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '_';
    let inner = |c: char| c.is_ascii_alphanumeric() || " /_-.,()+='<>;$\u{2026}".contains(c);
    let separated = !written.contains(": ") && !written.ends_with([' ', ':']);
    let word = matches!(
        written.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | "nan" | "inf" | "infinity"
    );
    let plain = written.starts_with(first) && written.chars().all(|c| inner(c) || c == ':') && separated && !word;
    if plain {
        text.push_str(written);
    } else {
        // JSON's texts are YAML's double-quoted ones, but for DEL and its like, which JSON leaves as they are.
        for c in Value::String(written.to_owned()).to_string().chars() {
            match c {
                '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{2028}' | '\u{2029}' => {
                    write!(text, "\\u{:04x}", u32::from(c)).expect("a text takes every write");
                }
                c => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{Cursor, Log};
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> String {
        let documents = crate::yaml::documents(text);
        assert_eq!(documents.len(), 1, "{text}");
        assert!(documents[0].faults.is_empty(), "{:?} in {text}", documents[0].faults);
        let log = Log::new("");
        Cursor::root(&documents[0].root, &log).json()
    }

    #[test]
    fn block_style() {
        let value = json!({
            "kind": "List",
            "empty": {}, "none": [], "nothing": null,
            "items": [{"name": "a", "ports": [80, 443], "on": true}, [1, [2]], "text", "yes", "1.5", "a: b", "- c"],
            "script": "#!/bin/sh\necho  hi\n\nexit\n",
        });
        let want = "kind: List\nempty: {}\nnone: []\nnothing: null\nitems:\n- name: a\n  ports:\n  - 80\n  - 443\n  \"on\": true\n\
                    - - 1\n  - - 2\n- text\n- \"yes\"\n- \"1.5\"\n- \"a: b\"\n- \"- c\"\nscript: |\n  #!/bin/sh\n  echo  hi\n\n  exit\n";
        assert_eq!(to_yaml(&value), want);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "\\PC{0,12}",
            "[ -~\n]{0,20}",
            "(yes|No|~|null|1e3|0x1|=|<|2001-01-01|: |# | #|a:|\u{85}|\u{7f})"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in json_value()) {
            // A document that is null as a whole counts as none.
            let value = json!([value]);
            prop_assert_eq!(read(&to_yaml(&value)), value.to_string(), "{}", to_yaml(&value));
        }
    }
}
