//! What a filter can ask of the message that it handles: the host's view of a request or a response.
//!
//! It does not know HTTP: the proxy implements it, and answers bytes as they came.

use crate::Attribute;
use std::borrow::Cow;

/// One request, or one response together with the request that it answers.
pub trait Message {
    /// The value of one attribute that a manifest declared; `None` where the message has no such value.
    fn attribute(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>>;

    /// All values of one header of this message, in order. `name` is lower-case.
    fn header_values(&self, name: &str) -> Vec<Vec<u8>>;

    /// Lower-case names of all headers of this message, each once.
    fn header_names(&self) -> Vec<String>;
}
