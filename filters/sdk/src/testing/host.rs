//! The host's answers in a plain test: a log and counters to look at, chance and time as they were set.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::Level;

thread_local! {
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    static COUNTERS: RefCell<BTreeMap<u32, u64>> = const { RefCell::new(BTreeMap::new()) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    static HEADERS: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

/// The lines that filters on this thread have logged since the last call.
pub fn logged() -> Vec<(Level, String)> {
    LOG.take()
}

/// What filters on this thread have added to the counter declared `slot`-th.
pub fn counted(slot: u32) -> u64 {
    COUNTERS.with_borrow(|counters| counters.get(&slot).copied().unwrap_or_default())
}

/// What `random` answers next; each call adds 1 times an odd constant, so that a series is spread and repeatable.
pub fn set_random(value: u64) {
    RANDOM.set(value);
}

/// What `now_ms` answers.
pub fn set_now_ms(value: u64) {
    NOW_MS.set(value);
}

/// The headers of the message that is asked about.
pub(super) fn set_headers(headers: Vec<(String, String)>) {
    HEADERS.set(headers);
}

pub(crate) fn header(name: &str) -> Option<String> {
    HEADERS.with_borrow(|headers| headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone()))
}

pub(crate) fn header_values(name: &str) -> Vec<Vec<u8>> {
    HEADERS.with_borrow(|headers| {
        headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.clone().into_bytes()).collect()
    })
}

pub(crate) fn header_names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    HEADERS.with_borrow(|headers| {
        for (name, _) in headers {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    });
    names
}

pub(crate) fn log(level: Level, message: &str) {
    LOG.with_borrow_mut(|log| log.push((level, message.to_owned())));
}

pub(crate) fn count(counter: u32, delta: u64) {
    COUNTERS.with_borrow_mut(|counters| *counters.entry(counter).or_default() += delta);
}

pub(crate) fn random() -> u64 {
    RANDOM.replace(RANDOM.get().wrapping_add(0x9e37_79b9_7f4a_7c15))
}

pub(crate) fn now_ms() -> u64 {
    NOW_MS.get()
}
