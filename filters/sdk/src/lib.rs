//! What a Rust filter is written against: one trait, one macro, names instead of slots, and a harness for plain tests.
//!
//! It does not know the host's limits or where a filter is attached; those belong to the mesh's configuration.
//!
//! ```
//! use serde::Deserialize;
//! use weft_filter_sdk::{ConfigError, Filter, Interest, Request, Verdict};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! pub struct Config {
//!     gold: String,
//! }
//!
//! pub struct Tier(Config);
//!
//! impl Filter for Tier {
//!     type Config = Config;
//!
//!     fn configure(config: Config, interest: &mut Interest) -> Result<Self, ConfigError> {
//!         interest.request("x-user");
//!         interest.set_request("x-tier");
//!         interest.pick("v2");
//!         Ok(Self(config))
//!     }
//!
//!     fn on_request(&self, request: &Request) -> Verdict {
//!         match request.header("x-user") {
//!             Some(user) if user == self.0.gold => request.forward().set("x-tier", "gold").pick("v2").into(),
//!             _ => Verdict::Pass,
//!         }
//!     }
//! }
//!
//! weft_filter_sdk::export!(filter: Tier, world: request-filter);
//! # fn main() {
//! let tier = weft_filter_sdk::testing::configure::<Tier>(r#"{"gold": "ann"}"#).unwrap();
//! let outcome = tier.request(weft_filter_sdk::testing::get("/").header("x-user", "ann"));
//! assert_eq!(outcome.set("x-tier"), Some("gold"));
//! assert_eq!(outcome.picked(), Some("v2"));
//! # }
//! ```

mod abi;
#[cfg(any(test, all(target_arch = "wasm32", feature = "runtime")))]
mod allocator;
#[cfg_attr(not(any(test, target_arch = "wasm32")), allow(dead_code, reason = "without a host nobody brings arguments"))]
mod arguments;
#[cfg(any(test, all(target_arch = "wasm32", feature = "runtime")))]
mod compare;
mod config;
mod filter;
mod host;
mod interest;
mod macros;
mod reply;
mod request;
mod response;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(all(target_arch = "wasm32", feature = "runtime"))]
#[global_allocator]
static BLOCKS: allocator::Blocks<allocator::Linear> = allocator::Blocks::new(allocator::Linear);

#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod guest;

pub use bindings::request::weft::filter::types::{Denial, Reply, ResponseVerdict, Verdict};
pub use config::{ConfigError, OneOrMany, Pairs, parse as parse_config};
pub use filter::Filter;
pub use host::{Level, log, now_ms, random};
pub use interest::{Counter, Interest, Pick, RequestAttribute, RequestHeader, ResponseAttribute, ResponseHeader};
pub use request::{Forward, Request};
pub use response::{Edits, Response};
