//! What the load saw: requests, failures, and how the versions of reviews shared them.

use super::expectation::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Kept in words; the number of failures is exact.
const WORDS_MAX: usize = 20;

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Score {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) failures: Vec<String>,
    /// Requests of each call.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// Answers of reviews by its version.
    pub(super) versions: BTreeMap<String, u64>,
    #[serde(skip)]
    pub(super) slowest: Duration,
}

impl Score {
    pub(super) fn add(&mut self, call: &'static str, took: Duration, judged: Result<Verdict, String>) {
        self.requests += 1;
        *self.calls.entry(call).or_default() += 1;
        self.slowest = self.slowest.max(took);
        match judged {
            Ok(Verdict::Right) => {}
            Ok(Verdict::Version(version)) => *self.versions.entry(version).or_default() += 1,
            Err(failure) => {
                self.failed += 1;
                if self.failures.len() < WORDS_MAX {
                    self.failures.push(format!("{call}: {failure}"));
                }
            }
        }
    }

    /// Answers of reviews by version since an earlier look.
    pub(super) fn versions_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let before = |version: &String| earlier.versions.get(version).copied().unwrap_or(0);
        self.versions.iter().map(|(version, count)| (version.clone(), count - before(version))).collect()
    }
}

/// Whether a share that was seen is one that the weights give: within five standard deviations of a binomial draw, and
/// one percent more for the answers that were under way when the weights changed.
pub(super) fn is_plausible(seen: u64, of: u64, wanted: f64) -> bool {
    if of == 0 {
        return wanted == 0.0;
    }
    let (of, seen) = (of as f64, seen as f64);
    let deviation = (of * wanted * (1.0 - wanted)).sqrt();
    (seen - of * wanted).abs() <= 5.0 * deviation + 0.01 * of + 1.0
}

/// `v1 90.2% ████████████████████  v3 9.8% ██`
pub(super) fn bars(versions: &BTreeMap<String, u64>) -> String {
    let total: u64 = versions.values().sum();
    let bars = versions.iter().map(|(version, count)| {
        let share = if total == 0 { 0.0 } else { *count as f64 / total as f64 };
        format!("{version} {:5.1}% {:<20}", share * 100.0, "█".repeat((share * 20.0).round() as usize))
    });
    bars.collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_that_the_weights_give() {
        let cases = [
            (90, 100, 0.9, true),
            (50, 100, 0.9, false),
            (0, 0, 0.5, false),
            (0, 1000, 0.1, false),
            (520, 1000, 0.5, true),
        ];
        for (seen, of, wanted, plausible) in cases {
            assert_eq!(is_plausible(seen, of, wanted), plausible, "{seen} of {of} where {wanted} is wanted");
        }
    }

    #[test]
    fn failures_are_counted_and_the_first_kept_in_words() {
        let mut score = Score::default();
        for _ in 0..30 {
            score.add("reviews", Duration::ZERO, Err("status 503".into()));
        }
        score.add("reviews", Duration::ZERO, Ok(Verdict::Version("v1".into())));
        assert_eq!((score.requests, score.failed, score.failures.len()), (31, 30, WORDS_MAX));
        assert_eq!(score.versions_since(&Score::default()), BTreeMap::from([("v1".into(), 1)]));
    }
}
