//! One object laid over what is there already: what we say counts, what others added stays.
//!
//! So a second run finds the API server's defaults and other webhooks' additions and leaves them alone.

use serde_json::Value;

/// Fields by which the entries of a list are told apart.
const KEYS: &[(&str, &str)] = &[("env", "name"), ("ports", "name"), ("volumeMounts", "mountPath"), ("sources", "")];

/// Where anything that is not ours would be a hole.
const WHOLE: &[&str] = &["securityContext", "command", "args", "sources"];

pub(super) fn overlay(there: &mut Value, ours: Value) {
    match (there, ours) {
        (Value::Object(there), Value::Object(ours)) => {
            for (field, value) in ours {
                match there.get_mut(&field) {
                    Some(_) if WHOLE.contains(&field.as_str()) => {
                        there.insert(field, value);
                    }
                    Some(own) => match key(&field) {
                        Some(key) => lists(own, value, key),
                        None => overlay(own, value),
                    },
                    None => {
                        there.insert(field, value);
                    }
                }
            }
        }
        (there, ours) => *there = ours,
    }
}

/// Ours at the places where entries of the same key stand, or at the end.
pub(super) fn lists(there: &mut Value, ours: Value, key: &str) {
    let (Value::Array(there), Value::Array(ours)) = (there, ours) else { return };
    for entry in ours {
        match there.iter_mut().find(|own| own[key] == entry[key]) {
            // The entry as a whole: a variable has a value or a source, never both.
            Some(own) if key == "name" && own.get("value") != entry.get("value") => *own = entry,
            Some(own) => overlay(own, entry),
            None => there.push(entry),
        }
    }
}

fn key(field: &str) -> Option<&'static str> {
    KEYS.iter().find(|(name, key)| *name == field && !key.is_empty()).map(|(_, key)| *key)
}
