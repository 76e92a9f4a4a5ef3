//! One policy: a component with one config, and its instances.
//!
//! It does not know to what requests it applies.

use crate::{Component, Engine, Figures, Manifest, ManifestError};
use std::sync::Arc;
use std::time::Duration;

/// What a policy runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySettings {
    /// The policy's name in failures, logs and metrics.
    pub key: String,
    /// Digest of the component, for logs.
    pub component: String,
    /// JSON, passed to `configure`.
    pub config: String,
    /// Of one call of a handler.
    pub deadline: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory_max: u64,
    pub on_failure: OnFailure,
    pub non_utf8: NonUtf8,
}

/// What the caller does with a request whose filter gave no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Answer 503.
    Refuse,
    /// Go on as if the filter had said `pass`.
    Skip,
}

/// What happens to a request attribute that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonUtf8 {
    /// [`crate::FailureKind::NotUtf8`].
    Refuse,
    /// The filter sees none.
    Absent,
}

#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("filter {filter} refused its config: {reason}")]
    Config { filter: String, reason: String },
    #[error("filter {filter}: {source}")]
    Manifest { filter: String, source: ManifestError },
    #[error("filter {filter} answered the same config with another manifest; `configure` must be deterministic")]
    NotDeterministic { filter: String },
    #[error("filter {filter} failed in `configure`: {reason}")]
    Configure { filter: String, reason: String },
    #[error("filter {filter}: no instance could be made: {reason}")]
    Instance { filter: String, reason: String },
    #[error("filter {filter}: {field} is {value}, outside {min} to {max}")]
    Setting { filter: String, field: &'static str, value: String, min: String, max: String },
}

/// A clone is another handle; the instances go with the last one, on a thread of the engine's own.
#[derive(Clone)]
pub struct Policy {
    inner: Arc<Inner>,
}

struct Inner {
    settings: PolicySettings,
    manifest: Manifest,
}

impl Policy {
    /// Makes and configures one instance for each worker. Blocks, for up to a second where the filter is slow: never
    /// call it on a worker.
    pub fn prepare(
        _engine: &Engine,
        _component: &Component,
        settings: PolicySettings,
        _workers: usize,
    ) -> Result<Self, PrepareError> {
        Err(PrepareError::Instance { filter: settings.key, reason: "not written yet".to_owned() })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    pub fn settings(&self) -> &PolicySettings {
        &self.inner.settings
    }

    /// Takes no lock.
    pub fn figures(&self) -> Figures {
        Figures::default()
    }
}
