//! What objects of a namespace say of themselves: conditions, and Events about them.

use crate::{Namespace, within};
use serde_json::Value;
use std::time::Duration;

/// Until status says what is so. The leader writes it once a second, and a filter is pulled and compiled before.
const STATUS_MAX: Duration = Duration::from_secs(40);

impl Namespace {
    /// Waits until a condition of an object (`virtualservice/reviews`) has this status and reason, for what is written
    /// now; the object then.
    #[track_caller]
    pub fn condition(&self, object: &str, kind: &str, status: &str, reason: &str) -> Value {
        within(STATUS_MAX, &format!("{object}: {kind} is {status}, {reason}"), || {
            let found = self.get([object]);
            let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is = |condition: &Value| {
                condition["type"] == kind && condition["status"] == status && condition["reason"] == reason
            };
            let current = found["status"]["observedGeneration"] == found["metadata"]["generation"];
            if current && conditions.iter().any(is) { Ok(found) } else { Err(found["status"].clone()) }
        })
    }

    /// Waits for an Event about an object; all that they say.
    #[track_caller]
    pub fn event(&self, kind: &str, name: &str, reason: &str) -> String {
        let about = format!("involvedObject.kind={kind},involvedObject.name={name},reason={reason}");
        within(STATUS_MAX, &format!("an Event: {about}"), || {
            let events = self.get(["events", "--field-selector", &about]);
            let notes: Vec<&str> = events["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|event| event["message"].as_str())
                .collect();
            if notes.is_empty() { Err("there is none") } else { Ok(notes.join("; ")) }
        })
    }
}
