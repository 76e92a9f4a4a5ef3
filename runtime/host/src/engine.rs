//! The one engine of a process: settings, the pool of instances and the watchdog.
//!
//! It does not know policies.

/// How much an engine is built for.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Worker threads; each has one [`crate::Runner`].
    pub workers: usize,
    /// Policies that may be prepared at the same time, old generations included. Bounds address space, not memory.
    pub policies_max: usize,
    /// Calls after which an instance is replaced by a fresh one.
    pub recycle_calls: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { workers: 2, policies_max: 128, recycle_calls: 10_000_000 }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the filter engine cannot start: {reason}")]
    Start { reason: String },
    #[error("this CPU lacks {feature}, which filters are compiled for ({baseline}); run on a newer CPU")]
    Cpu { feature: &'static str, baseline: &'static str },
}

/// One per process; a clone is another handle.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    pub fn new(_options: EngineOptions) -> Result<Self, EngineError> {
        Err(EngineError::Start { reason: "not written yet".to_owned() })
    }
}

/// Names the artifacts that this build can run: exact wasmtime version, target, CPU baseline and a hash of the
/// settings. Letters, digits, `.`, `-` and `_` only.
pub fn artifact_key() -> String {
    String::new()
}
