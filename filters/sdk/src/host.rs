//! What a filter may ask of its host: a log line, a counter, chance, the time.
//!
//! Outside of a component there is no host: a filter in a plain test finds the answers that
//! [`testing`](crate::testing) holds ready.

#[cfg(target_arch = "wasm32")]
use crate::bindings::request::weft::filter::host as imported;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host as imported;

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::request::weft::filter::request as lazy;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::host as lazy;

pub use crate::bindings::request::weft::filter::host::Level;

/// One line to the proxy's log.
pub fn log(level: Level, message: &str) {
    imported::log(level, message);
}

/// 64 random bits, not for cryptography.
pub fn random() -> u64 {
    imported::random()
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    imported::now_ms()
}

pub(crate) fn count(counter: u32, delta: u64) {
    imported::count(counter, delta);
}
