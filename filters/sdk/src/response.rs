//! A response as a filter sees it, and the verdict that changes its headers.

use crate::ResponseVerdict;
use crate::abi::Value;
use crate::bindings::request::weft::filter::types::{Edit, Op};
use crate::interest::{Interest, Key, Named, ResponseAttribute, ResponseHeader, find};

/// The declared attributes of one response, and what `on_request` left for it.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    interest: &'a Interest,
    values: &'a [Value<'a>],
    state: Option<&'a [u8]>,
}

impl<'a> Response<'a> {
    #[doc(hidden)]
    pub fn new(interest: &'a Interest, values: &'a [Value<'a>], state: Option<&'a [u8]>) -> Self {
        Self { interest, values, state }
    }

    /// A declared attribute, by its slot or by its full name.
    pub fn attribute(&self, key: impl Key<ResponseAttribute>) -> Option<&'a str> {
        self.values.get(key.slot(&self.interest.response) as usize)?.text()
    }

    /// A declared response header.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.attribute(name)
    }

    /// The status; declared as `:status`.
    pub fn status(&self) -> u16 {
        self.attribute(":status").and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// The subset that answered; declared as `@subset`.
    pub fn subset(&self) -> Option<&'a str> {
        self.attribute("@subset")
    }

    /// An attribute of the request that this answers; declared as `req:NAME`.
    pub fn request(&self, name: &str) -> Option<&'a str> {
        let slot = find(&self.interest.response, "req:", name, ResponseAttribute::DECLARE);
        self.values.get(slot as usize)?.text()
    }

    /// What [`Forward::state`](crate::Forward::state) left.
    pub fn state(&self) -> Option<&'a [u8]> {
        self.state
    }

    /// Starts a change of headers.
    pub fn edit(&self) -> Edits<'a> {
        Edits { interest: self.interest, edits: Vec::new() }
    }
}

/// Changes of a response's headers.
#[derive(Debug)]
#[must_use = "it becomes a verdict by `.into()`"]
pub struct Edits<'a> {
    interest: &'a Interest,
    edits: Vec<Edit>,
}

impl Edits<'_> {
    /// The header has this value alone.
    pub fn set(self, header: impl Key<ResponseHeader>, value: impl Into<String>) -> Self {
        self.edit(header, Op::Set(value.into()))
    }

    /// The header has this value besides those that it has.
    pub fn append(self, header: impl Key<ResponseHeader>, value: impl Into<String>) -> Self {
        self.edit(header, Op::Append(value.into()))
    }

    pub fn remove(self, header: impl Key<ResponseHeader>) -> Self {
        self.edit(header, Op::Remove)
    }

    fn edit(mut self, header: impl Key<ResponseHeader>, op: Op) -> Self {
        let slot = header.slot(&self.interest.response_writes);
        self.edits.push(Edit { slot, op });
        self
    }
}

impl From<Edits<'_>> for ResponseVerdict {
    fn from(changes: Edits<'_>) -> Self {
        match changes.edits.is_empty() {
            true => Self::Pass,
            false => Self::Edit(changes.edits),
        }
    }
}
