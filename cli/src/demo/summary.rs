//! How the demo went, in numbers, and whether that is what the config says.

use super::score::{Score, bars, is_plausible};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Serialize)]
pub(super) struct Swap {
    /// Digests of the canary component before and after.
    pub(super) from: String,
    pub(super) to: String,
    /// From the push to the sidecar's word that it runs the new one.
    #[serde(rename = "tookSeconds", serialize_with = "seconds")]
    pub(super) took: Duration,
    pub(super) failed: u64,
}

impl Swap {
    pub(super) fn text(&self) -> String {
        let short = |digest: &str| digest.chars().take("sha256:".len() + 12).collect::<String>();
        format!(
            "\nhot swap: canary {} → {} in {:.2} s after its push, {} failed requests\n",
            short(&self.from),
            short(&self.to),
            self.took.as_secs_f64(),
            self.failed
        )
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    passed: bool,
    #[serde(serialize_with = "seconds")]
    ready_seconds: Duration,
    sidecars: usize,
    requests: u64,
    failed: u64,
    failures: Vec<String>,
    calls: BTreeMap<&'static str, u64>,
    split_before: BTreeMap<String, u64>,
    split_after: BTreeMap<String, u64>,
    swap: Swap,
}

impl Summary {
    /// `acts`: what had been counted when the swap began, when it was done, and at the end.
    pub(super) fn new(ready: Duration, sidecars: usize, acts: [Score; 3], swap: Swap) -> Self {
        let [before, swapped, after] = acts;
        let split_before = before.versions.clone();
        let split_after = after.versions_since(&swapped);
        let right = is_split(&split_before, 0.1) && is_split(&split_after, 0.5);
        Self {
            passed: after.failed == 0 && after.requests > 0 && right && swap.from != swap.to,
            ready_seconds: ready,
            sidecars,
            requests: after.requests,
            failed: after.failed,
            failures: after.failures,
            calls: after.calls,
            split_before,
            split_after,
            swap,
        }
    }

    pub(super) fn passed(&self) -> bool {
        self.passed
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "before    {}\nafter     {}\nswap      {:.2} s from push to running\nrequests  {}, {} failed\nresult    {}",
            bars(&self.split_before),
            bars(&self.split_after),
            self.swap.took.as_secs_f64(),
            self.requests,
            self.failed,
            if self.passed { "every answer is what the config says" } else { "NOT what the config says" },
        );
        for failure in &self.failures {
            text += &format!("\n  {failure}");
        }
        text
    }
}

fn is_split(versions: &BTreeMap<String, u64>, v3: f64) -> bool {
    let total = versions.values().sum();
    is_plausible(versions.get("v3").copied().unwrap_or(0), total, v3) && total > 0
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}
