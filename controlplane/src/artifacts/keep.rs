//! Which components the store keeps: those that run, and for a while those that ran, since some proxy may still fetch
//! or hold them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use weft_snapshot::Digest;

/// Long enough for every proxy that is up to have moved on.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Of what does not run any more; the oldest goes first.
const KEPT_BYTES_MAX: u64 = 512 << 20;

/// Since when each component that is held does not run.
#[derive(Debug, Default)]
pub(super) struct Retired(BTreeMap<Digest, Instant>);

impl Retired {
    /// `held`: bytes by component. Answers what to remove.
    pub(super) fn sweep(
        &mut self,
        held: &BTreeMap<Digest, u64>,
        running: &BTreeSet<Digest>,
        now: Instant,
    ) -> Vec<Digest> {
        self.0.retain(|digest, _| held.contains_key(digest) && !running.contains(digest));
        for digest in held.keys().filter(|digest| !running.contains(digest)) {
            self.0.entry(*digest).or_insert(now);
        }
        let mut youngest_first: Vec<_> = self.0.iter().map(|(digest, since)| (*since, *digest)).collect();
        youngest_first.sort_by(|a, b| b.cmp(a));
        let mut kept = 0_u64;
        let mut removed = Vec::new();
        for (since, digest) in youngest_first {
            kept = kept.saturating_add(held.get(&digest).copied().unwrap_or_default());
            if now.duration_since(since) >= KEPT_FOR || kept > KEPT_BYTES_MAX {
                removed.push(digest);
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_run_goes_by_age_and_by_size() {
        let start = Instant::now();
        let [a, b, c] = [1, 2, 3].map(|n| Digest([n; 32]));
        let at = |seconds| start + Duration::from_secs(seconds);
        let held = |sizes: &[(Digest, u64)]| sizes.iter().copied().collect::<BTreeMap<_, _>>();
        let small = held(&[(a, 1), (b, 1), (c, 1)]);
        let large = held(&[(a, KEPT_BYTES_MAX), (b, 1), (c, 1)]);
        // when, held, running, removed
        let steps = [
            (0, &small, vec![a, b, c], vec![]),
            (10, &small, vec![b, c], vec![]),
            (20, &small, vec![c], vec![]),
            (30, &large, vec![c], vec![a]),
            (40, &small, vec![a, c], vec![]),
            (620, &small, vec![a, c], vec![b]),
            (630, &small, vec![c], vec![b]),
        ];
        let mut retired = Retired::default();
        for (second, held, running, want) in steps {
            let running = running.into_iter().collect();
            assert_eq!(retired.sweep(held, &running, at(second)), want, "at {second} s");
        }
    }
}
