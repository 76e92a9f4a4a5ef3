//! Runs policies as Wasm components: loads what the control plane compiled, calls it synchronously on the worker's
//! own thread, and survives whatever it does.
//!
//! It deliberately knows nothing of HTTP types, YAML, registries or the mesh; the only crate that sees wasmtime.
//! The reasons and the measurements behind it are in ARCHITECTURE.md and docs/.

pub mod admission;
mod check;
#[cfg(feature = "compiler")]
pub mod compile;
mod component;
mod conduct;
mod contract;
mod engine;
mod failure;
mod figures;
mod host;
mod instance;
mod keeper;
mod ledger;
mod manifest;
mod message;
mod policy;
mod pool;
mod rehearsal;
mod runner;
mod settings;
mod target;
mod verdict;
mod watch;

pub use component::{Component, LoadError};
pub use engine::{Engine, EngineError, EngineOptions};
pub use failure::{Failure, FailureKind};
pub use figures::{Figures, Place};
pub use manifest::{Attribute, ENTRIES_MAX, ENTRY_BYTES_MAX, Manifest, ManifestError, Writable};
pub use message::Message;
pub use policy::{Isolation, NonUtf8, OnFailure, Policy, PolicySettings, PrepareError};
pub use runner::Runner;
pub use settings::artifact_key;
pub use verdict::{Denial, Edit, Forward, Op, Reply, ResponseVerdict, Verdict};
