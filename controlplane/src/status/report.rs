//! What the control plane tells people about itself: the JSON of `/status`.
//!
//! Plain values that both sides read and write; it does not know where they come from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub trust_domain: String,
    pub configuration: Configuration,
    pub problems: Vec<ProblemLine>,
    pub filters: Vec<FilterLine>,
    pub proxies: Vec<ProxyLine>,
    pub authority: AuthorityLine,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Hash of all that counts; the same for the same content.
    pub revision: String,
    pub files: usize,
    pub objects: Vec<ObjectLine>,
    /// Filters that a newer configuration waits for; empty: what is written is what counts.
    pub waiting_for: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectLine {
    pub kind: String,
    /// `NAMESPACE/NAME`.
    pub name: String,
    pub file: String,
    pub line: u32,
    pub state: ObjectState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectState {
    Accepted,
    /// What is written now is broken; an earlier version counts.
    LastGood,
}

/// A problem as `weft check` has it; those of filters and of files that cannot be read look the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemLine {
    pub code: String,
    /// `error` or `warning`.
    pub severity: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
    pub object: String,
    pub field: String,
    pub reason: String,
    pub remedy: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FilterLine {
    /// `NAMESPACE/NAME`.
    pub name: String,
    pub image: String,
    /// Digests of what runs; `None`: it has never been ready.
    pub running: Option<FilterVersion>,
    /// What ran before that, since this control plane started.
    pub before: Option<FilterVersion>,
    /// `settled` or `working`.
    pub progress: String,
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterVersion {
    pub image: String,
    pub component: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProxyLine {
    /// `NAMESPACE/NAME`.
    pub workload: String,
    pub state: ProxyState,
    /// Where peers reach its inbound side.
    pub inbound: Option<String>,
    pub identity: Option<String>,
    pub version: Option<String>,
    pub level: Option<u32>,
    /// Where its stream comes from.
    pub remote: Option<String>,
    /// Hosts that it asked for.
    pub subscriptions: Vec<String>,
    pub revision: Option<String>,
    /// What it should have, where that is something else.
    pub pending: Option<String>,
    pub refused: Option<Refusal>,
    /// Seconds since 1970.
    pub svid_expires: Option<u64>,
    /// Bytes of its snapshot.
    pub snapshot_bytes: Option<u64>,
}

impl Report {
    /// Proxies that are connected to another replica.
    pub(crate) fn add(&mut self, proxies: Vec<ProxyLine>) {
        let own = std::mem::take(&mut self.proxies).into_iter();
        let mut all: BTreeMap<String, ProxyLine> = own.map(|line| (line.workload.clone(), line)).collect();
        for line in proxies {
            if !all.get(&line.workload).is_some_and(ProxyLine::is_connected) {
                all.insert(line.workload.clone(), line);
            }
        }
        self.proxies = all.into_values().collect();
    }
}

impl ProxyLine {
    /// To the replica that says so.
    pub(crate) fn is_connected(&self) -> bool {
        self.identity.is_some()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyState {
    /// Connected, and it runs what it should.
    Current,
    /// Connected, with an update under way.
    Updating,
    /// Connected, and it refused the last update.
    Refused,
    /// Connected, and of a release that is too old to be told anything; it serves what it was told last.
    Unsupported,
    /// It has joined, and has no stream at the moment; it serves what it was told last.
    #[default]
    Away,
    /// It drains, or has ended in order.
    Leaving,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub revision: String,
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthorityLine {
    /// SHA-256 of each root that is believed.
    pub roots: Vec<String>,
    /// Seconds since 1970, of the root that signs.
    pub expires: u64,
    pub svid_life_seconds: u64,
}
