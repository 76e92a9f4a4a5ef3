//! The cluster as a source of configuration: what the watches saw, gathered into what a folder would hand over.
//!
//! Nothing is handed over before every kind has been listed, and nothing is forgotten because a watch broke. It does not
//! parse.

use super::kinds;
use super::trim::Seen;
use super::watch::Change;
use crate::source::{FileCode, FileProblem, FileSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weft_config::SourceFile;

/// Gathers what the watches say.
pub(crate) struct ClusterSource {
    changes: mpsc::Receiver<Change>,
    held: BTreeMap<Arc<str>, SourceFile>,
    unlisted: BTreeSet<&'static str>,
    /// Whether the schema of VirtualServices keeps `filters`; `None`: there is no such kind.
    filters_kept: Option<bool>,
    /// By kind, the highest seen.
    versions: BTreeMap<String, u64>,
    /// Of `held`, until something changes: what there is, and last good versions.
    files: Option<Texts>,
}

#[derive(Clone)]
struct Texts {
    there: Arc<Vec<SourceFile>>,
    last_good: Arc<Vec<SourceFile>>,
}

/// How soon a change should be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Haste {
    None,
    /// Nothing of it counts but how far this replica has come.
    Version,
    Configuration,
    Endpoints,
}

impl ClusterSource {
    pub(super) fn new(changes: mpsc::Receiver<Change>) -> Self {
        Self {
            changes,
            held: BTreeMap::new(),
            unlisted: kinds::all().collect(),
            filters_kept: None,
            versions: BTreeMap::new(),
            files: None,
        }
    }

    /// All that there is, once every kind has been listed. `None`: the watches have ended.
    pub(crate) async fn first(&mut self) -> Option<FileSet> {
        let mut remind = tokio::time::interval_at(Instant::now() + REMIND, REMIND);
        while !self.unlisted.is_empty() {
            let change = tokio::select! {
                change = self.changes.recv() => change?,
                _ = remind.tick() => {
                    tracing::warn!(missing = ?self.unlisted, "waiting for the API server to list what there is");
                    continue;
                }
            };
            self.take(change);
        }
        Some(self.files())
    }

    /// All that there is, soon after something has changed.
    pub(crate) async fn next(&mut self) -> Option<FileSet> {
        let mut haste = Haste::None;
        while haste == Haste::None {
            let change = self.changes.recv().await?;
            haste = self.take(change);
        }
        let first = Instant::now();
        loop {
            let (quiet, longest) = haste.patience();
            let due = (Instant::now() + quiet).min(first + longest);
            match tokio::time::timeout_at(due, self.changes.recv()).await {
                Ok(Some(change)) => haste = haste.max(self.take(change)),
                Ok(None) => return None,
                Err(_) => return Some(self.files()),
            }
            if Instant::now() >= first + haste.patience().1 {
                return Some(self.files());
            }
        }
    }

    fn files(&mut self) -> FileSet {
        let texts = self.files.get_or_insert_with(|| {
            let kept = |key: &str| key.strip_prefix(kinds::LAST_GOOD).is_some_and(|rest| rest.starts_with('/'));
            let (stored, there): (Vec<_>, Vec<_>) = self.held.iter().partition(|(key, _)| kept(key));
            let texts = |all: Vec<(_, &SourceFile)>| Arc::new(all.into_iter().map(|(_, file)| file.clone()).collect());
            Texts { there: texts(there), last_good: texts(stored) }
        });
        let Texts { there, last_good } = texts.clone();
        FileSet { files: there, last_good, problems: self.problems(), versions: Arc::new(self.versions.clone()) }
    }

    fn take(&mut self, change: Change) -> Haste {
        let haste = match change {
            Change::Listed { kind, all, version } => {
                self.came_to(kind, version);
                self.listed(kind, all)
            }
            Change::Set { kind, seen } => self.set(kind, *seen),
            Change::Gone { kind, path, version } => self.gone(kind, &path, version),
            Change::Schema { kind: "VirtualService", filters } => {
                let before = self.filters_kept.replace(filters);
                if before == Some(filters) { Haste::None } else { Haste::Configuration }
            }
            Change::Schema { .. } => Haste::None,
        };
        if haste > Haste::Version {
            self.files = None;
        }
        haste
    }

    fn listed(&mut self, kind: &'static str, all: Vec<Seen>) -> Haste {
        let first = self.unlisted.remove(kind);
        let there: BTreeSet<Arc<str>> = all.iter().map(|seen| seen.key.clone()).collect();
        let prefix = format!("{kind}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let of_kind = self.held.range::<str, _>(from).take_while(|(path, _)| path.starts_with(&prefix));
        let gone: Vec<Arc<str>> = of_kind.map(|(path, _)| path.clone()).filter(|path| !there.contains(path)).collect();
        let mut haste = if first { haste(kind) } else { Haste::None };
        for path in gone {
            haste = haste.max(self.gone(kind, &path, 0));
        }
        for seen in all {
            haste = haste.max(self.set(kind, seen));
        }
        haste
    }

    fn set(&mut self, kind: &'static str, seen: Seen) -> Haste {
        self.came_to(kind, seen.version);
        if self.held.get(&seen.key) == Some(&seen.file) {
            return Haste::Version;
        }
        self.held.insert(seen.key, seen.file);
        haste(kind)
    }

    fn gone(&mut self, kind: &'static str, path: &str, version: u64) -> Haste {
        self.came_to(kind, version);
        if self.held.remove(path).is_some() { haste(kind) } else { Haste::Version }
    }

    fn came_to(&mut self, kind: &str, version: u64) {
        match self.versions.get_mut(kind) {
            Some(highest) => *highest = version.max(*highest),
            None => drop(self.versions.insert(kind.to_owned(), version)),
        }
    }

    fn problems(&self) -> Vec<FileProblem> {
        let cut_off = (self.filters_kept == Some(false)).then(|| FileProblem {
            code: FileCode::SchemaLacksFilters,
            path: "CustomResourceDefinition virtualservices.networking.istio.io".to_owned(),
            reason: "this cluster's VirtualService does not know the field filters, and drops it".to_owned(),
            remedy: "attach filters by targetRefs of the Filter or by the annotation weft.dev/filters",
        });
        cut_off.into_iter().collect()
    }
}

impl Haste {
    /// How long to wait for more, after the last change and after the first.
    fn patience(self) -> (Duration, Duration) {
        match self {
            Self::None | Self::Version => (QUIET_VERSION, QUIET_VERSION),
            Self::Configuration => (QUIET, QUIET_MAX),
            Self::Endpoints => (QUIET_ENDPOINTS, QUIET_MAX),
        }
    }
}

fn haste(kind: &str) -> Haste {
    if kind == "EndpointSlice" { Haste::Endpoints } else { Haste::Configuration }
}

/// One apply of several objects is several events within milliseconds.
const QUIET: Duration = Duration::from_millis(8);
const QUIET_ENDPOINTS: Duration = Duration::from_millis(1);
const QUIET_MAX: Duration = Duration::from_millis(20);
const QUIET_VERSION: Duration = Duration::from_millis(200);
const REMIND: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
