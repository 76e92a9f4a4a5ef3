//! Finds the first rule of a service that matches a request, at a cost that hardly grows with the number of rules.
//!
//! Each match block lies in the index under one of its conditions; what a request finds there is asked for the rest,
//! and the lowest number wins. It does not know what a rule does.

mod condition;
mod key;
mod patterns;
mod trie;

use super::pattern::InvalidPattern;
use super::{Chosen, Route};
use crate::headers::Head;
use condition::{Conditions, Uri, joined};
use foldhash::fast::RandomState;
use http::HeaderName;
use key::BlockKey;
use patterns::Patterns;
use std::collections::HashMap;
use std::sync::Arc;
use trie::Trie;
use weft_snapshot as snapshot;

/// The rules of one service.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    routes: Box<[Arc<Route>]>,
    /// One per match block, in the order of the rules; a block's number is its place here.
    blocks: Vec<Block>,
    paths: HashMap<Vec<u8>, Vec<u32>, RandomState>,
    paths_any_case: HashMap<Vec<u8>, Vec<u32>, RandomState>,
    prefixes: Trie,
    prefixes_any_case: Trie,
    headers: HashMap<HeaderName, HashMap<Vec<u8>, Vec<u32>, RandomState>, RandomState>,
    patterns: Patterns,
    every: Vec<u32>,
    any_case: AnyCase,
}

#[derive(Debug)]
struct Block {
    rule: usize,
    conditions: Conditions,
}

/// Whether a path has to be looked for in lower case too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AnyCase {
    #[default]
    Never,
    Also,
}

/// The lowest block that matched so far.
struct Search<'m, 'r> {
    matcher: &'m Matcher,
    head: &'r Head,
    port: u16,
    best: u32,
}

const NONE: u32 = u32::MAX;

impl Matcher {
    /// `routes` and `rules` are parallel; fails with the index of a rule.
    pub(super) fn new(routes: Vec<Arc<Route>>, rules: &[snapshot::Rule]) -> Result<Self, (usize, InvalidPattern)> {
        let every = snapshot::Match::default();
        let blocks: Vec<(usize, &snapshot::Match)> = rules
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| {
                let all = if rule.matches.is_empty() { std::slice::from_ref(&every) } else { &rule.matches[..] };
                all.iter().map(move |block| (index, block))
            })
            .collect();
        Self::of_blocks(routes, &blocks)
    }

    fn of_blocks(
        routes: Vec<Arc<Route>>,
        blocks: &[(usize, &snapshot::Match)],
    ) -> Result<Self, (usize, InvalidPattern)> {
        let matches: Vec<&snapshot::Match> = blocks.iter().map(|(_, block)| *block).collect();
        let mut matcher = Self { routes: routes.into(), ..Self::default() };
        let mut patterns = Vec::new();
        for ((number, key), (rule, block)) in (0..).zip(key::keys(&matches)).zip(blocks) {
            let uri = match (&key, &block.uri) {
                (BlockKey::Pattern, Some(snapshot::StringMatch::Regex(pattern))) => {
                    patterns.push((number, pattern.as_str()));
                    Uri::MatchedBefore
                }
                _ => Uri::Asked,
            };
            let conditions = Conditions::new(block, uri).map_err(|error| (*rule, error))?;
            matcher.blocks.push(Block { rule: *rule, conditions });
            matcher.insert(key, number);
        }
        matcher.patterns = Patterns::new(&patterns).map_err(|(number, error)| (blocks[number as usize].0, error))?;
        Ok(matcher)
    }

    fn insert(&mut self, key: BlockKey, number: u32) {
        if matches!(key, BlockKey::PathAnyCase(_) | BlockKey::PrefixAnyCase(_)) {
            self.any_case = AnyCase::Also;
        }
        match key {
            BlockKey::Path(path) => self.paths.entry(path).or_default().push(number),
            BlockKey::PathAnyCase(path) => self.paths_any_case.entry(path).or_default().push(number),
            BlockKey::Header(name, value) => {
                self.headers.entry(name).or_default().entry(value).or_default().push(number);
            }
            BlockKey::Prefix(prefix) => self.prefixes.insert(&prefix, number),
            BlockKey::PrefixAnyCase(prefix) => self.prefixes_any_case.insert(&prefix, number),
            BlockKey::Pattern => {}
            BlockKey::Every => self.every.push(number),
        }
    }

    pub(super) fn choose(&self, head: &Head, port: u16) -> Option<Chosen<'_>> {
        let mut search = Search { matcher: self, head, port, best: NONE };
        let path = head.path.path();
        if let Some(numbers) = self.paths.get(path.as_bytes()) {
            search.ask(numbers);
        }
        self.prefixes.walk(path.as_bytes(), |numbers| search.ask(numbers));
        if self.any_case == AnyCase::Also {
            let lower = path.to_ascii_lowercase();
            if let Some(numbers) = self.paths_any_case.get(lower.as_bytes()) {
                search.ask(numbers);
            }
            self.prefixes_any_case.walk(lower.as_bytes(), |numbers| search.ask(numbers));
        }
        search.by_headers();
        search.ask(&self.every);
        let others_hold = |number: u32| self.blocks[number as usize].conditions.hold(head, port);
        if let Some(number) = self.patterns.first(path, search.best, others_hold) {
            search.best = number;
        }
        let block = self.blocks.get(search.best as usize)?;
        Some(Chosen { route: &self.routes[block.rule], matched: block.conditions.matched() })
    }
}

impl Search<'_, '_> {
    /// `numbers` ascend: the first that holds is the best of them, and none after the best so far matters.
    fn ask(&mut self, numbers: &[u32]) {
        let better = numbers.iter().take_while(|number| **number < self.best);
        let found = better.copied().find(|n| self.matcher.blocks[*n as usize].conditions.hold(self.head, self.port));
        self.best = found.unwrap_or(self.best);
    }

    fn by_headers(&mut self) {
        let (indexed, given) = (&self.matcher.headers, &self.head.headers);
        // Whichever is fewer: the names that rules ask for, or those that the request has.
        if indexed.len() <= given.keys_len() {
            for (name, values) in indexed {
                self.by_header(name, values);
            }
        } else {
            for name in given.keys() {
                if let Some(values) = indexed.get(name) {
                    self.by_header(name, values);
                }
            }
        }
    }

    fn by_header(&mut self, name: &HeaderName, values: &HashMap<Vec<u8>, Vec<u32>, RandomState>) {
        let given = joined(&self.head.headers, name);
        if let Some(numbers) = given.and_then(|given| values.get(&*given)) {
            self.ask(numbers);
        }
    }
}

#[cfg(test)]
mod tests;
