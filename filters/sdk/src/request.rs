//! A request as a filter sees it, and the verdict that sends it on changed.

use crate::Verdict;
use crate::abi::Value;
use crate::bindings::request::weft::filter::types;
use crate::host::lazy;
use crate::interest::{Interest, Key, Named, Pick, RequestAttribute, RequestHeader, find};

/// The declared attributes of one request. Reading one that was not declared is a bug of the filter and panics with
/// the line that is missing.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    interest: &'a Interest,
    values: &'a [Value<'a>],
}

impl<'a> Request<'a> {
    #[doc(hidden)]
    pub fn new(interest: &'a Interest, values: &'a [Value<'a>]) -> Self {
        Self { interest, values }
    }

    /// A declared attribute, by its slot or by its full name.
    pub fn attribute(&self, key: impl Key<RequestAttribute>) -> Option<&'a str> {
        self.values.get(key.slot(&self.interest.request) as usize)?.text()
    }

    /// A declared header; its values joined by ", " where it is repeated.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.attribute(name)
    }

    pub fn method(&self) -> Option<&'a str> {
        self.attribute(":method")
    }

    /// Path and query.
    pub fn path(&self) -> Option<&'a str> {
        self.attribute(":path")
    }

    pub fn authority(&self) -> Option<&'a str> {
        self.attribute(":authority")
    }

    /// The caller's SPIFFE id; none without mutual TLS.
    pub fn source_identity(&self) -> Option<&'a str> {
        self.attribute("@source.identity")
    }

    /// A query parameter, percent-decoded; declared as `@query:NAME`.
    pub fn query(&self, name: &str) -> Option<&'a str> {
        self.prefixed("@query:", name)
    }

    /// A cookie; declared as `@cookie:NAME`.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.prefixed("@cookie:", name)
    }

    /// Sends the request on with changes.
    pub fn forward(&self) -> Forward<'a> {
        Forward { interest: self.interest, parts: types::Forward { edits: Vec::new(), pick: None, state: None } }
    }

    /// A header that could not be declared, such as one whose name stands in another header. Costs a call to the host.
    pub fn lazy_header(&self, name: &str) -> Option<String> {
        lazy::header(name)
    }

    /// All values of a header as bytes. Costs a call to the host.
    pub fn lazy_header_values(&self, name: &str) -> Vec<Vec<u8>> {
        lazy::header_values(name)
    }

    /// The names of all headers. Costs a call to the host.
    pub fn lazy_header_names(&self) -> Vec<String> {
        lazy::header_names()
    }

    fn prefixed(&self, prefix: &str, name: &str) -> Option<&'a str> {
        let slot = find(&self.interest.request, prefix, name, RequestAttribute::DECLARE);
        self.values.get(slot as usize)?.text()
    }
}

/// A request on its way, with what is to change.
#[derive(Debug)]
#[must_use = "it becomes a verdict by `.into()`"]
pub struct Forward<'a> {
    interest: &'a Interest,
    parts: types::Forward,
}

impl Forward<'_> {
    /// The header has this value alone.
    pub fn set(self, header: impl Key<RequestHeader>, value: impl Into<String>) -> Self {
        self.edit(header, types::Op::Set(value.into()))
    }

    /// The header has this value besides those that it has.
    pub fn append(self, header: impl Key<RequestHeader>, value: impl Into<String>) -> Self {
        self.edit(header, types::Op::Append(value.into()))
    }

    pub fn remove(self, header: impl Key<RequestHeader>) -> Self {
        self.edit(header, types::Op::Remove)
    }

    /// Chooses the subset of the route's destinations.
    pub fn pick(mut self, subset: impl Key<Pick>) -> Self {
        self.parts.pick = Some(subset.slot(&self.interest.picks));
        self
    }

    /// Bytes that come back in `on_response` of the same exchange.
    pub fn state(mut self, state: impl Into<Vec<u8>>) -> Self {
        self.parts.state = Some(state.into());
        self
    }

    fn edit(mut self, header: impl Key<RequestHeader>, op: types::Op) -> Self {
        let slot = header.slot(&self.interest.request_writes);
        self.parts.edits.push(types::Edit { slot, op });
        self
    }
}

impl From<Forward<'_>> for Verdict {
    fn from(forward: Forward<'_>) -> Self {
        let parts = forward.parts;
        if parts.edits.is_empty() && parts.pick.is_none() && parts.state.is_none() {
            return Self::Pass;
        }
        Self::Forward(parts)
    }
}
