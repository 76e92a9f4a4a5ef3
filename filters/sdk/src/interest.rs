//! What a filter declares, kept as names, and the slots that stand for them on the wire.
//!
//! It does not know values: those come with each request.

use crate::bindings::request::weft::filter::types::Manifest;
use crate::host;

/// Filled in by [`Filter::configure`](crate::Filter::configure). Declaring a name twice gives the same slot, which can
/// be kept and used instead of the name.
#[derive(Debug, Default)]
pub struct Interest {
    pub(crate) request: Vec<String>,
    pub(crate) response: Vec<String>,
    pub(crate) request_writes: Vec<String>,
    pub(crate) response_writes: Vec<String>,
    pub(crate) picks: Vec<String>,
    pub(crate) counters: Vec<String>,
    pub(crate) guard: bool,
}

impl Interest {
    /// An attribute of the request to see in `on_request`: a lower-case header, `:method`, `:scheme`, `:authority`,
    /// `:path`, `@source.identity`, `@source.address`, `@source.namespace`, `@destination.service`, `@route`,
    /// `@request.id`, `@query:NAME`, `@cookie:NAME`.
    pub fn request(&mut self, attribute: impl Into<String>) -> RequestAttribute {
        RequestAttribute(declare(&mut self.request, attribute.into()))
    }

    /// The slot of an attribute that was declared already.
    pub fn declared_request(&self, attribute: &str) -> Option<RequestAttribute> {
        let slot = self.request.iter().position(|one| one == attribute)?;
        Some(RequestAttribute(slot as u32))
    }

    /// An attribute of the response to see in `on_response`: `:status`, a lower-case header, `@subset`, `@upstream`,
    /// or `req:NAME` for one of the request.
    pub fn response(&mut self, attribute: impl Into<String>) -> ResponseAttribute {
        ResponseAttribute(declare(&mut self.response, attribute.into()))
    }

    /// A request header (or `:path`) that the filter may set, append to or remove.
    pub fn set_request(&mut self, header: impl Into<String>) -> RequestHeader {
        RequestHeader(declare(&mut self.request_writes, header.into()))
    }

    /// A response header that the filter may set, append to or remove.
    pub fn set_response(&mut self, header: impl Into<String>) -> ResponseHeader {
        ResponseHeader(declare(&mut self.response_writes, header.into()))
    }

    /// A subset of the destinations that the filter may pick.
    pub fn pick(&mut self, subset: impl Into<String>) -> Pick {
        Pick(declare(&mut self.picks, subset.into()))
    }

    /// A counter, shown among the proxy's metrics.
    pub fn counter(&mut self, name: impl Into<String>) -> Counter {
        Counter(declare(&mut self.counters, name.into()))
    }

    /// Says that the filter protects the service behind it, so that it has to run in that service's own sidecar.
    pub fn guard(&mut self) {
        self.guard = true;
    }

    pub fn is_guard(&self) -> bool {
        self.guard
    }

    pub(crate) fn manifest(&self) -> Manifest {
        Manifest {
            request: self.request.clone(),
            response: self.response.clone(),
            request_writes: self.request_writes.clone(),
            response_writes: self.response_writes.clone(),
            upstreams: self.picks.clone(),
            counters: self.counters.clone(),
            callouts: Vec::new(),
            body_limit: 0,
            guard: self.guard,
        }
    }
}

/// Where a declared name stands. Implemented by the slots that [`Interest`] gives out and by names, which are looked
/// up among the few that were declared.
pub trait Key<Kind> {
    #[doc(hidden)]
    fn slot(&self, declared: &[String]) -> u32;
}

impl<Kind: Named> Key<Kind> for &str {
    fn slot(&self, declared: &[String]) -> u32 {
        find(declared, "", self, Kind::DECLARE)
    }
}

/// How a kind of slot is declared, for the message that a forgotten declaration gets.
pub trait Named {
    #[doc(hidden)]
    const DECLARE: &'static str;
}

macro_rules! slots {
    ($($(#[$about:meta])* $name:ident by $declare:literal;)*) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub(crate) u32);

        impl Named for $name {
            const DECLARE: &'static str = $declare;
        }

        impl Key<$name> for $name {
            fn slot(&self, _: &[String]) -> u32 {
                self.0
            }
        }
    )*};
}

slots! {
    /// A declared attribute of the request.
    RequestAttribute by "request";
    /// A declared attribute of the response.
    ResponseAttribute by "response";
    /// A request header that may be changed.
    RequestHeader by "set_request";
    /// A response header that may be changed.
    ResponseHeader by "set_response";
    /// A subset that may be picked.
    Pick by "pick";
    /// A counter.
    Counter by "counter";
}

impl Counter {
    /// Adds to the counter.
    pub fn add(self, delta: u64) {
        host::count(self.0, delta);
    }
}

/// The slot of `prefix` + `name`, without putting the two together.
pub(crate) fn find(declared: &[String], prefix: &str, name: &str, declare: &str) -> u32 {
    let found = declared.iter().position(|one| {
        one.len() == prefix.len() + name.len() && one.ends_with(name) && one.as_bytes().starts_with(prefix.as_bytes())
    });
    match found {
        Some(slot) => slot as u32,
        None => undeclared(prefix, name, declare),
    }
}

#[cold]
fn undeclared(prefix: &str, name: &str, declare: &str) -> ! {
    panic!("`{prefix}{name}` was not declared: call interest.{declare}(\"{prefix}{name}\") in configure")
}

fn declare(names: &mut Vec<String>, name: String) -> u32 {
    let slot = names.iter().position(|one| *one == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    slot as u32
}
