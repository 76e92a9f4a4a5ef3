//! Which workloads have a sidecar, and where it listens: kept on disk, so that neither a lost stream nor a restart of
//! the control plane ever turns a workload of the mesh back into a plain-text endpoint.
//!
//! It does not know streams; it is told what happened. Writing is its caller's, who must not wait for a disk.

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
    /// What callers are told once it lies on the disk.
    writing: Option<Peers>,
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
    /// Tried again when some time has passed.
    Failed,
}

/// The file as it should be.
pub(super) struct Writing {
    folder: StateFolder,
    bytes: Vec<u8>,
}

impl Writing {
    /// Blocks for as long as the disk takes.
    pub(super) fn write(&self) -> Result<(), StateError> {
        self.folder.write(FILE, &self.bytes)
    }
}

impl Record {
    fn peer(&self) -> Peer {
        match self.stage {
            Stage::Serving => Peer { inbound: self.inbound },
            Stage::Leaving => Peer { inbound: None },
        }
    }
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
        Ok(Self { folder: folder.clone(), records, missing: BTreeMap::new(), saved: Saved::Yes, writing: None })
    }

    pub(super) fn join(&mut self, workload: &WorkloadName, inbound: Option<SocketAddr>) {
        self.put(workload, Record { inbound, stage: Stage::Serving });
    }

    pub(super) fn leave(&mut self, workload: &WorkloadName) {
        if let Some(record) = self.records.get(workload).copied() {
            self.put(workload, Record { stage: Stage::Leaving, ..record });
        }
    }

    /// A workload of which nothing else is kept.
    pub(super) fn drain(&mut self, workload: &WorkloadName) {
        self.put(workload, Record { inbound: None, stage: Stage::Leaving });
    }

    /// It does not drain any more.
    pub(super) fn back(&mut self, workload: &WorkloadName) {
        self.missing.remove(workload);
        if self.records.remove(workload).is_some() {
            self.saved = Saved::No;
        }
    }

    fn put(&mut self, workload: &WorkloadName, record: Record) {
        self.missing.remove(workload);
        if self.records.insert(workload.clone(), record) != Some(record) {
            self.saved = Saved::No;
        }
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

    /// What has to be written before anyone is told of it. `None`: nothing, or a write is under way.
    pub(super) fn next_write(&mut self) -> Result<Option<Writing>, StateError> {
        if self.saved != Saved::No || self.writing.is_some() {
            return Ok(None);
        }
        // Whatever comes of it, the same is not tried again at once.
        self.saved = Saved::Failed;
        let named: BTreeMap<String, Record> = self.records.iter().map(|(name, r)| (name.to_string(), *r)).collect();
        let bytes = serde_json::to_vec_pretty(&named).map_err(|error| self.folder.damaged(FILE, error))?;
        (self.saved, self.writing) = (Saved::Yes, Some(self.peers()));
        Ok(Some(Writing { folder: self.folder.clone(), bytes }))
    }

    /// The write has ended; what callers are told now. A disk that fails must not keep them from hearing of it.
    pub(super) fn written(&mut self, outcome: &Result<(), StateError>) -> Option<Peers> {
        if outcome.is_err() && self.saved == Saved::Yes {
            self.saved = Saved::Failed;
        }
        self.writing.take()
    }

    /// Some time has passed.
    pub(super) fn try_again(&mut self) {
        if self.saved == Saved::Failed {
            self.saved = Saved::No;
        }
    }

    pub(super) fn peers(&self) -> Peers {
        self.records.iter().map(|(name, record)| (name.clone(), record.peer())).collect()
    }

    /// What callers are to be told of it.
    pub(super) fn peer(&self, workload: &WorkloadName) -> Option<Peer> {
        self.records.get(workload).map(Record::peer)
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

/// Whether anyone was forgotten.
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

    /// What callers are told of, if there was something to write.
    fn write(joined: &mut Joined) -> Option<Peers> {
        let writing = joined.next_write().unwrap()?;
        joined.written(&writing.write())
    }

    #[test]
    fn what_changes_during_a_write_is_told_after_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        joined.join(&name(), address());
        let first = joined.next_write().unwrap().unwrap();
        joined.leave(&name());
        assert!(joined.next_write().unwrap().is_none(), "one at a time");
        assert_eq!(joined.written(&first.write()).unwrap()[&name()], Peer { inbound: address() });
        assert_eq!(write(&mut joined).unwrap()[&name()], Peer { inbound: None });
    }

    #[test]
    fn a_disk_that_fails_is_tried_again_after_a_while() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        joined.join(&name(), address());
        let writing = joined.next_write().unwrap().unwrap();
        std::fs::remove_dir_all(scratch.path().join("state")).unwrap();
        assert_eq!(joined.written(&writing.write()).unwrap().len(), 1, "told all the same");
        assert!(joined.next_write().unwrap().is_none(), "not at once");
        joined.try_again();
        assert!(joined.next_write().unwrap().is_some());
    }

    #[test]
    fn who_has_joined_outlives_a_restart() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        joined.join(&name(), address());
        let here = Peers::from([(name(), Peer { inbound: address() })]);
        assert_eq!(write(&mut joined), Some(here.clone()));
        joined.join(&name(), address());
        assert_eq!(write(&mut joined), None, "a reconnect is no news");
        assert_eq!(open(&scratch).peers(), here);
    }

    #[test]
    fn who_leaves_is_drained_until_it_comes_back() {
        let scratch = tempfile::tempdir().unwrap();
        let mut joined = open(&scratch);
        joined.join(&name(), address());
        joined.leave(&name());
        write(&mut joined).unwrap();
        let mut joined = open(&scratch);
        assert_eq!(joined.peers()[&name()], Peer { inbound: None });
        joined.join(&name(), address());
        assert_eq!(write(&mut joined).unwrap()[&name()], Peer { inbound: address() });
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
