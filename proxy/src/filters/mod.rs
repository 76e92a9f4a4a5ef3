//! Filters as the request path runs them: lists attached to ports, routes and destinations, and chains that walk them.
//!
//! It does not know WebAssembly (weft-filter-host does) and does not know when which list applies (the plan and the
//! spine do).

mod chain;
mod message;
mod reply;
mod trace;

pub use chain::{Chain, Flow};
pub use trace::{FilterRun, Ran, trace_header, trace_value};

use http::HeaderName;
use std::sync::Arc;
use weft_filter_host::{OnFailure, Policy, Writable};
use weft_snapshot::{Digest, FilterKey};

/// One policy, prepared or not. Shared by all plans that hold it unchanged.
#[derive(Debug)]
pub struct Filter {
    pub key: FilterKey,
    /// `NAMESPACE/NAME@DIGEST`, as each line of the log names it.
    named: Box<str>,
    /// Of the component as it was pushed.
    pub component: Option<Digest>,
    pub on_failure: OnFailure,
    pub state: State,
}

impl Filter {
    pub fn new(key: FilterKey, component: Option<Digest>, on_failure: OnFailure, state: State) -> Self {
        let named = component.map_or_else(|| key.to_string(), |digest| format!("{key}@{digest}"));
        Self { key, named: named.into(), component, on_failure, state }
    }

    pub fn named(&self) -> &str {
        &self.named
    }
}

pub enum State {
    Ready(Ready),
    /// It has never run here: requests are answered by `on_failure`.
    Unready {
        reason: String,
    },
}

/// A prepared policy, and what its edits name.
pub struct Ready {
    pub policy: Policy,
    request_writes: Box<[Write]>,
    response_writes: Box<[Write]>,
}

#[derive(Clone, Debug)]
enum Write {
    Path,
    Header(HeaderName),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready(_) => f.write_str("Ready"),
            Self::Unready { reason } => write!(f, "Unready({reason})"),
        }
    }
}

impl Ready {
    /// `None` where a manifest names a header that HTTP does not know; the host checks names before.
    pub fn new(policy: Policy) -> Option<Self> {
        let writes = |writes: &[Writable]| -> Option<Box<[Write]>> {
            let parse = |write: &Writable| match write {
                Writable::Path => Some(Write::Path),
                Writable::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok().map(Write::Header),
            };
            writes.iter().map(parse).collect()
        };
        let request_writes = writes(&policy.manifest().request_writes)?;
        let response_writes = writes(&policy.manifest().response_writes)?;
        Some(Self { policy, request_writes, response_writes })
    }
}

/// Filters in the order in which requests meet them. Most lists are empty and cost nothing.
#[derive(Clone, Debug, Default)]
pub struct Filters(Option<Arc<[Arc<Filter>]>>);

impl Filters {
    pub fn new(filters: Vec<Arc<Filter>>) -> Self {
        Self(if filters.is_empty() { None } else { Some(filters.into()) })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Filter>> {
        self.0.iter().flat_map(|filters| filters.iter())
    }

    /// For one exchange.
    pub fn start(&self) -> Chain {
        Chain::new(self.clone())
    }
}
