//! Why a snapshot could not become a plan, in the words that a nack carries.
//!
//! It does not know who is told.

use std::fmt;
use weft_snapshot::Key;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The resource; `None` for the snapshot as a whole.
    pub resource: Option<Key>,
    /// The part of it, such as `rule 3 (reviews-v2)`; empty for all of it.
    pub part: String,
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.resource {
            write!(f, "{key}: ")?;
        }
        if !self.part.is_empty() {
            write!(f, "{}: ", self.part)?;
        }
        f.write_str(&self.reason)
    }
}
