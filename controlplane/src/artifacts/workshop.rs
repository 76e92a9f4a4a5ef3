//! What jobs work with, shared by all of them: the store, the compilers, and the engine that asks components.
//!
//! It does not know Filters.

use super::facts::Artifact;
use super::good::PolicyAsk;
use super::peers::{Made, Peers};
use super::stock::{Item, Stock};
use super::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use weft_filter_host::{
    Engine, Isolation, Manifest, NonUtf8, OnFailure, PolicySettings, admission, artifact_key, compile,
};
use weft_snapshot::{Digest, FilterKey};

pub(super) struct Workshop {
    pub(super) store: Store,
    pub(super) engine: Engine,
    pub(super) compilers: BTreeMap<String, PathBuf>,
    /// Keys of `compilers` for which proxies have asked, beside this program's own.
    pub(super) demanded: watch::Receiver<BTreeSet<String>>,
    /// One compilation at a time: it takes all cores and much memory.
    pub(super) compiling: Semaphore,
    pub(super) pulling: Semaphore,
    pub(super) peers: Arc<dyn Peers>,
    pub(super) compilations: Arc<AtomicU64>,
}

/// Pulls at the same time.
pub(super) const PULLS_MAX: usize = 4;

impl Workshop {
    /// What is compiled for now.
    pub(super) fn keys(&self) -> BTreeSet<String> {
        std::iter::once(artifact_key()).chain(self.demanded.borrow().iter().cloned()).collect()
    }

    fn compiler(&self, key: &str) -> Result<&Path, String> {
        self.compilers.get(key).map(PathBuf::as_path).ok_or_else(|| format!("there is no compiler for {key} here"))
    }

    /// One replica compiles for all; where it does not, this one does.
    pub(super) async fn compiled(self: &Arc<Self>, component: Digest, key: &str) -> Result<Artifact, String> {
        if self.store.artifact(component, key).is_none()
            && self.peers.make(component, key, &Stock::of(&self.store)).await == Made::There
            && let Some(artifact) = self.store.artifact(component, key)
        {
            return Ok(artifact);
        }
        self.compiled_here(component, key).await
    }

    /// For another replica, which may have got the component first.
    pub(super) async fn make(self: &Arc<Self>, component: Digest, key: &str) -> Result<Item, String> {
        let stock = Stock::of(&self.store);
        if let Some(item) = stock.artifact(component, key) {
            return Ok(item);
        }
        self.compiler(key)?;
        let arrived = async {
            while self.store.component(component).is_none() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let absent = |_| format!("the component {component} did not come here within {ARRIVAL_MAX:?}");
        tokio::time::timeout(ARRIVAL_MAX, arrived).await.map_err(absent)?;
        self.compiled_here(component, key).await?;
        stock.artifact(component, key).ok_or_else(|| "what was compiled is gone again".to_owned())
    }

    async fn compiled_here(self: &Arc<Self>, component: Digest, key: &str) -> Result<Artifact, String> {
        let program = self.compiler(key)?.to_owned();
        let _turn = self.compiling.acquire().await;
        if let Some(artifact) = self.store.artifact(component, key) {
            return Ok(artifact);
        }
        let (shop, key) = (Arc::clone(self), key.to_owned());
        blocking(move || {
            let path = shop.store.component(component).ok_or("the component is gone from the store")?;
            let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            shop.compilations.fetch_add(1, Ordering::Relaxed);
            let native = compile::in_subprocess_for(&program, &key, &bytes).map_err(|error| error.to_string())?;
            shop.store.add_artifact(component, &key, &native).map_err(|error| error.to_string())
        })
        .await
    }

    /// The manifest of a component with one config, or why it refuses.
    pub(super) async fn admitted(
        self: &Arc<Self>,
        own: &Artifact,
        key: &FilterKey,
        ask: &PolicyAsk,
    ) -> Result<Manifest, String> {
        let settings = PolicySettings {
            key: key.0.clone(),
            component: own.component.to_string(),
            config: ask.config.clone(),
            deadline: ask.deadline,
            memory_max: ask.memory_max,
            on_failure: OnFailure::Refuse,
            non_utf8: NonUtf8::Refuse,
            isolation: Isolation::Reuse,
        };
        let (engine, path) = (self.engine.clone(), own.path.clone());
        blocking(move || admission::admit(&engine, &path, settings).map_err(|error| error.to_string())).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("the attempt broke off: {error}")))
}

/// All replicas are told of a Filter at the same time, and pull at their own pace.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
