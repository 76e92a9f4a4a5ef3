//! Finds the first rule of a service that matches a request, at a cost that hardly grows with the number of rules.
//!
//! It does not know what a rule does.

mod condition;

use super::pattern::InvalidPattern;
use super::{Chosen, Route};
use crate::headers::Head;
use condition::Conditions;
use std::sync::Arc;
use weft_snapshot as snapshot;

/// The rules of one service.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    routes: Box<[Arc<Route>]>,
    /// One per match block, in the order of the rules.
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    rule: usize,
    conditions: Conditions,
}

impl Matcher {
    /// `routes` and `rules` are parallel.
    pub(super) fn new(routes: Vec<Arc<Route>>, rules: &[snapshot::Rule]) -> Result<Self, (usize, InvalidPattern)> {
        let mut blocks = Vec::new();
        for (rule, matches) in rules.iter().map(|rule| &rule.matches).enumerate() {
            let every = [snapshot::Match::default()];
            let matches = if matches.is_empty() { &every[..] } else { matches };
            for block in matches {
                blocks.push(Block { rule, conditions: Conditions::new(block).map_err(|error| (rule, error))? });
            }
        }
        Ok(Self { routes: routes.into(), blocks })
    }

    pub(super) fn choose(&self, head: &Head, port: u16) -> Option<Chosen<'_>> {
        let block = self.blocks.iter().find(|block| block.conditions.hold(head, port))?;
        Some(Chosen { route: &self.routes[block.rule], matched: block.conditions.matched() })
    }
}
