//! What a right answer is, and the count of those that were not, or were late.

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
}

/// How long an answer may take.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Slower is counted apart
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    limit: u64,
    /// Slower is no answer any more
    #[arg(long, default_value_t = 30_000, value_name = "MS")]
    give_up: u64,
}

impl Patience {
    pub(crate) fn give_up(self) -> Duration {
        Duration::from_millis(self.give_up)
    }
}

impl Expect {
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

pub(crate) struct Tally {
    limit: Duration,
    requests: u64,
    failed: u64,
    failures: Vec<String>,
    /// Right, and over the limit.
    slow: u64,
    slowest: Duration,
    /// How often each `x-app` answered.
    apps: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            limit: Duration::from_millis(patience.limit),
            requests: 0,
            failed: 0,
            failures: Vec::new(),
            slow: 0,
            slowest: Duration::ZERO,
            apps: BTreeMap::new(),
        }
    }

    pub(crate) fn record(&mut self, took: Duration, outcome: Result<Option<String>, String>) {
        if self.requests == 0 {
            // The one who started the load waits for it.
            let _ = writeln!(std::io::stdout(), "begun");
        }
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(app) => {
                self.slow += u64::from(took > self.limit);
                *self.apps.entry(app.unwrap_or_default()).or_default() += 1;
            }
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
            "slow": self.slow,
            "slowest_ms": self.slowest.as_millis() as u64,
            "apps": self.apps,
        });
        Ok(writeln!(std::io::stdout(), "{tally}")?)
    }
}
