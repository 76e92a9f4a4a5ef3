//! What a policy's failures mean for where it runs and how soon it gets new instances: rules without threads.
//!
//! They are given the time and know neither instances nor requests.

use crate::Place;
use std::time::{Duration, Instant};

/// Misses within [`WINDOW`] that move a policy on.
const MISSES: usize = 3;
const WINDOW: Duration = Duration::from_secs(10);
/// How long a policy that misses in the pool is refused the first time; doubled each time.
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// The share of one core that a policy may cost by having its instances replaced: one in this many.
const REBUILD_SHARE: u32 = 20;
/// Replacement time that a policy may use at once.
const REBUILD_BURST: Duration = Duration::from_millis(20);

/// The misses of one policy.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    place: Place,
    /// The last misses at the present place, the oldest first.
    misses: Vec<Instant>,
    /// How long it was refused last; none before the first time.
    refused_for: Option<Duration>,
}

/// A change of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    ToPool,
    RefuseFor(Duration),
}

impl Conduct {
    /// A call was stopped at its deadline, at the place where the policy ran.
    pub(crate) fn missed(&mut self, now: Instant) -> Option<Move> {
        self.misses.retain(|miss| now.saturating_duration_since(*miss) < WINDOW);
        self.misses.push(now);
        // Back from being refused it is on probation: one miss suffices.
        let allowed = if self.refused_for.is_some() && self.place == Place::Pool { 1 } else { MISSES };
        if self.misses.len() < allowed {
            return None;
        }
        self.misses.clear();
        match self.place {
            Place::Worker => {
                self.place = Place::Pool;
                Some(Move::ToPool)
            }
            Place::Pool => {
                let time = self.refused_for.map_or(REFUSED_FIRST, |last| (last * 2).min(REFUSED_MAX));
                self.refused_for = Some(time);
                self.place = Place::Refused;
                Some(Move::RefuseFor(time))
            }
            // A call that was under way when the policy was refused.
            Place::Refused => None,
        }
    }

    /// It never runs on the workers.
    pub(crate) fn start_in_pool(&mut self) {
        self.place = Place::Pool;
    }

    /// The time for which it was refused is over.
    pub(crate) fn readmit(&mut self) {
        self.place = Place::Pool;
    }
}

/// What the replacement of trapped instances costs, as a debt that is worked off at a fixed rate.
#[derive(Debug)]
pub(crate) struct RebuildDebt {
    owed: Duration,
    at: Instant,
}

impl RebuildDebt {
    pub(crate) fn new(now: Instant) -> Self {
        Self { owed: Duration::ZERO, at: now }
    }

    /// How long the next replacement has to wait.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.settle(now);
        self.owed.saturating_sub(REBUILD_BURST).saturating_mul(REBUILD_SHARE)
    }

    /// A replacement took that long.
    pub(crate) fn add(&mut self, cost: Duration, now: Instant) {
        self.settle(now);
        self.owed = self.owed.saturating_add(cost);
    }

    fn settle(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.owed = self.owed.saturating_sub(passed / REBUILD_SHARE);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One miss: seconds since the first, and what comes of it.
    type Miss = (u32, Option<Move>);

    #[test]
    fn misses_move_a_policy_on() {
        let second = Duration::from_secs(1);
        let cases: &[(&str, &[Miss])] = &[
            ("two are forgiven", &[(0, None), (1, None), (11, None), (12, None), (30, None)]),
            ("the third within ten seconds", &[(0, None), (1, None), (9, Some(Move::ToPool))]),
            ("the first is too long ago", &[(0, None), (5, None), (10, None), (11, Some(Move::ToPool))]),
            (
                "it goes on in the pool",
                &[
                    (0, None),
                    (0, None),
                    (0, Some(Move::ToPool)),
                    (0, None),
                    (0, None),
                    (0, Some(Move::RefuseFor(second))),
                    (0, None),
                ],
            ),
        ];
        for (row, misses) in cases {
            let (start, mut conduct) = (Instant::now(), Conduct::default());
            for (index, (at, want)) in misses.iter().enumerate() {
                assert_eq!(conduct.missed(start + second * *at), *want, "{row}: miss {index}");
            }
        }
    }

    #[test]
    fn each_time_it_is_refused_for_longer() {
        let now = Instant::now();
        let mut conduct = Conduct::default();
        let first: Vec<_> = (0..6).filter_map(|_| conduct.missed(now)).collect();
        assert_eq!(first, [Move::ToPool, Move::RefuseFor(Duration::from_secs(1))]);
        for want in [2, 4, 8, 16, 32, 60, 60] {
            conduct.readmit();
            assert_eq!(conduct.missed(now), Some(Move::RefuseFor(Duration::from_secs(want))));
        }
    }

    #[test]
    fn replacements_cost_a_twentieth_of_a_core() {
        let (start, ms) = (Instant::now(), Duration::from_millis(1));
        let mut debt = RebuildDebt::new(start);
        for _ in 0..20 {
            assert_eq!(debt.wait(start), Duration::ZERO, "the first ones are free");
            debt.add(ms, start);
        }
        debt.add(ms, start);
        assert_eq!(debt.wait(start), ms * 20);
        assert_eq!(debt.wait(start + ms * 20), Duration::ZERO);
        assert_eq!(debt.wait(start + ms * 10_000), Duration::ZERO);
    }
}
