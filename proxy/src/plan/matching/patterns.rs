//! Which of many patterns match a path? Sets that are run at once, in the order of their blocks.
//!
//! It does not compile single patterns (`pattern`).

use crate::plan::pattern::{InvalidPattern, whole};
use regex::{RegexSet, RegexSetBuilder};

/// Patterns in one set; more make the automaton slow rather than the walk short.
const SET_MAX: usize = 256;

/// Compiled bytes of one set.
const SET_BYTES_MAX: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Patterns {
    sets: Vec<Set>,
}

#[derive(Debug)]
struct Set {
    set: RegexSet,
    /// Block numbers, ascending, one for each pattern.
    numbers: Vec<u32>,
}

impl Patterns {
    /// Pairs of block number and pattern, ascending; fails with the number.
    pub(super) fn new(patterns: &[(u32, &str)]) -> Result<Self, (u32, InvalidPattern)> {
        let mut sets = Vec::new();
        for chunk in patterns.chunks(SET_MAX) {
            build(chunk, &mut sets)?;
        }
        Ok(Self { sets })
    }

    /// The lowest number below `limit` whose pattern matches and for which `also` is true.
    pub(super) fn first(&self, path: &str, limit: u32, mut also: impl FnMut(u32) -> bool) -> Option<u32> {
        self.sets.iter().take_while(|set| set.numbers.first().is_some_and(|first| *first < limit)).find_map(|set| {
            let matched = set.set.matches(path);
            matched.iter().map(|index| set.numbers[index]).take_while(|number| *number < limit).find(|n| also(*n))
        })
    }
}

/// Halves what is too large together.
fn build(patterns: &[(u32, &str)], sets: &mut Vec<Set>) -> Result<(), (u32, InvalidPattern)> {
    let sources: Result<Vec<String>, _> =
        patterns.iter().map(|(number, pattern)| whole(pattern).map_err(|error| (*number, error))).collect();
    match RegexSetBuilder::new(sources?).size_limit(SET_BYTES_MAX).build() {
        Ok(set) => {
            sets.push(Set { set, numbers: patterns.iter().map(|(number, _)| *number).collect() });
            Ok(())
        }
        Err(error) if patterns.len() < 2 => {
            let (number, pattern) = patterns[0];
            let reason = error.to_string();
            Err((number, InvalidPattern::Syntax { pattern: pattern.to_owned(), reason }))
        }
        Err(_) => {
            let (first, second) = patterns.split_at(patterns.len() / 2);
            build(first, sets)?;
            build(second, sets)
        }
    }
}
