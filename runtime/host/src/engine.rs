//! The one engine of a process: wasmtime's own, the functions that filters may import, the watchdog and the threads
//! behind it.
//!
//! It does not know single policies.

use crate::contract;
use crate::host::{self, Host};
use crate::keeper::Keeper;
use crate::pool::Pool;
use crate::settings;
use crate::target::Target;
use crate::watch::Watch;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// How much an engine is built for.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Worker threads; each has one [`crate::Runner`].
    pub workers: usize,
    /// Policies that may be prepared at the same time, old generations included. Each instance of one reserves 4 GiB
    /// of address space, and as much memory as it uses.
    pub policies_max: usize,
    /// Calls after which an instance is replaced by a fresh one.
    pub recycle_calls: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { workers: 2, policies_max: 256, recycle_calls: 10_000_000 }
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
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: wasmtime::component::Linker<Host>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) options: EngineOptions,
    pub(crate) keeper: Keeper,
    pub(crate) started: Instant,
    /// Started when the first policy leaves the workers: most proxies never need it.
    pool: OnceLock<Pool>,
    makers: Makers,
    seeds: AtomicU64,
    policies: AtomicUsize,
}

/// The place of one policy among `policies_max`.
pub(crate) struct Admitted(Arc<Inner>);

/// The slots of threads that prepare policies.
struct Makers {
    free: Mutex<Vec<usize>>,
    returned: Condvar,
}

/// A slot of the watchdog that the current thread uses while it prepares a policy.
pub(crate) struct MakerSlot<'a> {
    makers: &'a Makers,
    pub(crate) slot: usize,
}

/// Policies prepared at the same time; further ones wait.
const MAKERS: usize = 4;

impl Engine {
    /// Starts two threads: the watchdog and the keeper.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        if let Some(feature) = settings::missing_cpu_feature() {
            return Err(EngineError::Cpu { feature, baseline: Target::OWN.baseline() });
        }
        let wasm = settings::to_run().and_then(|config| wasmtime::Engine::new(&config)).map_err(refused)?;
        let linker = host::linker(&wasm).map_err(refused)?;
        let (pool, keeper) = (options.workers, options.workers + Pool::THREADS);
        let makers = keeper + 1..keeper + 1 + MAKERS;
        debug_assert_eq!(pool + Pool::THREADS, keeper, "slots: workers, pool, keeper, makers");
        let epoch = wasm.clone();
        let watch = Watch::start(makers.end, move || epoch.increment_epoch()).map_err(refused)?;
        let keeper = Keeper::start(Arc::clone(&watch), keeper).map_err(refused)?;
        let inner = Inner {
            wasm,
            linker,
            watch,
            options,
            keeper,
            started: Instant::now(),
            pool: OnceLock::new(),
            makers: Makers { free: Mutex::new(makers.collect()), returned: Condvar::new() },
            seeds: AtomicU64::new(seed()),
            policies: AtomicUsize::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A place for one more policy, or none where there are as many as there may be.
    pub(crate) fn admit(&self) -> Option<Admitted> {
        let policies = &self.inner.policies;
        let room = |count: usize| (count < self.inner.options.policies_max).then_some(count + 1);
        policies.try_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Admitted(Arc::clone(&self.inner)))
    }
}

impl Inner {
    /// The pool for slow policies, started at first use.
    pub(crate) fn pool(&self) -> &Pool {
        self.pool.get_or_init(|| Pool::start(&self.watch, self.options.workers))
    }

    /// Waits for a slot of the watchdog and takes it for the current thread.
    pub(crate) fn maker(&self) -> MakerSlot<'_> {
        let mut free = self.makers.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(slot) = free.pop() {
                self.watch.claim(slot);
                return MakerSlot { makers: &self.makers, slot };
            }
            free = self.makers.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A seed for the random numbers of one instance.
    pub(crate) fn next_seed(&self) -> u64 {
        self.seeds.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }

    /// Milliseconds since the engine started: fits an atomic where an `Instant` does not.
    pub(crate) fn clock_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

impl Admitted {
    pub(crate) fn engine(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.policies.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for MakerSlot<'_> {
    fn drop(&mut self) {
        self.makers.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
        self.makers.returned.notify_one();
    }
}

fn refused(reason: impl std::fmt::Display) -> EngineError {
    EngineError::Start { reason: format!("{reason:#}") }
}

/// Unpredictable enough for what `host.random` promises.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(contract::HOST)
}
