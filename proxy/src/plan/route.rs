//! One routing rule with everything resolved that can be: what a request that matched it needs, and nothing to look up.
//!
//! It does not know how the rule was found (`matching`) or what the spine does with it.

use super::Backend;
use crate::filters::Filters;
use crate::headers::{Direct, HeaderOps, Matched, Redirect, Rewrite};
use std::sync::Arc;
use std::time::Duration;
use weft_snapshot::{BackendName, RetryOn};

/// One entry of `http`.
#[derive(Debug)]
pub struct Route {
    /// Logged as `route_name`.
    pub name: Arc<str>,
    /// `NAMESPACE/NAME` of the VirtualService; empty for a default rule.
    pub origin: Arc<str>,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    /// Of the VirtualService, then of the route.
    pub filters: Filters,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Direct(Direct),
}

/// A route, and how its `uri` matched: what a rewrite or a redirect of a prefix needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'p> {
    pub route: &'p Arc<Route>,
    pub matched: Matched,
}

#[derive(Debug)]
pub struct Forward {
    destinations: Box<[Destination]>,
    weights: u32,
    pub rewrite: Option<Rewrite>,
    /// Spans all tries.
    pub timeout: Option<Duration>,
    pub retry: Option<RetryPolicy>,
}

#[derive(Debug)]
pub struct Destination {
    pub name: BackendName,
    /// `None`: this proxy knows no such service or subset (503, `NC`).
    pub backend: Option<Arc<Backend>>,
    pub weight: u32,
    pub request_headers: HeaderOps,
    pub response_headers: HeaderOps,
    pub filters: Filters,
}

impl Forward {
    pub(super) fn new(destinations: Vec<Destination>) -> Self {
        let weights = destinations.iter().map(|d| d.weight).fold(0, u32::saturating_add);
        Self { destinations: destinations.into(), weights, rewrite: None, timeout: None, retry: None }
    }

    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// By weight; `below(n)` draws uniformly from `0..n`. A single destination takes all. `None` only where a rule
    /// came without any destination.
    pub fn draw(&self, below: impl FnOnce(u32) -> u32) -> Option<&Destination> {
        if self.destinations.len() < 2 || self.weights == 0 {
            return self.destinations.first();
        }
        let mut left = below(self.weights);
        for destination in &self.destinations {
            match left.checked_sub(destination.weight) {
                Some(rest) => left = rest,
                None => return Some(destination),
            }
        }
        self.destinations.last()
    }

    /// What a filter picked.
    pub fn subset(&self, subset: &str) -> Option<&Destination> {
        self.destinations.iter().find(|d| d.name.subset == subset)
    }
}

#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    pub on: RetryConditions,
    pub status_codes: Box<[u16]>,
    /// Base of the exponential back-off with full jitter.
    pub backoff: Duration,
    pub ignore_previous_hosts: bool,
}

/// A set of [`RetryOn`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryConditions(u32);

impl RetryConditions {
    pub fn contains(self, on: RetryOn) -> bool {
        self.0 & (1 << on as u32) != 0
    }
}

impl FromIterator<RetryOn> for RetryConditions {
    fn from_iter<I: IntoIterator<Item = RetryOn>>(conditions: I) -> Self {
        Self(conditions.into_iter().fold(0, |set, on| set | 1 << on as u32))
    }
}
