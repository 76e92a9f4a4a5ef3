//! What is counted of one policy, by whoever runs it, without locks.
//!
//! It does not decide anything, except how many lines a filter may log.

use crate::{Failure, FailureKind, Figures, Place};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Log lines of one policy in a second.
const LINES_PER_SECOND: u64 = 10;

#[derive(Default)]
pub(crate) struct Ledger {
    /// The policy's key.
    pub(crate) filter: String,
    pub(crate) failures: [AtomicU64; 7],
    pub(crate) misses_on_workers: AtomicU64,
    pub(crate) misses_in_pool: AtomicU64,
    pub(crate) pooled: AtomicU64,
    pub(crate) instances: AtomicU64,
    pub(crate) recycled: AtomicU64,
    pub(crate) not_utf8: AtomicU64,
    lines_dropped: AtomicU64,
    /// The second of the last line, and in the low byte how many lines it has had.
    lines: AtomicU64,
    place: AtomicU8,
    /// As many as the manifest declares; unset while the first instance is configured.
    counters: OnceLock<Box<[AtomicU64]>>,
}

impl Ledger {
    pub(crate) fn new(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }

    pub(crate) fn declare(&self, counters: usize) {
        self.counters.get_or_init(|| (0..counters).map(|_| AtomicU64::new(0)).collect());
    }

    pub(crate) fn declared(&self) -> usize {
        self.counters.get().map_or(0, |counters| counters.len())
    }

    /// False where the manifest has no such counter.
    pub(crate) fn count(&self, index: u32, delta: u64) -> bool {
        match self.counters.get().and_then(|counters| counters.get(index as usize)) {
            Some(counter) => {
                counter.fetch_add(delta, Relaxed);
                true
            }
            None => false,
        }
    }

    /// Counts a failure and makes it.
    pub(crate) fn failure(&self, kind: FailureKind, reason: impl Into<String>) -> Failure {
        if let Some(index) = FailureKind::ALL.iter().position(|known| *known == kind) {
            self.failures[index].fetch_add(1, Relaxed);
        }
        Failure { kind, filter: self.filter.clone(), reason: reason.into() }
    }

    pub(crate) fn place(&self) -> Place {
        match self.place.load(Relaxed) {
            0 => Place::Worker,
            1 => Place::Pool,
            _ => Place::Refused,
        }
    }

    pub(crate) fn move_to(&self, place: Place) {
        self.place.store(place as u8, Relaxed);
    }

    /// True where the filter may log another line in this second; a line that may not is counted.
    pub(crate) fn admits_line(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let admitted = self.lines.try_update(Relaxed, Relaxed, |last| next_line(last, now));
        if admitted.is_err() {
            self.lines_dropped.fetch_add(1, Relaxed);
        }
        admitted.is_ok()
    }

    /// `calls` is counted where the calls are made.
    pub(crate) fn figures(&self, calls: u64) -> Figures {
        Figures {
            calls,
            failures: std::array::from_fn(|index| self.failures[index].load(Relaxed)),
            misses_on_workers: self.misses_on_workers.load(Relaxed),
            misses_in_pool: self.misses_in_pool.load(Relaxed),
            pooled: self.pooled.load(Relaxed),
            instances: self.instances.load(Relaxed),
            recycled: self.recycled.load(Relaxed),
            not_utf8: self.not_utf8.load(Relaxed),
            lines_dropped: self.lines_dropped.load(Relaxed),
            counters: self.counters.get().map(|all| all.iter().map(|c| c.load(Relaxed)).collect()).unwrap_or_default(),
            place: self.place(),
        }
    }
}

/// The state after one more line in second `now`, or none where that second has had its lines.
fn next_line(last: u64, now: u64) -> Option<u64> {
    let (second, lines) = (last >> 8, last & 0xff);
    match second == now & (u64::MAX >> 8) {
        true if lines >= LINES_PER_SECOND => None,
        true => Some(last + 1),
        false => Some((now << 8) | 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second() {
        let mut state = 0;
        for (second, want) in [(7, 10), (7, 0), (8, 10), (20, 10)] {
            let mut lines = 0;
            while let Some(next) = next_line(state, second) {
                (state, lines) = (next, lines + 1);
            }
            assert_eq!(lines, want, "second {second}");
        }
    }

    #[test]
    fn counters_are_those_declared() {
        let ledger = Ledger::new("a");
        assert!(!ledger.count(0, 1), "before the manifest is known");
        ledger.declare(2);
        assert!(ledger.count(1, 3) && !ledger.count(2, 1));
        assert_eq!(ledger.figures(0).counters, [0, 3]);
    }
}
