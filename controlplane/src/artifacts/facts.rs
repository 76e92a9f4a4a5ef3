//! What the rest of the control plane is told about filters: which component each policy runs, and which artifacts
//! can be fetched.
//!
//! A value, replaced as a whole; it does not know how it came about.

use super::problem::FilterProblem;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use weft_config::{FilterFact, FilterFacts, ManifestFact};
use weft_filter_host::Manifest;
use weft_snapshot::{Digest, FilterKey};

/// All that holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Number of the last [`super::Wanted`] that is taken in here (see [`super::Artifacts::want`]).
    pub reflects: u64,
    /// Artifact keys for which everything is compiled: this program's own and those that were demanded.
    pub keys: BTreeSet<String>,
    /// Policies that are wanted and have been admitted; those that never were are missing.
    pub policies: BTreeMap<FilterKey, PolicyFact>,
    /// All artifacts that may be fetched: those of `policies`, and for a while what they ran before.
    pub artifacts: BTreeMap<Digest, Artifact>,
    /// By Filter: the status that people see, problems included.
    pub filters: BTreeMap<String, FilterStatus>,
}

/// One admitted policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFact {
    pub component: Digest,
    /// By artifact key.
    pub artifacts: BTreeMap<String, Digest>,
    /// With which it was admitted: what proxies get, even where a newer one is written and not admitted (yet).
    pub config: String,
    pub manifest: Manifest,
}

/// Native code for one artifact key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    pub digest: Digest,
    /// Which proxies can load it.
    pub key: String,
    /// From what it was compiled.
    pub component: Digest,
    /// Read-only; it may be mapped, since the store never writes to it again.
    pub path: PathBuf,
    pub bytes: u64,
}

/// What one Filter runs and whether that is what is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterStatus {
    /// As written.
    pub image: String,
    pub running: Option<Version>,
    pub progress: Progress,
    pub problems: Vec<FilterProblem>,
}

/// One version of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Digest of the image's manifest.
    pub image: Digest,
    pub component: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something wanted has not been tried yet.
    Working,
    /// Everything wanted was tried; problems say what failed.
    Settled,
}

impl Facts {
    /// For the view of a proxy that can load artifacts of `key`.
    pub fn filter_facts(&self, key: &str) -> FilterFacts {
        self.policies.iter().map(|(name, policy)| (name.clone(), policy.filter_fact(key))).collect()
    }

    pub fn problems(&self) -> impl Iterator<Item = &FilterProblem> {
        self.filters.values().flat_map(|filter| &filter.problems)
    }

    /// True while these policies may still be compiled for this key.
    pub fn compiling(&self, key: &str, policies: &BTreeSet<FilterKey>) -> bool {
        let at_work = |policy: &FilterKey| {
            self.filters.get(policy.filter()).is_some_and(|filter| filter.progress == Progress::Working)
        };
        policies.iter().any(|policy| !self.keys.contains(key) || at_work(policy))
    }

    /// True when everything wanted was tried at least once.
    pub fn settled(&self) -> bool {
        self.filters.values().all(|filter| filter.progress == Progress::Settled)
    }
}

impl PolicyFact {
    fn filter_fact(&self, key: &str) -> FilterFact {
        FilterFact {
            component: Some(self.component),
            artifact: self.artifacts.get(key).copied(),
            config: Some(self.config.clone()),
            manifest: Some(ManifestFact {
                upstreams: self.manifest.upstreams.clone(),
                callouts: Vec::new(),
                body_limit: 0,
                guard: self.manifest.guard,
            }),
        }
    }
}
