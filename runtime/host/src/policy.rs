//! One policy: a component with one config, as the caller prepares and holds it.
//!
//! It does not know to what requests it applies, nor how its instances are kept (`policy/instances.rs`).

mod fresh;
mod instances;

pub(crate) use instances::Inner;

use crate::instance::{Blueprint, Leash, MakeError};
use crate::ledger::Ledger;
use crate::{Component, Engine, FailureKind, Figures, Manifest, ManifestError};
use crate::{contract, settings};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

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
    pub isolation: Isolation,
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
    /// [`FailureKind::NotUtf8`].
    Refuse,
    /// The filter sees none.
    Absent,
}

/// Which instance a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// The one that its worker keeps: what a call leaves in the instance, the next one finds.
    Reuse,
    /// One that has served nothing, dropped after the call. The two phases of an exchange are two calls: what is to get
    /// from the request to its response is the verdict's `state`, and no instance waits for an upstream.
    Request,
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
    Configure { filter: String, kind: FailureKind, reason: String },
    #[error("filter {filter}: no instance could be made: {reason}")]
    Instance { filter: String, reason: String },
    #[error("filter {filter}: {max} filters are prepared already, old generations included; use fewer")]
    TooMany { filter: String, max: usize },
    #[error("filter {filter}: {field} is {value}, outside {min} to {max}")]
    Setting { filter: String, field: &'static str, value: String, min: String, max: String },
}

/// Instantiation and `configure` together, the first time.
const CONFIGURE_DEADLINE: Duration = Duration::from_secs(1);
const DEADLINE_MIN: Duration = Duration::from_micros(100);
const DEADLINE_MAX: Duration = Duration::from_secs(1);
const MEMORY_BYTES_MIN: u64 = 64 << 10;
const CONFIG_BYTES_MAX: usize = 512 << 10;
/// Bytes of a config error's text; the rest is cut.
const CONFIG_ERROR_BYTES_MAX: usize = 4 << 10;

/// A clone is another handle; the instances go with the last one, on a thread of the engine's own.
#[derive(Clone)]
pub struct Policy {
    pub(crate) inner: Arc<Inner>,
}

impl Policy {
    /// Makes and configures one instance for each worker and a spare. Blocks, for up to a second for each instance
    /// where the filter is slow: never call it on a worker.
    pub fn prepare(
        engine: &Engine,
        component: &Component,
        settings: PolicySettings,
        workers: usize,
    ) -> Result<Self, PrepareError> {
        check(&settings)?;
        let filter = settings.key.as_str();
        let max = engine.inner.options.policies_max;
        let admitted = engine.admit().ok_or_else(|| PrepareError::TooMany { filter: filter.to_owned(), max })?;
        let ledger = Arc::new(Ledger::new(filter));
        let blueprint = Blueprint {
            component: component.clone(),
            config: settings.config.clone(),
            memory_max: settings.memory_max,
            ledger: Arc::clone(&ledger),
            // A rehearsal is a call, and one that is met for the first time has served none.
            unrehearsed: AtomicBool::new(settings.isolation == Isolation::Request),
        };
        let maker = engine.inner.maker();
        let leash = Leash { watch: &engine.inner.watch, slot: maker.slot, deadline: CONFIGURE_DEADLINE };
        let make = || blueprint.make(&engine.inner, leash).map_err(|error| named(filter, error));

        let begun = Instant::now();
        let (first, raw_manifest) = make()?;
        let first_took = begun.elapsed();
        let manifest = accept(component, &raw_manifest)
            .map_err(|source| PrepareError::Manifest { filter: filter.to_owned(), source })?;
        ledger.declare(manifest.counters.len());
        let (mut made, mut quickest) = (vec![first], first_took);
        while made.len() < instances::wanted(workers) {
            let begun = Instant::now();
            let (next, again) = make()?;
            quickest = quickest.min(begun.elapsed());
            if again != raw_manifest {
                return Err(PrepareError::NotDeterministic { filter: filter.to_owned() });
            }
            made.push(next);
        }
        drop(maker);
        let refill_deadline = (first_took * 4 + Duration::from_millis(20)).min(CONFIGURE_DEADLINE);
        let origin = instances::Origin { admitted, blueprint, manifest, raw_manifest, refill_deadline };
        let inner = Inner::new(settings, origin, workers, made);
        inner.settle(quickest);
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.inner.origin.manifest
    }

    pub fn settings(&self) -> &PolicySettings {
        &self.inner.settings
    }

    /// Takes no lock.
    pub fn figures(&self) -> Figures {
        self.inner.figures()
    }
}

fn check(settings: &PolicySettings) -> Result<(), PrepareError> {
    let outside = |field, value: String, min: String, max: String| {
        Err(PrepareError::Setting { filter: settings.key.clone(), field, value, min, max })
    };
    if !(DEADLINE_MIN..=DEADLINE_MAX).contains(&settings.deadline) {
        let [value, min, max] = [settings.deadline, DEADLINE_MIN, DEADLINE_MAX].map(|time| format!("{time:?}"));
        return outside("limits.deadline", value, min, max);
    }
    let (memory, memory_max) = (settings.memory_max, settings::MEMORY_BYTES_MAX);
    if !(MEMORY_BYTES_MIN..=memory_max).contains(&memory) {
        let [value, min, max] = [memory, MEMORY_BYTES_MIN, memory_max].map(|bytes| format!("{bytes} bytes"));
        return outside("limits.memory", value, min, max);
    }
    if settings.config.len() > CONFIG_BYTES_MAX {
        let [value, min, max] = [settings.config.len(), 0, CONFIG_BYTES_MAX].map(|bytes| format!("{bytes} bytes"));
        return outside("config", value, min, max);
    }
    Ok(())
}

fn accept(component: &Component, raw: &contract::Manifest) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::parse(raw)?;
    if !manifest.response.is_empty() && !component.has_response_phase() {
        return Err(ManifestError::NoResponsePhase { interface: contract::RESPONSE_PHASE });
    }
    Ok(manifest)
}

fn named(filter: &str, error: MakeError) -> PrepareError {
    let filter = filter.to_owned();
    match error {
        MakeError::Instance(reason) => PrepareError::Instance { filter, reason },
        MakeError::Configure(fault) => PrepareError::Configure { filter, kind: fault.kind, reason: fault.reason },
        MakeError::Config(mut reason) => {
            reason.truncate(reason.floor_char_boundary(CONFIG_ERROR_BYTES_MAX));
            PrepareError::Config { filter, reason }
        }
    }
}
