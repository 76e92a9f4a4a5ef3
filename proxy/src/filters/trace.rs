//! Which filters an exchange met, and by which component each of its phases ran.
//!
//! It records; the chain decides.

use super::Filter;
use http::{HeaderName, HeaderValue};
use std::fmt::Write;
use std::sync::Arc;

/// One filter of one exchange.
#[derive(Clone, Debug)]
pub struct FilterRun {
    pub filter: Arc<Filter>,
    pub request: Ran,
    pub response: Ran,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Not called: it has no such phase, or the exchange ended before.
    No,
    Yes,
    /// It failed or was not ready, and its policy is Open.
    Skipped,
    /// It failed or was not ready, and its policy is Closed.
    Failed,
}

impl FilterRun {
    /// The component's digest for a phase that ran.
    fn digest_of(&self, ran: Ran) -> Option<String> {
        match (ran, self.filter.component) {
            (Ran::Yes, Some(digest)) => Some(digest.to_string()),
            _ => None,
        }
    }
}

/// The response header that names filters and digests, where the proxy was told to send it.
pub const fn trace_header() -> HeaderName {
    HeaderName::from_static("x-weft-filters")
}

/// `NAME request=DIGEST response=DIGEST, …`, with `-` for a phase that did not run.
pub fn trace_value(runs: &[FilterRun]) -> Option<HeaderValue> {
    if runs.is_empty() {
        return None;
    }
    let mut text = String::with_capacity(runs.len() * 192);
    for (index, run) in runs.iter().enumerate() {
        let digest = |ran| run.digest_of(ran).unwrap_or_else(|| "-".to_owned());
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a String does not fail.
        let _ =
            write!(text, "{comma}{} request={} response={}", run.filter.key, digest(run.request), digest(run.response));
    }
    HeaderValue::from_str(&text).ok()
}
