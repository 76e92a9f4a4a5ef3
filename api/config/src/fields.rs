//! Typed reading of a positioned tree: every mistake becomes a problem with its place, and no field goes unread.
//!
//! It does not know any kind's fields. A mapping is read through [`Cursor::object`], which reports what the
//! reader did not ask for.

mod scalar;

use crate::problem::{Code, Problem, Severity};
use crate::suggest;
use crate::yaml::{Entry, Node, Position, Value};
use scalar::{Scalar, describe, scalar_type, to_json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Where the problems of one document go.
pub(crate) struct Log {
    pub(crate) file: String,
    pub(crate) object: RefCell<String>,
    problems: RefCell<Vec<Problem>>,
    errors: Cell<usize>,
    /// What was looked for, where somebody wants to know.
    asked: Option<RefCell<Vec<Asked>>>,
}

/// What a reader looked for at one place: the fields of a mapping, or the words of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Such as `spec.http[0].route[1]`.
    pub path: String,
    pub names: Vec<String>,
}

impl Log {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            object: RefCell::default(),
            problems: RefCell::default(),
            errors: Cell::new(0),
            asked: None,
        }
    }

    /// Also keeps what is looked for.
    pub(crate) fn watching(file: &str) -> Self {
        Self { asked: Some(RefCell::default()), ..Self::new(file) }
    }

    fn asked<'n>(&self, path: &str, names: impl Iterator<Item = &'n str>) {
        if let Some(asked) = &self.asked {
            asked.borrow_mut().push(Asked { path: path.to_owned(), names: names.map(str::to_owned).collect() });
        }
    }

    pub(crate) fn into_asked(self) -> Vec<Asked> {
        self.asked.map(RefCell::into_inner).unwrap_or_default()
    }

    pub(crate) fn add(&self, problem: Problem) {
        self.errors.set(self.errors.get() + usize::from(problem.is_error()));
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors.get()
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// Where a part of an object is written, for problems that only show later. It counts in no hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: Position,
    pub(crate) path: String,
}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// One node, with the path that leads to it.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    node: &'a Node,
    path: String,
    log: &'a Log,
}

impl<'a> Cursor<'a> {
    pub(crate) fn root(node: &'a Node, log: &'a Log) -> Self {
        Self { node, path: String::new(), log }
    }

    pub(crate) fn node(&self) -> &'a Node {
        self.node
    }

    /// Another tree in this one's place.
    pub(crate) fn with_node(&self, node: &'a Node) -> Self {
        Self { node, ..self.clone() }
    }

    pub(crate) fn at(&self) -> Position {
        self.node.at
    }

    pub(crate) fn place(&self) -> Place {
        Place { at: self.node.at, path: self.path.clone() }
    }

    fn child(&self, node: &'a Node, step: &str) -> Self {
        let path = match (self.path.is_empty(), step.starts_with('[')) {
            (true, _) => step.to_owned(),
            (false, true) => format!("{}{step}", self.path),
            (false, false) => format!("{}.{step}", self.path),
        };
        Self { node, path, log: self.log }
    }

    fn problem(&self, code: Code, severity: Severity, reason: String, remedy: String) {
        self.log.add(Problem {
            code,
            severity,
            file: self.log.file.clone(),
            line: self.node.at.line,
            column: self.node.at.column,
            object: self.log.object.borrow().clone(),
            field: self.path.clone(),
            reason,
            remedy,
        });
    }

    pub(crate) fn error(&self, code: Code, reason: impl Into<String>, remedy: impl Into<String>) {
        self.problem(code, Severity::Error, reason.into(), remedy.into());
    }

    pub(crate) fn warn(&self, code: Code, reason: impl Into<String>, remedy: impl Into<String>) {
        self.problem(code, Severity::Warning, reason.into(), remedy.into());
    }

    pub(crate) fn not_supported(&self, reason: impl Into<String>, remedy: impl Into<String>) {
        self.error(Code::NotSupported, reason, remedy);
    }

    fn wrong_type(&self, wanted: &str) {
        let remedy = match (&self.node.value, wanted) {
            (Value::Plain(text), "a text") => format!("write it in quotes: {text:?}"),
            _ => format!("write {wanted}"),
        };
        self.error(Code::WrongType, format!("this is {}, and must be {wanted}", describe(&self.node.value)), remedy);
    }

    /// Reads a mapping. What `read` does not ask for is reported as an unknown field.
    pub(crate) fn object<T>(&self, read: impl FnOnce(&mut Fields<'a>) -> T) -> Option<T> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_type("a mapping");
            return None;
        };
        let mut fields = Fields { cursor: self.clone(), entries, known: Vec::new() };
        let result = read(&mut fields);
        self.log.asked(&self.path, fields.known.iter().copied());
        fields.report_unknown();
        Some(result)
    }

    /// A mapping with keys of the user's own.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Cursor<'a>)> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_type("a mapping");
            return Vec::new();
        };
        entries.iter().map(|entry| (entry.key.as_str(), self.child(&entry.node, &entry.key))).collect()
    }

    /// The value of a key, where there is one; says nothing of what else is there.
    pub(crate) fn find(&self, key: &str) -> Option<Cursor<'a>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key && entry.node.value != Value::Null)?;
        Some(self.child(&entry.node, key))
    }

    pub(crate) fn with_log(&self, log: &'a Log) -> Self {
        Self { log, ..self.clone() }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(crate) fn is_exactly(&self, text: &str) -> bool {
        matches!(&self.node.value, Value::Quoted(own) | Value::Plain(own) if own == text)
    }

    pub(crate) fn is_empty_object(&self) -> bool {
        matches!(&self.node.value, Value::Map(entries) if entries.is_empty())
    }

    pub(crate) fn list(&self) -> Vec<Cursor<'a>> {
        let Value::List(nodes) = &self.node.value else {
            self.wrong_type("a list");
            return Vec::new();
        };
        nodes.iter().enumerate().map(|(index, node)| self.child(node, &format!("[{index}]"))).collect()
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.node.value, Value::Quoted(_) | Value::Plain(_))
    }

    /// A text; a plain number or boolean is refused, as Kubernetes does.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Quoted(text) => Some(text),
            Value::Plain(text) if scalar_type(text) == Scalar::Text => {
                if matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off" | "y" | "n") {
                    let reason = format!("Kubernetes reads the unquoted word {text} as a boolean");
                    self.warn(Code::WrongType, reason, format!("write it in quotes: {text:?}"));
                }
                Some(text)
            }
            _ => {
                self.wrong_type("a text");
                None
            }
        }
    }

    pub(crate) fn nonempty(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.error(Code::BadValue, "an empty text", "write a value, or remove the field");
            return None;
        }
        Some(text)
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Plain(text) if matches!(text.as_str(), "true" | "True" | "TRUE") => Some(true),
            Value::Plain(text) if matches!(text.as_str(), "false" | "False" | "FALSE") => Some(false),
            _ => {
                self.wrong_type("true or false");
                None
            }
        }
    }

    pub(crate) fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        let number = match &self.node.value {
            Value::Plain(text) => text.parse::<i64>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            self.wrong_type("a whole number");
            return None;
        };
        if !range.contains(&number) {
            let remedy = format!("write a number from {} to {}", range.start(), range.end());
            self.error(Code::BadValue, format!("{number} is out of range"), remedy);
            return None;
        }
        Some(number)
    }

    /// For limits: from 0 to 2^31 - 1, as protobuf's int32 has it.
    pub(crate) fn count(&self) -> Option<u32> {
        self.integer(0..=i64::from(i32::MAX)).and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn port(&self) -> Option<u16> {
        self.integer(1..=65535).and_then(|n| u16::try_from(n).ok())
    }

    pub(crate) fn duration(&self) -> Option<std::time::Duration> {
        let text = self.scalar()?;
        let duration = crate::quantity::duration(text);
        if duration.is_none() {
            self.error(
                Code::BadValue,
                format!("{text:?} is no duration"),
                "write a number and a unit, such as 2ms, 1.5s or 1h30m",
            );
        }
        duration
    }

    /// The text of any scalar, whatever its type.
    pub(crate) fn scalar(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Quoted(text) | Value::Plain(text) => Some(text),
            _ => {
                self.wrong_type("a text");
                None
            }
        }
    }

    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, remedy: &str) -> Option<T> {
        match self.text()?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(Code::BadValue, error.to_string(), remedy);
                None
            }
        }
    }

    /// One word of a fixed set.
    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        self.log.asked(&self.path, words.iter().map(|(word, _)| *word));
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let remedy = match suggest::nearest(text, all.iter().copied()) {
            Some(word) => format!("did you mean {word}?"),
            None => format!("write one of {}", all.join(", ")),
        };
        self.error(Code::BadValue, format!("{text:?} is no value of this field"), remedy);
        None
    }

    pub(crate) fn texts(&self) -> Vec<&'a str> {
        self.list().iter().filter_map(Cursor::text).collect()
    }

    pub(crate) fn text_map(&self) -> BTreeMap<String, String> {
        let entry = |(key, value): (&str, Cursor<'a>)| Some((key.to_owned(), value.text()?.to_owned()));
        self.entries().into_iter().filter_map(entry).collect()
    }

    /// Any value, as JSON with its keys sorted: equal values have equal texts.
    pub(crate) fn json(&self) -> String {
        to_json(self.node).to_string()
    }
}

/// The fields of one mapping, as they are asked for.
pub(crate) struct Fields<'a> {
    cursor: Cursor<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The mapping itself, for problems.
    pub(crate) fn cursor(&self) -> &Cursor<'a> {
        &self.cursor
    }

    /// `None` where it is absent or null.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<Cursor<'a>> {
        self.known.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        (entry.node.value != Value::Null).then(|| self.cursor.child(&entry.node, name))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name && entry.node.value != Value::Null)
    }

    pub(crate) fn required(&mut self, name: &'static str) -> Option<Cursor<'a>> {
        let field = self.get(name);
        if field.is_none() {
            self.cursor.error(Code::MissingField, format!("{name} is missing"), format!("add {name}"));
        }
        field
    }

    /// A list that may be absent.
    pub(crate) fn list(&mut self, name: &'static str) -> Vec<Cursor<'a>> {
        self.get(name).map(|list| list.list()).unwrap_or_default()
    }

    /// A field that Istio has and Weft does not act on yet: an error where it is written.
    pub(crate) fn not_supported(&mut self, name: &'static str, what: &str) {
        if let Some(field) = self.key(name) {
            let reason = format!("{what} is not supported by this version of Weft");
            field.not_supported(reason, format!("remove {name}"));
        }
    }

    /// A field that changes nothing here, said so.
    pub(crate) fn no_effect(&mut self, name: &'static str, why: &str) {
        if let Some(field) = self.key(name) {
            field.warn(Code::NoEffect, why.to_owned(), format!("remove {name}, or leave it if another mesh reads it"));
        }
    }

    /// A field whose value is another program's concern (status, ports of nodes).
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend(names);
    }

    /// For a document that is not Weft's to read.
    pub(crate) fn ignore_rest(&mut self) {
        self.entries = &[];
    }

    /// Of these fields at most one may be there; answers how many are.
    pub(crate) fn exclusive(&self, names: &[&str]) -> usize {
        let present: Vec<_> = names.iter().copied().filter(|name| self.has(name)).collect();
        if present.len() > 1 {
            let reason = format!("{} exclude each other", present.join(" and "));
            self.cursor.error(Code::Conflict, reason, "keep one of them");
        }
        present.len()
    }

    /// The cursor of a key that is there, placed at the key, even where its value is null.
    fn key(&mut self, name: &'static str) -> Option<Cursor<'a>> {
        self.known.push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(self.cursor.child(&entry.node, name))
    }

    fn report_unknown(&self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let field = self.cursor.child(&entry.node, &entry.key);
            let remedy = match suggest::nearest(&entry.key, self.known.iter().copied()) {
                Some(name) => format!("did you mean {name}?"),
                None => "remove it, or look up its name and its place".to_owned(),
            };
            field.log.add(Problem {
                code: Code::UnknownField,
                severity: Severity::Error,
                file: field.log.file.clone(),
                line: entry.at.line,
                column: entry.at.column,
                object: field.log.object.borrow().clone(),
                field: field.path.clone(),
                reason: format!("there is no field {:?} here", entry.key),
                remedy,
            });
        }
    }
}
