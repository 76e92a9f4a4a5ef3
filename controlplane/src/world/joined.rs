//! Which workloads have a sidecar, and where it listens: kept on disk, so that neither a lost stream nor a restart of
//! the control plane ever turns a workload of the mesh back into a plain-text endpoint.
//!
//! It does not know streams; it is told what happened.

use crate::state::{StateError, StateFolder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use weft_config::{Peer, Peers};
use weft_snapshot::WorkloadName;

pub(super) struct Joined {
    folder: StateFolder,
    records: BTreeMap<WorkloadName, Record>,
    /// Since when a workload has had no WorkloadEntry.
    missing: BTreeMap<WorkloadName, Instant>,
    saved: Saved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    inbound: Option<SocketAddr>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Serving,
    /// It said that it is leaving, and has not come back.
    Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    Yes,
    No,
}

impl Joined {
    pub(super) fn open(folder: &StateFolder) -> Result<Self, StateError> {
        let read: BTreeMap<String, Record> = match folder.read(FILE)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| folder.damaged(FILE, error))?,
            None => BTreeMap::new(),
        };
        let mut records = BTreeMap::new();
        for (name, record) in read {
            records.insert(name.parse().map_err(|error| folder.damaged(FILE, error))?, record);
        }
        Ok(Self { folder: folder.clone(), records, missing: BTreeMap::new(), saved: Saved::Yes })
    }

    pub(super) fn join(&mut self, workload: &WorkloadName, inbound: Option<SocketAddr>) -> Change {
        self.put(workload, Record { inbound, stage: Stage::Serving })
    }

    pub(super) fn leave(&mut self, workload: &WorkloadName) -> Change {
        match self.records.get(workload).copied() {
            Some(record) => self.put(workload, Record { stage: Stage::Leaving, ..record }),
            None => Change::None,
        }
    }

    /// A workload of which nothing else is kept.
    pub(super) fn drain(&mut self, workload: &WorkloadName) -> Change {
        self.put(workload, Record { inbound: None, stage: Stage::Leaving })
    }

    /// It does not drain any more.
    pub(super) fn back(&mut self, workload: &WorkloadName) -> Change {
        self.missing.remove(workload);
        if self.records.remove(workload).is_none() {
            return Change::None;
        }
        self.saved = Saved::No;
        Change::Some
    }

    fn put(&mut self, workload: &WorkloadName, record: Record) -> Change {
        self.missing.remove(workload);
        if self.records.insert(workload.clone(), record) == Some(record) {
            return Change::None;
        }
        self.saved = Saved::No;
        Change::Some
    }

    /// Forgets workloads whose WorkloadEntry has been away for a while; renaming its file is not removing it.
    pub(super) fn forget(&mut self, known: impl Fn(&WorkloadName) -> bool, now: Instant) -> Change {
        let mut forgotten = Change::None;
        let Self { records, missing, saved, .. } = self;
        records.retain(|workload, _| {
            if known(workload) {
                missing.remove(workload);
                return true;
            }
            let since = *missing.entry(workload.clone()).or_insert(now);
            let keep = now.saturating_duration_since(since) < MISSING_MAX;
            if !keep {
                missing.remove(workload);
                (forgotten, *saved) = (Change::Some, Saved::No);
            }
            keep
        });
        forgotten
    }

    /// True while some workload waits to be forgotten.
    pub(super) fn misses(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Before anyone is told of a change.
    pub(super) fn save(&mut self) -> Result<(), StateError> {
        if self.saved == Saved::Yes {
            return Ok(());
        }
        let named: BTreeMap<String, Record> = self.records.iter().map(|(name, r)| (name.to_string(), *r)).collect();
        let bytes = serde_json::to_vec_pretty(&named).map_err(|error| self.folder.damaged(FILE, error))?;
        self.folder.write(FILE, &bytes)?;
        self.saved = Saved::Yes;
        Ok(())
    }

    pub(super) fn peers(&self) -> Peers {
        let peer = |record: &Record| match record.stage {
            Stage::Serving => Peer { inbound: record.inbound },
            Stage::Leaving => Peer { inbound: None },
        };
        self.records.iter().map(|(name, record)| (name.clone(), peer(record))).collect()
    }

    pub(super) fn inbound(&self, workload: &WorkloadName) -> Option<SocketAddr> {
        self.records.get(workload).and_then(|record| record.inbound)
    }

    pub(super) fn is_leaving(&self, workload: &WorkloadName) -> bool {
        self.records.get(workload).is_some_and(|record| record.stage == Stage::Leaving)
    }

    pub(super) fn has(&self, workload: &WorkloadName) -> bool {
        self.records.contains_key(workload)
    }

    pub(super) fn workloads(&self) -> impl Iterator<Item = &WorkloadName> {
        self.records.keys()
    }
}

/// Whether callers must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Some,
    None,
}

const FILE: &str = "joined.json";
const MISSING_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn name() -> WorkloadName {
        "default/reviews-v1".parse().unwrap()
    }

    fn address() -> Option<SocketAddr> {
        Some("127.0.0.1:4000".parse().unwrap())
    }

    fn open(scratch: &tempfile::TempDir) -> Joined {
        Joined::open(&StateFolder::open(&scratch.path().join("state")).unwrap()).unwrap()
    }

    #[test]
    fn who_has_joined_outlives_a_restart() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        assert_eq!(joined.join(&name(), address()), Change::Some);
        assert_eq!(joined.join(&name(), address()), Change::None, "a reconnect is no news");
        joined.save().unwrap();
        assert_eq!(open(&scratch).peers(), Peers::from([(name(), Peer { inbound: address() })]));
    }

    #[test]
    fn who_leaves_is_drained_until_it_comes_back() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        joined.join(&name(), address());
        assert_eq!(joined.leave(&name()), Change::Some);
        joined.save().unwrap();
        let mut joined = open(&scratch);
        assert_eq!(joined.peers()[&name()], Peer { inbound: None });
        assert_eq!(joined.join(&name(), address()), Change::Some);
        assert_eq!(joined.peers()[&name()], Peer { inbound: address() });
    }

    #[test]
    fn only_a_workload_that_stays_away_is_forgotten() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        joined.join(&name(), address());
        let start = Instant::now();
        let rows = [(0, false, 1), (9, false, 1), (9, true, 1), (12, false, 1), (21, false, 1), (22, false, 0)];
        for (seconds, known, left) in rows {
            joined.forget(|_| known, start + Duration::from_secs(seconds));
            assert_eq!(joined.peers().len(), left, "after {seconds} s, known: {known}");
        }
    }
}
