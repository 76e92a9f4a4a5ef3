//! One connected proxy: what it asked for, what it has, what is under way, what it refused.
//!
//! It decides when which update goes out; it does not know how snapshots are made.

use super::audience::Hears;
use super::event::{Joining, Line, Running, StreamId};
use super::support::Support;
use super::tellings::Telling;
use crate::artifacts::Facts;
use crate::ca::Seconds;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_config::{FilterFact, FilterFacts};
use weft_snapshot::{FilterKey, Host, SpiffeId, WorkloadName};
use weft_wire::{Holding, Seen, encode_seen, proto};

pub(super) struct Proxy {
    pub(super) stream: StreamId,
    pub(super) workload: WorkloadName,
    pub(super) identity: SpiffeId,
    pub(super) svid_expires: Seconds,
    pub(super) remote: SocketAddr,
    pub(super) version: String,
    pub(super) support: Support,
    pub(super) level: u32,
    pub(super) artifact_key: String,
    pub(super) asked: BTreeSet<Host>,
    pub(super) line: Line,
    pub(super) has: Has,
    /// What it should have.
    pub(super) target: Option<Arc<Telling>>,
    flight: Option<Flight>,
    pub(super) refused: Option<Refused>,
    /// Since when `target` is something that the proxy does not have.
    pub(super) behind: Option<Instant>,
    first: First,
    running: BTreeMap<FilterKey, Running>,
    /// How far the cluster had come of which it was told when it came here, and since when it waits for that.
    waits: Option<(Seen, Instant)>,
}

/// What the proxy runs.
pub(super) enum Has {
    /// As it said when it connected.
    Held {
        holding: Holding,
        revision: String,
    },
    Acked(Arc<Telling>),
}

struct Flight {
    telling: Arc<Telling>,
    sent: Instant,
}

/// A revision that the proxy would not take.
pub(super) struct Refused {
    pub(super) revision: String,
    pub(super) problems: Vec<String>,
    times: u32,
    at: Instant,
}

/// The first update of a stream is sent even if it changes nothing: it says that the proxy is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// Since it connected.
    Due(Instant),
    Sent,
}

/// How an answer fits what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// After this long.
    Expected(Duration),
    /// No such revision is under way: the proxy does not keep to the protocol.
    Unexpected,
}

impl Proxy {
    pub(super) fn new(joining: Joining, now: Instant) -> Self {
        let revision = joining.held.revision();
        Self {
            stream: joining.stream,
            workload: joining.workload,
            identity: joining.identity,
            svid_expires: joining.svid_expires,
            remote: joining.remote,
            support: Support::of(env!("CARGO_PKG_VERSION"), &joining.version),
            version: joining.version,
            level: joining.level,
            artifact_key: joining.artifact_key,
            asked: joining.asked,
            line: joining.line,
            has: Has::Held { holding: joining.held, revision },
            target: None,
            flight: None,
            refused: None,
            behind: None,
            first: First::Due(now),
            running: joining.running,
            waits: Some((joining.seen, now)),
        }
    }

    pub(super) fn aim(&mut self, target: Arc<Telling>, now: Instant) {
        if target.revision != self.has.revision() {
            self.behind.get_or_insert(now);
        } else {
            self.behind = None;
        }
        self.target = Some(target);
    }

    /// For a view of this proxy: where there is no artifact that it can load, what it runs goes on, with its config.
    pub(super) fn with_running(&self, facts: &Arc<FilterFacts>) -> Arc<FilterFacts> {
        let unserved = |fact: &FilterFact| fact.artifact.is_none();
        if self.running.is_empty() || !facts.values().any(unserved) {
            return facts.clone();
        }
        let mut own = FilterFacts::clone(facts);
        for (key, fact) in own.iter_mut().filter(|(_, fact)| unserved(fact)) {
            if let Some(running) = self.running.get(key) {
                fact.component = Some(running.component);
                fact.artifact = Some(running.artifact);
                fact.config = Some(running.config.clone());
            }
        }
        Arc::new(own)
    }

    /// Filters without an artifact that it can load: those that run on here as they are, and those that do not.
    pub(super) fn unserved(&self, facts: &Facts) -> (Vec<String>, Vec<String>) {
        let lacking = facts.policies.iter().filter(|(_, policy)| !policy.artifacts.contains_key(&self.artifact_key));
        let (on, out): (Vec<_>, Vec<_>) = lacking.partition(|(key, _)| self.running.contains_key(*key));
        let names = |of: Vec<(&FilterKey, _)>| of.into_iter().map(|(key, _)| key.0.clone()).collect();
        (names(on), names(out))
    }

    /// True where it has been told nothing yet and filters of what it would be told are still being compiled for its kind
    /// of machine: told now, it would begin with refusing requests.
    pub(super) fn is_early(&self, facts: &Facts, now: Instant) -> bool {
        let (First::Due(since), Some(target)) = (self.first, &self.target) else { return false };
        now.saturating_duration_since(since) < EARLY_MAX && facts.compiling(&self.artifact_key, &target.lacking)
    }

    /// True where an older state of the cluster than the one that it knows would be told.
    fn is_ahead(&mut self, seen: &Seen, now: Instant) -> bool {
        let Some((told, since)) = &self.waits else { return false };
        let behind = |(kind, version): (&String, &u64)| seen.get(kind).is_none_or(|here| here < version);
        let ahead = told.iter().any(behind);
        if ahead && now.saturating_duration_since(*since) < BEHIND_MAX {
            return true;
        }
        if ahead {
            tracing::warn!(workload = %self.workload, "still behind what this proxy was told elsewhere; it is served now");
        }
        self.waits = None;
        false
    }

    /// The update that should go out now, unsigned; it counts as sent. `seen`: how far the cluster had come of which
    /// the target tells.
    pub(super) fn next_update(&mut self, seen: &Seen, now: Instant) -> Option<proto::Update> {
        if !self.is_due() || self.is_ahead(seen, now) {
            return None;
        }
        let target = self.target.clone()?;
        if self.refused.as_ref().is_some_and(|refused| !refused.again(&target.revision, now)) {
            return None;
        }
        // What was refused once is sent whole, whatever the proxy holds: perhaps that was what it minded.
        let refused = self.refused.as_ref().is_some_and(|refused| refused.revision == target.revision);
        let nothing = Holding::default();
        let mut update = target.update_from(if refused { &nothing } else { self.has.holding() });
        update.seen = encode_seen(seen);
        self.first = First::Sent;
        self.flight = Some(Flight { telling: target, sent: now });
        Some(update)
    }

    pub(super) fn ack(&mut self, revision: &str, now: Instant) -> Answer {
        let Some(flight) = self.landed(revision) else { return Answer::Unexpected };
        let took = now.saturating_duration_since(flight.sent);
        self.has = Has::Acked(flight.telling);
        self.refused = None;
        if self.target.as_ref().is_some_and(|target| target.revision == revision) {
            self.behind = None;
        }
        Answer::Expected(took)
    }

    pub(super) fn nack(&mut self, revision: String, problems: Vec<String>, now: Instant) -> Answer {
        let Some(flight) = self.landed(&revision) else { return Answer::Unexpected };
        let earlier = self.refused.take().filter(|refused| refused.revision == revision);
        let times = earlier.map_or(1, |refused| refused.times.saturating_add(1));
        self.refused = Some(Refused { revision, problems, times, at: now });
        Answer::Expected(now.saturating_duration_since(flight.sent))
    }

    /// True where something is to be told, now or once what holds it back has gone.
    pub(super) fn is_due(&self) -> bool {
        let news = |target: &Arc<Telling>| target.revision != self.has.revision() || self.first != First::Sent;
        self.support == Support::Served && self.flight.is_none() && self.target.as_ref().is_some_and(news)
    }

    /// What it should run, and what it runs: what it has acknowledged, or said that it has. A rule may change without a
    /// word of what this proxy is told: then it runs the new one as soon as that is known.
    pub(super) fn hears(&self) -> Hears {
        let same = self.target.as_ref().filter(|target| target.revision == self.has.revision());
        let acked = match &self.has {
            Has::Acked(telling) => Some(telling),
            Has::Held { .. } => None,
        };
        Hears { target: self.target.clone(), runs: same.or(acked).cloned() }
    }

    fn landed(&mut self, revision: &str) -> Option<Flight> {
        self.flight.take_if(|flight| flight.telling.revision == revision)
    }

    /// True where an update was sent so long ago that the proxy cannot be well.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.flight.as_ref().is_some_and(|flight| now.saturating_duration_since(flight.sent) > ANSWER_MAX)
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.flight.is_some()
    }

    /// All that it may be running or preparing.
    pub(super) fn tellings(&self) -> impl Iterator<Item = &Arc<Telling>> {
        let acked = match &self.has {
            Has::Acked(telling) => Some(telling),
            Has::Held { .. } => None,
        };
        self.target.iter().chain(self.flight.as_ref().map(|flight| &flight.telling)).chain(acked)
    }
}

impl Has {
    pub(super) fn revision(&self) -> &str {
        match self {
            Self::Held { revision, .. } => revision,
            Self::Acked(telling) => &telling.revision,
        }
    }

    pub(super) fn holding(&self) -> &Holding {
        match self {
            Self::Held { holding, .. } => holding,
            Self::Acked(telling) => &telling.holding,
        }
    }
}

impl Refused {
    /// Another revision at once; the same one later, since a refusal may have been an accident (a full disk).
    fn again(&self, revision: &str, now: Instant) -> bool {
        let wait = AGAIN.saturating_mul(1 << (self.times - 1).min(5)).min(AGAIN_MAX);
        self.revision != revision || now.saturating_duration_since(self.at) >= wait
    }
}

/// How long a proxy that was told something newer elsewhere may be left as it is.
const BEHIND_MAX: Duration = Duration::from_secs(30);
/// How long a proxy's first filters may take, of which it would otherwise refuse the requests.
const EARLY_MAX: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// Loading a large filter takes seconds.
const ANSWER_MAX: Duration = Duration::from_secs(120);

#[cfg(test)]
#[path = "proxy/tests.rs"]
mod tests;
