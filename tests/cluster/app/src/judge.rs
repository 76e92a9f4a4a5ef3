//! What a right answer is, and the count of those that were not.

use crate::call::Answer;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub(crate) struct Expect {
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// NAME=VALUE, or NAME=VALUE|VALUE: the response header has one of these values
    #[arg(long, value_name = "NAME=VALUES")]
    expect: Vec<String>,
    /// Slower is wrong
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    limit: u64,
}

impl Expect {
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_millis(self.limit)
    }

    pub(crate) fn judge(&self, answer: &Answer) -> Result<(), String> {
        let status = answer.head.status.as_u16();
        if status != self.status {
            let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]);
            return Err(format!("status {status}: {body}"));
        }
        for header in &self.expect {
            let (name, values) = header.split_once('=').unwrap_or((header, ""));
            let found = answer.header(name).unwrap_or("");
            if !values.split('|').any(|value| value == found) {
                return Err(format!("header {name} is {found:?}, not one of {values}"));
            }
        }
        Ok(())
    }
}

/// Failures that are kept in words.
const FAILURES_MAX: usize = 20;

#[derive(Default)]
pub(crate) struct Tally {
    requests: u64,
    failed: u64,
    failures: Vec<String>,
    slowest: Duration,
    /// How often each `x-app` answered.
    apps: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn record(&mut self, took: Duration, outcome: Result<Option<String>, String>) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(app) => *self.apps.entry(app.unwrap_or_default()).or_default() += 1,
            Err(failure) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_MAX {
                    self.failures.push(failure);
                }
            }
        }
    }

    pub(crate) fn print(&self) -> anyhow::Result<()> {
        let tally = json!({
            "requests": self.requests,
            "failed": self.failed,
            "failures": self.failures,
            "slowest_ms": self.slowest.as_millis() as u64,
            "apps": self.apps,
        });
        Ok(writeln!(std::io::stdout(), "{tally}")?)
    }
}
