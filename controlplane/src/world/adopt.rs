//! When a newer world takes the place of the current one: once the filters that it newly names have been tried.
//!
//! Otherwise a rule would name a filter that no proxy can load yet, and its requests would be refused meanwhile.
//! It does not know how filters are made ready.

use crate::artifacts::{Facts, Progress};
use crate::source::FileSet;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_config::{Policy, Touched, World};
use weft_wire::Seen;

#[derive(Default)]
pub(super) struct Adoption {
    /// What proxies are told; `None` until the first world is ready.
    current: Option<Arc<World>>,
    /// From which `current` was made.
    files: FileSet,
    /// That `current` attaches.
    policies: BTreeSet<Policy>,
    /// With which they are told `current`. A filter's new config is not theirs before the world that wrote it is, or
    /// an old rule would meet a new filter.
    facts: Arc<Facts>,
    newest: Arc<World>,
    /// Whom the way from `current` to `newest` may concern.
    touched: Touched,
    waiting: Option<Waiting>,
}

struct Waiting {
    /// Number under which the filters' side was asked for `policies`.
    wanted: u64,
    policies: BTreeSet<Policy>,
    since: Instant,
    /// Of which it asks something else than the current one.
    filters: BTreeSet<String>,
    files: FileSet,
}

/// What proxies have to be told anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Other facts on the same world.
    Facts,
    World,
}

impl Adoption {
    pub(super) fn newest(&self) -> &Arc<World> {
        &self.newest
    }

    pub(super) fn current(&self) -> Option<&Arc<World>> {
        self.current.as_ref()
    }

    pub(super) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// How far the cluster had come of which `current` tells.
    pub(super) fn seen(&self) -> &Seen {
        &self.files.versions
    }

    /// The cluster has gone on, and the newest world still tells how it is.
    pub(super) fn saw(&mut self, files: &FileSet) {
        let newest = self.waiting.as_mut().map_or(&mut self.files, |waiting| &mut waiting.files);
        newest.versions = files.versions.clone();
    }

    /// Whom the last [`Step::World`] may concern.
    pub(super) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// `wanted` is the number under which the filters' side was asked for the world's policies, and these.
    pub(super) fn propose(
        &mut self,
        world: Arc<World>,
        files: &FileSet,
        (wanted, policies): (u64, Vec<Policy>),
        now: Instant,
    ) {
        // The clock does not start again, or a folder that keeps changing would never be taken in.
        let since = self.waiting.as_ref().map_or(now, |waiting| waiting.since);
        let policies = BTreeSet::from_iter(policies);
        let filters = policies.difference(&self.policies).map(|policy| policy.filter.clone()).collect();
        self.touched = std::mem::take(&mut self.touched).and(world.touched());
        self.newest = world;
        self.waiting = Some(Waiting { wanted, policies, since, filters, files: files.clone() });
    }

    /// Takes in, together, the newest world and the facts that belong to it, as soon as they are there.
    pub(super) fn step(&mut self, facts: &Arc<Facts>, now: Instant) -> Step {
        let waits = self.waiting.as_ref().is_some_and(|waiting| {
            let late = now.saturating_duration_since(waiting.since) >= WAIT_MAX;
            !late && !self.untried(facts).is_empty()
        });
        // A value that is the same is the same Arc: whoever publishes facts replaces it only by another value.
        if waits || (self.waiting.is_none() && Arc::ptr_eq(&self.facts, facts)) {
            return Step::Nothing;
        }
        self.facts = Arc::clone(facts);
        let Some(waiting) = self.waiting.take() else { return Step::Facts };
        self.files = waiting.files;
        self.policies = waiting.policies;
        self.current = Some(self.newest.clone());
        Step::World
    }

    /// While a newer world waits for its filters: the current one with the endpoints that there are now.
    pub(super) fn discover(&mut self, files: &FileSet) -> Step {
        let (Some(current), true) = (&self.current, self.waiting.is_some()) else { return Step::Nothing };
        let mixed = self.files.with_discovery_of(files);
        if mixed.files == self.files.files {
            return Step::Nothing;
        }
        self.current = Some(Arc::new(World::build(&mixed.files, current)));
        self.files = mixed;
        Step::World
    }

    /// Filters for which the newest world waits.
    pub(super) fn untried(&self, facts: &Facts) -> Vec<String> {
        let Some(waiting) = &self.waiting else { return Vec::new() };
        let taken_in = facts.reflects >= waiting.wanted;
        let settled = |filter: &str| facts.filters.get(filter).is_some_and(|f| f.progress == Progress::Settled);
        waiting.filters.iter().filter(|filter| !taken_in || !settled(filter)).cloned().collect()
    }
}

/// A slow registry delays a change for so long and no longer.
const WAIT_MAX: Duration = Duration::from_secs(10);
