//! Where each Filter stands: what is asked, what is good, and when the next attempt is due. The rules, pure.
//!
//! Told what happened and what time it is; answers which jobs to start. It does not run them.

use super::facts::{Facts, FilterStatus, PolicyFact, Progress, Version};
use super::good::{Ask, Good};
use super::job::{Job, Lookup, Outcome, Refused, Trouble};
use super::problem::FilterProblem;
use super::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use weft_oci::Reference;
use weft_snapshot::Digest;

/// After the first failure; doubled for each further one.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Filters that are not wanted any more, of which the last good version is remembered.
const SHELF_MAX: usize = 64;

/// All Filters that are wanted, and what was good of those that are not.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    filters: BTreeMap<String, Track>,
    shelf: BTreeMap<String, Good>,
    /// Artifact keys for which everything good is compiled.
    keys: BTreeSet<String>,
    jobs: u64,
    reflects: u64,
}

#[derive(Debug)]
struct Track {
    ask: Ask,
    good: Option<Good>,
    refused: Option<Refused>,
    troubles: Vec<Trouble>,
    progress: Progress,
    /// Number of the job that is at work.
    at_work: Option<u64>,
    /// When the next attempt is due, and how it looks the image up.
    due: Option<(Instant, Lookup)>,
    failures: u32,
}

impl Tracks {
    pub(super) fn new(last_good: BTreeMap<String, Good>, keys: BTreeSet<String>) -> Self {
        Self { shelf: last_good, keys, ..Self::default() }
    }

    pub(super) fn want(&mut self, number: u64, asks: BTreeMap<String, Ask>, now: Instant) {
        self.reflects = number;
        let gone: Vec<_> = self.filters.keys().filter(|name| !asks.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(good) = self.filters.remove(&name).and_then(|track| track.good) {
                self.shelf.insert(name, good);
            }
        }
        for (name, ask) in asks {
            match self.filters.get_mut(&name) {
                Some(track) => track.ask_for(ask, now),
                None => {
                    let good = self.shelf.remove(&name);
                    self.filters.insert(name, Track::new(ask, good, now));
                }
            }
        }
        while self.shelf.len() > SHELF_MAX {
            self.shelf.pop_first();
        }
    }

    /// What a registry says may be different now, as after a change of its settings: every image is looked up again
    /// that did not come.
    pub(super) fn retry_failures(&mut self, now: Instant) {
        for track in self.filters.values_mut().filter(|track| !track.troubles.is_empty()) {
            track.refused = None;
            track.failures = 0;
            track.due = Some((now, Lookup::Anew));
        }
    }

    /// Jobs that are due; each is at work until its outcome is told.
    pub(super) fn start(&mut self, now: Instant) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (name, track) in &mut self.filters {
            let Some((_, lookup)) = track.due.filter(|(at, _)| *at <= now && track.at_work.is_none()) else { continue };
            self.jobs += 1;
            track.at_work = Some(self.jobs);
            track.due = None;
            jobs.push(Job {
                filter: name.clone(),
                number: self.jobs,
                ask: track.ask.clone(),
                lookup,
                good: track.good.clone(),
                refused: track.refused.clone(),
            });
        }
        jobs
    }

    pub(super) fn done(&mut self, filter: &str, number: u64, outcome: Outcome, now: Instant) {
        let track = self.filters.get_mut(filter).filter(|track| track.at_work == Some(number));
        if let Some(track) = track {
            track.done(outcome, now);
        }
    }

    /// A folder of images changed: those who follow their tag there look again.
    pub(super) fn layout_changed(&mut self, now: Instant) {
        for track in self.filters.values_mut() {
            if track.followed_layout().is_some() {
                track.due = Some((now, Lookup::Anew));
            }
        }
    }

    pub(super) fn compile_for(&mut self, keys: BTreeSet<String>, now: Instant) {
        self.keys = keys;
        for track in self.filters.values_mut() {
            track.due = Some((now, lookup(&track.ask, track.good.as_ref())));
            track.progress = Progress::Working;
        }
    }

    pub(super) fn layouts(&self) -> BTreeSet<PathBuf> {
        self.filters.values().filter_map(Track::followed_layout).collect()
    }

    /// When to call [`Tracks::start`] again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.filters.values().filter(|track| track.at_work.is_none()).filter_map(|track| Some(track.due?.0)).min()
    }

    pub(super) fn idle(&self) -> bool {
        self.filters.values().all(|track| track.at_work.is_none())
    }

    pub(super) fn good(&self) -> BTreeMap<String, Good> {
        let held = self.filters.iter().filter_map(|(name, track)| Some((name.clone(), track.good.clone()?)));
        self.shelf.clone().into_iter().chain(held).collect()
    }

    pub(super) fn components(&self) -> BTreeSet<Digest> {
        self.filters.values().filter_map(|track| Some(track.good.as_ref()?.version.component)).collect()
    }

    pub(super) fn facts(&self, store: &Store, held: impl IntoIterator<Item = Digest>) -> Facts {
        let mut facts = Facts { reflects: self.reflects, keys: self.keys.clone(), ..Facts::default() };
        for component in held {
            facts.artifacts.extend(store.artifacts_of(component).into_iter().map(|held| (held.digest, held)));
        }
        for (name, track) in &self.filters {
            facts.filters.insert(name.clone(), track.status(name));
            let Some(good) = &track.good else { continue };
            // By component and not through `facts.artifacts`: components that differ in no instruction (another
            // custom section, say) share an artifact, which stands there under one of them.
            let artifacts = store.artifacts_of(good.version.component);
            let artifacts: BTreeMap<_, _> =
                artifacts.into_iter().map(|artifact| (artifact.key, artifact.digest)).collect();
            for (key, admitted) in good.policies.iter().filter(|(key, _)| track.ask.policies.contains_key(*key)) {
                let policy = PolicyFact {
                    component: good.version.component,
                    artifacts: artifacts.clone(),
                    config: admitted.ask.config.clone(),
                    manifest: admitted.manifest.clone(),
                };
                facts.policies.insert(key.clone(), policy);
            }
        }
        facts
    }
}

impl Track {
    fn new(ask: Ask, good: Option<Good>, now: Instant) -> Self {
        let lookup = lookup(&ask, good.as_ref());
        Self {
            ask,
            good,
            refused: None,
            troubles: Vec::new(),
            progress: Progress::Working,
            at_work: None,
            due: Some((now, lookup)),
            failures: 0,
        }
    }

    fn ask_for(&mut self, ask: Ask, now: Instant) {
        let place = |ask: &Ask| Ask { file: String::new(), line: 0, column: 0, ..ask.clone() };
        let changed = place(&self.ask) != place(&ask);
        if changed {
            let lookup = if self.ask.object() == ask.object() && self.troubles.is_empty() {
                lookup(&ask, self.good.as_ref())
            } else {
                Lookup::Anew
            };
            self.due = Some((now, lookup));
            self.progress = Progress::Working;
            self.refused = None;
            self.failures = 0;
        }
        self.ask = ask;
    }

    fn done(&mut self, outcome: Outcome, now: Instant) {
        self.at_work = None;
        self.good = outcome.good.or(self.good.take());
        if self.due.is_some() {
            // Something else was asked meanwhile; what this job refused says nothing about that.
            return;
        }
        self.progress = Progress::Settled;
        self.refused = outcome.refused;
        self.troubles = outcome.troubles;
        self.failures = if self.troubles.is_empty() { 0 } else { self.failures.saturating_add(1) };
        let wait = match self.failures {
            0 => self.ask.refresh,
            failures => Some(backoff(self.ask.refresh, failures)),
        };
        self.due = wait.map(|wait| (now + wait, Lookup::Anew));
    }

    /// Where a tag that is followed lies, if it lies in a folder.
    fn followed_layout(&self) -> Option<PathBuf> {
        if self.ask.pin.is_some() || (self.ask.refresh.is_none() && self.troubles.is_empty()) {
            return None;
        }
        match self.ask.image.parse() {
            Ok(Reference::Layout(layout)) => Some(layout.path),
            _ => None,
        }
    }

    fn status(&self, name: &str) -> FilterStatus {
        let running = self.good.as_ref().map(|good| good.version);
        let problem = |trouble: &Trouble| self.problem(name, trouble, running);
        FilterStatus {
            image: self.ask.image.clone(),
            running,
            progress: self.progress,
            problems: self.troubles.iter().map(problem).collect(),
        }
    }

    fn problem(&self, name: &str, trouble: &Trouble, running: Option<Version>) -> FilterProblem {
        FilterProblem {
            kind: trouble.kind,
            filter: name.to_owned(),
            file: self.ask.file.clone(),
            line: self.ask.line,
            column: self.ask.column,
            image: self.ask.image.clone(),
            refused: trouble.refused,
            running,
            reason: trouble.reason.clone(),
            remedy: trouble.remedy.clone(),
        }
    }
}

/// The tag is looked up where nothing is good yet, where the object has changed, and where it is followed.
fn lookup(ask: &Ask, good: Option<&Good>) -> Lookup {
    match good {
        Some(good) if good.object == ask.object() && ask.refresh.is_none() => Lookup::Keep,
        _ => Lookup::Anew,
    }
}

fn backoff(refresh: Option<Duration>, failures: u32) -> Duration {
    let min = refresh.unwrap_or(RETRY_MIN).max(RETRY_MIN);
    min.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_MAX.max(min))
}

#[cfg(test)]
mod tests;
