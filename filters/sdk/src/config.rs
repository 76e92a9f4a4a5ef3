//! A filter's config: JSON in, a typed value or an error that names the field.
//!
//! A reader of its own rather than serde_json, because a general one does not know the path to a wrong value and
//! weighs more than most filters.

mod json;
mod shapes;
mod text;

use std::fmt;

use serde::de::{DeserializeOwned, Expected, Unexpected};

pub use shapes::{OneOrMany, Pairs};

/// What is wrong with a config, and in which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// From the outside in, such as `subsets.v1` or `rules[2].paths`; empty for the config as a whole.
    path: String,
    reason: String,
}

impl ConfigError {
    /// An error in one field; `reason` says what is wrong and what would be right.
    pub fn field(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The same error, seen from the object that has the field.
    pub(crate) fn under(mut self, field: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = [field, dot, &self.path].concat();
        self
    }

    /// The same error, seen from the list that has the element.
    pub(crate) fn at(self, index: usize) -> Self {
        self.under(&["[", &index.to_string(), "]"].concat())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => out.write_str(&self.reason),
            path => write!(out, "{path}: {}", self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

impl serde::de::Error for ConfigError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self { path: String::new(), reason: reason.to_string() }
    }

    // serde's own texts can show a fraction, and the code that prints one is larger than most filters.
    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::custom(format_args!("invalid type: {}, expected {wanted}", Shown(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::custom(format_args!("invalid value: {}, expected {wanted}", Shown(&found)))
    }
}

/// What was found in the config, by kind, with its value where that is short.
struct Shown<'a>(&'a Unexpected<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match *self.0 {
            Unexpected::Unsigned(number) => return write!(out, "the number {number}"),
            Unexpected::Signed(number) => return write!(out, "the number {number}"),
            Unexpected::Str(text) => return write!(out, "the text \"{text}\""),
            Unexpected::Other(kind) => kind,
            Unexpected::Bool(_) => "true or false",
            Unexpected::Float(_) => "a fraction",
            Unexpected::Unit => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "an object",
            _ => "something else",
        };
        out.write_str(kind)
    }
}

/// Reads a config. No config at all, and `null`, are an empty object.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let text = match text.trim() {
        "" | "null" => "{}",
        text => text,
    };
    json::parse(text)
}

#[cfg(test)]
mod tests;
