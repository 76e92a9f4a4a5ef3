//! By what a match block is best found: the condition that it shares with the fewest other blocks.
//!
//! Blocks that are found are still asked for all of their conditions.

use crate::plan::pattern::literal_prefix;
use http::HeaderName;
use std::collections::HashMap;
use weft_snapshot::{Match, StringMatch};

/// What the index holds a block under. In order of preference where blocks are equally many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum BlockKey {
    Path(Vec<u8>),
    /// In lower case.
    PathAnyCase(Vec<u8>),
    Header(HeaderName, Vec<u8>),
    Prefix(Vec<u8>),
    PrefixAnyCase(Vec<u8>),
    /// One set for all patterns that begin with nothing certain.
    Pattern,
    /// Asked for every request.
    Every,
}

/// One key for each block.
pub(super) fn keys(blocks: &[&Match]) -> Vec<BlockKey> {
    let mut shared: HashMap<BlockKey, usize> = HashMap::new();
    for option in blocks.iter().flat_map(|block| options(block)) {
        *shared.entry(option).or_default() += 1;
    }
    let rarest = |block: &&Match| {
        let options = options(block).into_iter();
        options.min_by_key(|option| weight(option, shared[option])).unwrap_or(BlockKey::Every)
    };
    blocks.iter().map(rarest).collect()
}

/// How much asking for a key costs: how many blocks lie under it, those that every request asks for counted double.
fn weight(key: &BlockKey, shared: usize) -> usize {
    match key {
        BlockKey::Every | BlockKey::Pattern => shared.saturating_mul(2),
        // All requests begin with `/`.
        BlockKey::Prefix(prefix) | BlockKey::PrefixAnyCase(prefix) if prefix.len() <= 1 => shared.saturating_mul(2),
        _ => shared,
    }
}

fn options(block: &Match) -> Vec<BlockKey> {
    let mut options = Vec::new();
    let lower = |text: &str| text.to_ascii_lowercase().into_bytes();
    match (&block.uri, block.ignore_uri_case) {
        (Some(StringMatch::Exact(path)), false) => options.push(BlockKey::Path(path.clone().into_bytes())),
        (Some(StringMatch::Exact(path)), true) => options.push(BlockKey::PathAnyCase(lower(path))),
        (Some(StringMatch::Prefix(path)), false) => options.push(BlockKey::Prefix(path.clone().into_bytes())),
        (Some(StringMatch::Prefix(path)), true) => options.push(BlockKey::PrefixAnyCase(lower(path))),
        (Some(StringMatch::Regex(pattern)), _) => {
            let literal = literal_prefix(pattern);
            if literal.len() > 1 {
                options.push(BlockKey::Prefix(literal.into_bytes()));
            }
            options.push(BlockKey::Pattern);
        }
        (Some(StringMatch::Present) | None, _) => options.push(BlockKey::Every),
    }
    let exact = block.headers.iter().filter_map(|(name, wanted)| match wanted {
        StringMatch::Exact(value) => Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value)),
        _ => None,
    });
    options.extend(exact.map(|(name, value)| BlockKey::Header(name, value.clone().into_bytes())));
    options
}
