//! From the image that a Filter names to native code that a proxy may load: resolve, pull, compile, admit, keep.
//!
//! ```text
//! want(policies) ─▶ one loop over events ─▶ jobs: resolve → pull → compile → admit
//!                    tracks: the rules          │
//!                         Facts (watch) ◀───────┘  store: components, artifacts, what was last good
//! ```
//! Whatever fails, the last good version stays published. It does not know proxies, views or the stream; `weft proxy`
//! uses it without a control plane.

mod cupboard;
mod facts;
mod good;
mod job;
mod keep;
mod peers;
mod problem;
mod run;
mod sources;
mod stock;
mod store;
mod tracks;
mod wanted;
mod workshop;

pub use crate::state::StateError;
pub use cupboard::{Cupboard, Needs, NoCluster, Place, PlaceKind, Shut};
pub use facts::{Artifact, Facts, FilterStatus, PolicyFact, Progress, Version};
pub use peers::{LastGood, Made, NoPeers, Peers};
pub use problem::{FilterProblem, ProblemKind};
pub use stock::{Intake, Item, Stock};
pub use wanted::Wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::watch;
use weft_filter_host::Engine;
use weft_oci::Limits;
use weft_snapshot::Digest;
use workshop::Workshop;

/// What there is to work with.
pub struct ArtifactsOptions {
    /// Of our own, made if it is missing: components, artifacts and what was last good. 0700, files 0600.
    pub folder: PathBuf,
    /// Runs `configure` as admission.
    pub engine: Engine,
    /// By artifact key, the program whose hidden subcommand `filter-compile` makes such artifacts: this program, under
    /// its own key and that of the other processors it can compile for, and those of earlier releases.
    pub compilers: BTreeMap<String, PathBuf>,
    pub limits: Limits,
    /// Where what registries want to see lies in a cluster.
    pub cupboard: Arc<dyn Cupboard>,
    /// Other replicas at work.
    pub peers: Arc<dyn Peers>,
    /// Counts what is compiled here.
    pub compilations: Arc<AtomicU64>,
}

impl ArtifactsOptions {
    /// Programs in a folder, each of which compiles for proxies of another version. What is no compiler is named in the
    /// log and passed over. Blocks.
    pub fn add_compilers(&mut self, folder: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match weft_filter_host::compile::keys_of(&path) {
                Ok(keys) => {
                    for key in keys {
                        tracing::info!(program = %path.display(), key, "compiles filters too");
                        self.compilers.entry(key).or_insert_with(|| path.clone());
                    }
                }
                Err(error) => tracing::warn!(%error, "a file in --compilers is passed over"),
            }
        }
        Ok(())
    }

    /// This program compiles, for proxies of its own version on any processor.
    pub fn new(folder: PathBuf, engine: Engine) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        let compilers = weft_filter_host::compile::keys().into_iter().map(|key| (key, program.clone())).collect();
        Ok(Self {
            folder,
            engine,
            compilers,
            limits: Limits::default(),
            cupboard: Arc::new(NoCluster),
            peers: Arc::new(NoPeers),
            compilations: Arc::default(),
        })
    }
}

/// A handle on the loop, which ends when the last handle goes.
#[derive(Clone)]
pub struct Artifacts {
    wanted: watch::Sender<(u64, Wanted)>,
    demanded: watch::Sender<BTreeSet<String>>,
    facts: watch::Receiver<Arc<Facts>>,
    shop: Arc<Workshop>,
}

impl Artifacts {
    /// Opens the store and starts the loop on the runtime at hand.
    pub fn start(options: ArtifactsOptions) -> Result<Self, StateError> {
        let (wanted, wants) = watch::channel((0, Wanted::default()));
        let (demanded, demands) = watch::channel(BTreeSet::new());
        let (publish, facts) = watch::channel(Arc::default());
        let running = run::Loop::open(options, run::Asked { wants, demands }, publish)?;
        let shop = running.shop();
        tokio::spawn(running.run());
        Ok(Self { wanted, demanded, facts, shop })
    }

    /// True where there is a compiler for this key.
    pub fn serves(&self, key: &str) -> bool {
        self.shop.compilers.contains_key(key)
    }

    /// From now on everything wanted is compiled for this key too, if it can be.
    pub fn demand(&self, key: &str) {
        if self.serves(key) && *key != weft_filter_host::artifact_key() {
            self.demanded.send_if_modified(|keys| keys.insert(key.to_owned()));
        }
    }

    /// Answers a running number: facts that reflect it have taken `wanted` in, and hold what was last good of it. What
    /// is wanted already keeps its number, and is no work.
    pub fn want(&self, wanted: Wanted) -> u64 {
        self.wanted.send_if_modified(|(number, current)| {
            let news = *number == 0 || *current != wanted;
            if news {
                (*number, *current) = (*number + 1, wanted);
            }
            news
        });
        self.wanted.borrow().0
    }

    /// For another replica.
    pub fn stock(&self) -> Stock {
        Stock::of(&self.shop.store)
    }

    /// For another replica: native code that is here, or is made now, of a component that is here or is about to come.
    pub async fn make(&self, component: Digest, key: &str) -> Result<Item, String> {
        self.shop.make(component, key).await
    }

    /// Changes whenever something else is published.
    pub fn facts(&self) -> watch::Receiver<Arc<Facts>> {
        self.facts.clone()
    }

    /// The first facts in which everything that `number` wanted has been tried.
    pub async fn settled(&self, number: u64) -> Arc<Facts> {
        let mut facts = self.facts.clone();
        let tried = facts.wait_for(|facts| facts.reflects >= number && facts.settled()).await;
        match tried {
            Ok(facts) => Arc::clone(&facts),
            // The loop has ended with its runtime; nothing more will come.
            Err(_) => Arc::clone(&self.facts.borrow()),
        }
    }
}
