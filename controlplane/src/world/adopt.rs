//! When a newer world takes the place of the current one: once the filters that it newly names have been tried.
//!
//! Otherwise a rule would name a filter that no proxy can load yet, and its requests would be refused meanwhile.
//! It does not know how filters are made ready.

use crate::artifacts::Facts;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_config::World;

#[derive(Default)]
pub(super) struct Adoption {
    /// What proxies are told; `None` until the first world is ready.
    current: Option<Arc<World>>,
    newest: Arc<World>,
    waiting: Option<Waiting>,
}

struct Waiting {
    /// Number under which the filters' side was asked for this world's.
    wanted: u64,
    since: Instant,
}

impl Adoption {
    pub(super) fn newest(&self) -> &Arc<World> {
        &self.newest
    }

    pub(super) fn current(&self) -> Option<&Arc<World>> {
        self.current.as_ref()
    }

    pub(super) fn propose(&mut self, world: Arc<World>, wanted: u64, now: Instant) {
        // The clock does not start again, or a folder that keeps changing would never be taken in.
        let since = self.waiting.as_ref().map_or(now, |waiting| waiting.since);
        self.newest = world;
        self.waiting = Some(Waiting { wanted, since });
    }

    /// The newest world, in the moment in which it becomes the current one.
    pub(super) fn ready(&mut self, facts: &Facts, now: Instant) -> Option<Arc<World>> {
        let waiting = self.waiting.as_ref()?;
        let late = now.saturating_duration_since(waiting.since) >= WAIT_MAX;
        if !late && !self.untried(facts).is_empty() {
            return None;
        }
        self.waiting = None;
        self.current = Some(self.newest.clone());
        Some(self.newest.clone())
    }

    /// Filters for which the newest world waits.
    pub(super) fn untried(&self, facts: &Facts) -> Vec<String> {
        let Some(waiting) = &self.waiting else { return Vec::new() };
        let tried = facts.reflects >= waiting.wanted && facts.settled();
        if tried {
            return Vec::new();
        }
        let policies = self.newest.policies();
        policies.into_iter().filter(|policy| !facts.policies.contains_key(&policy.key)).map(|p| p.filter).collect()
    }
}

/// A slow registry delays a change for so long and no longer.
const WAIT_MAX: Duration = Duration::from_secs(10);
