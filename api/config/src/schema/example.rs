//! Small specs that hold one field each, with each of its words and bounds: what tests feed to the readers and to an
//! API server, so that neither loses a field that the other knows.

use super::{Schema, Shape, Support};
use serde_json::{Map, Value, json};

/// A spec in which, beside what is required, one field is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Of that field, as problems print it, below `spec`.
    pub path: String,
    pub spec: Value,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Read,
    /// The API server keeps the field, and the reader names it as unsupported.
    Unsupported,
    /// The API server keeps the field, and the reader warns of it.
    WithoutEffect,
    /// Both refuse it.
    Refused,
}

impl Schema {
    /// At least one for every field.
    pub fn examples(&self) -> Vec<Example> {
        let outcome = match self.support {
            Support::Read => Outcome::Read,
            Support::Unsupported => Outcome::Unsupported,
            Support::WithoutEffect => Outcome::WithoutEffect,
            Support::Refused => Outcome::Refused,
        };
        let leaf = |spec: Value| Example { path: String::new(), spec, outcome };
        match &self.shape {
            Shape::Object { fields, .. } => {
                let mut examples = vec![leaf(self.smallest())];
                for (name, field) in fields {
                    examples.extend(field.examples().into_iter().map(|inner| self.around(name, inner)));
                }
                examples
            }
            Shape::Map(key, values) => {
                let wrap = |inner: Example| Example {
                    path: join(key, &inner.path),
                    spec: json!({*key: inner.spec}),
                    outcome: inner.outcome,
                };
                values.examples().into_iter().map(wrap).collect()
            }
            Shape::List { items, .. } => {
                let wrap = |inner: Example| Example {
                    path: join("[0]", &inner.path),
                    spec: json!([inner.spec]),
                    outcome: inner.outcome,
                };
                items.examples().into_iter().map(wrap).collect()
            }
            Shape::Text { words, example } if words.is_empty() => vec![leaf((*example).into())],
            Shape::Text { words, .. } => words.iter().map(|word| leaf((*word).into())).collect(),
            Shape::Integer { min, max } => vec![leaf((*min).into()), leaf((*max).into())],
            Shape::Boolean => vec![leaf(true.into()), leaf(false.into())],
            Shape::Size(size) => vec![leaf((*size).into()), leaf((1 << 24).into())],
            Shape::Free => vec![leaf(json!({"any": {"depth": [1, "two", null, {"three": 3.5}]}}))],
            Shape::Any => vec![leaf(json!({"any": ["value"]}))],
        }
    }

    /// An object with one more field than it must have.
    fn around(&self, name: &str, inner: Example) -> Example {
        let mut spec = self.smallest();
        spec[name] = inner.spec;
        Example { path: join(name, &inner.path), spec, outcome: inner.outcome }
    }

    /// What every example has.
    fn smallest(&self) -> Value {
        let Shape::Object { fields, required, exemplary } = &self.shape else {
            let first = self.examples().into_iter().next();
            return first.map(|example| example.spec).unwrap_or_default();
        };
        let needed = fields.iter().filter(|(name, _)| required.contains(name) || exemplary.contains(name));
        Value::Object(needed.map(|(name, field)| ((*name).to_owned(), field.smallest())).collect::<Map<_, _>>())
    }

    /// The node at a path such as `http[0].match[0].uri`; `None` where the schema names none.
    pub fn at(&self, path: &str) -> Option<&Schema> {
        let (step, rest) = match path.find(['.', '[']) {
            _ if path.is_empty() => return Some(self),
            Some(0) if path.starts_with('[') => path.split_at(path.find(']')? + 1),
            Some(end) => path.split_at(end),
            None => (path, ""),
        };
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        match &self.shape {
            Shape::Object { fields, .. } => fields.iter().find(|(name, _)| *name == step)?.1.at(rest),
            Shape::Map(_, values) => values.at(rest),
            Shape::List { items, .. } => items.at(rest),
            _ => None,
        }
    }

    /// Names of an object's fields; of an enumeration the words.
    pub fn names(&self) -> Vec<&'static str> {
        match &self.shape {
            Shape::Object { fields, .. } => fields.iter().map(|(name, _)| *name).collect(),
            Shape::Text { words, .. } => words.clone(),
            _ => Vec::new(),
        }
    }
}

fn join(step: &str, rest: &str) -> String {
    match rest.chars().next() {
        None => step.to_owned(),
        Some('[') => format!("{step}{rest}"),
        Some(_) => format!("{step}.{rest}"),
    }
}
