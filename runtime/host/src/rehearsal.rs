//! The first call of an instance, made before a request needs it.
//!
//! A first call touches code and memory that no call has touched before, and can take longer than a deadline that the
//! next thousand keep. So each instance is called once with what any request could bring, unobserved: what it logs and
//! counts is dropped, like its answer. The contract allows that, since no state of a request lives in an instance. It
//! does not know which policy the instance is for.

use crate::contract::{Manifest, Verdict};
use crate::instance::{Fault, Instance, Leash};
use crate::{Attribute, Message};
use std::borrow::Cow;
use std::time::Duration;

/// For one phase. A filter that needs longer is met by its requests as it is.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

/// Calls each phase that requests will call. An instance that fails here is lost, as after any trap.
pub(crate) fn of(instance: &mut Instance, leash: Leash<'_>, manifest: &Manifest) -> Result<(), Fault> {
    let leash = Leash { deadline: leash.deadline.min(DEADLINE), ..leash };
    let verdict = instance.on_request(leash, &Nothing, &values(&manifest.request))?;
    if manifest.response.is_empty() {
        return Ok(());
    }
    let state = match verdict {
        Verdict::Forward(forward) => forward.state,
        _ => None,
    };
    instance.on_response(leash, &Nothing, &values(&manifest.response), state.as_deref()).map(drop)
}

/// What every request and response has is there, and nothing else.
fn values(attributes: &[String]) -> Vec<Option<&'static str>> {
    let value = |name: &String| match name.strip_prefix("req:").unwrap_or(name) {
        ":method" => Some("GET"),
        ":scheme" => Some("https"),
        ":authority" | "@destination.service" => Some("rehearsal.invalid"),
        ":path" => Some("/"),
        "@request.id" => Some("00000000-0000-0000-0000-000000000000"),
        ":status" => Some("200"),
        _ => None,
    };
    attributes.iter().map(value).collect()
}

/// A message without headers.
struct Nothing;

impl Message for Nothing {
    fn attribute(&self, _: &Attribute) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn header_values(&self, _: &str) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn header_names(&self) -> Vec<String> {
        Vec::new()
    }
}
