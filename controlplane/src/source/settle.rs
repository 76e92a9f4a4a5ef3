//! When to read: soon after a change, but not while a file is being written.
//!
//! A pure rule over events and times; it does not know where events come from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was seen of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Its bytes changed: a writer may hold it open.
    Written(PathBuf),
    /// A writer closed it, or it was renamed, made or removed: it is as it will be.
    Settled(PathBuf),
    /// Anything may have changed.
    Anything,
}

/// Gathers sightings into moments at which to read.
#[derive(Debug, Default)]
pub(super) struct Settle {
    /// Since when and until when each was written.
    writing: HashMap<PathBuf, (Instant, Instant)>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Settle {
    pub(super) fn saw(&mut self, sighting: Sighting, now: Instant) {
        match sighting {
            Sighting::Written(path) => {
                self.writing.entry(path).and_modify(|span| span.1 = now).or_insert((now, now));
            }
            Sighting::Settled(path) => {
                self.writing.remove(&path);
            }
            Sighting::Anything => self.writing.clear(),
        }
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// When to read next: a little after the last sighting, though never long after the first; or when a file that was
    /// being written has been quiet so long that its writer will not say that it is done.
    pub(super) fn due(&self) -> Option<Instant> {
        let quiet = self.last.zip(self.first).map(|(last, first)| (last + QUIET).min(first + QUIET_MAX));
        quiet.into_iter().chain(self.writing.values().map(written_out)).min()
    }

    /// Reading begins. What is still being written is left as it was read last.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.first, self.last) = (None, None);
        self.writing.retain(|_, span| written_out(span) > now);
    }

    pub(super) fn is_writing(&self, path: &Path) -> bool {
        self.writing.contains_key(path)
    }
}

fn written_out((since, until): &(Instant, Instant)) -> Instant {
    (*until + WRITING).min(*since + WRITING_MAX)
}

/// One save of an editor is several events within a millisecond.
const QUIET: Duration = Duration::from_millis(4);
const QUIET_MAX: Duration = Duration::from_millis(40);
/// A writer that pauses longer than this is taken to be done, also where the system reports no closing.
const WRITING: Duration = Duration::from_millis(200);
const WRITING_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn reading_waits_for_the_writer_and_not_for_ever() {
        let (start, file) = (Instant::now(), PathBuf::from("a.yaml"));
        let mut settle = Settle::default();
        assert_eq!(settle.due(), None);
        settle.saw(Sighting::Written(file.clone()), at(start, 0));
        assert_eq!(settle.due(), Some(at(start, 4)));
        settle.begin(at(start, 4));
        assert!(settle.is_writing(&file), "others are read meanwhile");
        assert_eq!(settle.due(), Some(at(start, 200)));
        settle.saw(Sighting::Settled(file.clone()), at(start, 30));
        assert_eq!(settle.due(), Some(at(start, 34)));
        settle.begin(at(start, 34));
        assert!(!settle.is_writing(&file));
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn an_endless_stream_of_changes_is_read_now_and_then() {
        let start = Instant::now();
        let mut settle = Settle::default();
        for millis in 0..100 {
            settle.saw(Sighting::Settled(format!("{millis}.yaml").into()), at(start, millis));
        }
        assert_eq!(settle.due(), Some(at(start, 40)));
        let file = PathBuf::from("log.yaml");
        let mut settle = Settle::default();
        for millis in (0..5000).step_by(50) {
            settle.saw(Sighting::Written(file.clone()), at(start, millis));
            settle.first = None;
            settle.last = None;
        }
        assert_eq!(settle.due(), Some(at(start, 2000)));
    }
}
