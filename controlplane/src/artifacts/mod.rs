//! From the image that a Filter names to native code that a proxy may load: resolve, pull, compile, admit, keep.
//!
//! ```text
//! want(policies) ─▶ loop of events ─▶ jobs: resolve → pull → compile → admit ─▶ Facts (watch)
//!                        │                                  store: components, artifacts, what was last good
//! ```
//! Whatever fails, the last good version stays published. It does not know proxies, views or the stream; `weft proxy`
//! uses it without a control plane.

mod facts;
mod problem;

pub use facts::{Artifact, Facts, FilterStatus, PolicyFact, Progress, Version};
pub use problem::{FilterProblem, ProblemKind};

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use weft_config::Policy;
use weft_filter_host::Engine;
use weft_oci::{Limits, Registries};

/// What there is to work with.
pub struct ArtifactsOptions {
    /// Of our own, made if it is missing: components, artifacts and what was last good. 0700, files 0600.
    pub folder: PathBuf,
    /// Runs `configure` as admission.
    pub engine: Engine,
    /// By artifact key, the program whose hidden subcommand `filter-compile` makes such artifacts. Usually one: this
    /// program, under its own key.
    pub compilers: BTreeMap<String, PathBuf>,
    pub limits: Limits,
}

impl ArtifactsOptions {
    /// This program compiles, for proxies of its own version.
    pub fn new(folder: PathBuf, engine: Engine) -> std::io::Result<Self> {
        let compilers = BTreeMap::from([(weft_filter_host::artifact_key(), std::env::current_exe()?)]);
        Ok(Self { folder, engine, compilers, limits: Limits::default() })
    }
}

/// What is wanted now; replaces what was wanted before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub policies: Vec<Policy>,
    pub registries: Registries,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the filter store {path}: {reason}; make it a folder that only this user may read and write")]
    Folder { path: String, reason: String },
}

/// A handle on the loop, which ends when the last handle goes.
#[derive(Clone)]
pub struct Artifacts {
    wanted: watch::Sender<(u64, Wanted)>,
    facts: watch::Receiver<Arc<Facts>>,
}

impl Artifacts {
    /// Opens the store and starts the loop on the runtime at hand.
    pub fn start(options: ArtifactsOptions) -> Result<Self, StartError> {
        Err(StartError::Folder { path: options.folder.display().to_string(), reason: "not written yet".to_owned() })
    }

    /// Answers a running number: facts that reflect it have taken `wanted` in.
    pub fn want(&self, wanted: Wanted) -> u64 {
        let mut number = 0;
        self.wanted.send_modify(|current| {
            number = current.0 + 1;
            *current = (number, wanted);
        });
        number
    }

    /// Changes whenever something else is published.
    pub fn facts(&self) -> watch::Receiver<Arc<Facts>> {
        self.facts.clone()
    }
}
