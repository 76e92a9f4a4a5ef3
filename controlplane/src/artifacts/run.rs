//! The loop: takes one event after the other, asks the rules (tracks) what to do, starts jobs and publishes facts.
//!
//! It decides nothing itself, and is the only one that writes what was last good and removes from the store.

use super::cupboard::Cupboard;
use super::facts::Facts;
use super::good::{Good, asks};
use super::job::Outcome;
use super::keep::Retired;
use super::sources::Sources;
use super::store::Store;
use super::tracks::Tracks;
use super::workshop::{PULLS_MAX, Workshop};
use super::{ArtifactsOptions, StateError, Wanted};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use weft_oci::Limits;

/// What may happen.
enum Event {
    Wanted,
    Demanded,
    Done {
        filter: String,
        number: u64,
        outcome: Box<Outcome>,
    },
    LayoutChanged,
    Due,
    /// Nobody wants anything any more.
    Closed,
}

/// What comes from outside.
pub(super) struct Asked {
    pub(super) wants: watch::Receiver<(u64, Wanted)>,
    /// Artifact keys beside this program's own.
    pub(super) demands: watch::Receiver<BTreeSet<String>>,
}

pub(super) struct Loop {
    shop: Arc<Workshop>,
    limits: Limits,
    cupboard: Arc<dyn Cupboard>,
    sources: Arc<Sources>,
    wanted: Wanted,
    asked: Asked,
    publish: watch::Sender<Arc<Facts>>,
    tracks: Tracks,
    written: BTreeMap<String, Good>,
    retired: Retired,
    /// Jobs put their outcomes in; it holds more than there are jobs, since each Filter has one at most.
    outcomes: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    layouts: Layouts,
}

const OUTCOMES_MAX: usize = 64;
/// What ran may be dropped later even when nothing happens.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Loop {
    pub(super) fn open(
        options: ArtifactsOptions,
        asked: Asked,
        publish: watch::Sender<Arc<Facts>>,
    ) -> Result<Self, StateError> {
        let store = Store::open(&options.folder)?;
        let written = store.last_good();
        let shop = Workshop {
            store,
            engine: options.engine,
            compilers: options.compilers,
            demanded: asked.demands.clone(),
            compiling: Semaphore::new(1),
            pulling: Semaphore::new(PULLS_MAX),
            peers: options.peers,
            compilations: options.compilations,
        };
        let wanted = Wanted::default();
        Ok(Self {
            tracks: Tracks::new(written.clone(), shop.keys()),
            shop: Arc::new(shop),
            sources: Arc::new(sources(&wanted, &options.limits, &options.cupboard)),
            limits: options.limits,
            cupboard: options.cupboard,
            wanted,
            asked,
            publish,
            written,
            retired: Retired::default(),
            outcomes: mpsc::channel(OUTCOMES_MAX),
            layouts: Layouts::new(),
        })
    }

    pub(super) fn shop(&self) -> Arc<Workshop> {
        Arc::clone(&self.shop)
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.event().await {
                Event::Wanted => self.want(),
                Event::Demanded => self.tracks.compile_for(self.shop.keys(), Instant::now()),
                Event::Done { filter, number, outcome } => {
                    self.tracks.done(&filter, number, *outcome, Instant::now());
                }
                Event::LayoutChanged => self.tracks.layout_changed(Instant::now()),
                Event::Due => {}
                Event::Closed => return,
            }
            self.start_jobs();
            self.layouts.follow(&self.tracks.layouts());
            self.keep();
            self.publish();
        }
    }

    async fn event(&mut self) -> Event {
        let now = Instant::now();
        let wait = self.tracks.next().map_or(SWEEP_EVERY, |next| next.saturating_duration_since(now).min(SWEEP_EVERY));
        tokio::select! {
            changed = self.asked.wants.changed() => match changed {
                Ok(()) => Event::Wanted,
                Err(_) => Event::Closed,
            },
            // Whoever closes the one closes the other.
            Ok(()) = self.asked.demands.changed() => Event::Demanded,
            Some(done) = self.outcomes.1.recv() => done,
            () = self.layouts.changed.notified() => Event::LayoutChanged,
            () = tokio::time::sleep(wait) => Event::Due,
        }
    }

    fn want(&mut self) {
        let (number, wanted) = self.asked.wants.borrow_and_update().clone();
        let now = Instant::now();
        if (&wanted.registries, &wanted.needs) != (&self.wanted.registries, &self.wanted.needs) {
            self.sources = Arc::new(sources(&wanted, &self.limits, &self.cupboard));
            self.tracks.retry_failures(now);
        }
        self.tracks.want(number, asks(&wanted.policies), now);
        self.wanted = wanted;
    }

    fn start_jobs(&mut self) {
        for job in self.tracks.start(Instant::now()) {
            let (shop, sources, outcomes) =
                (Arc::clone(&self.shop), Arc::clone(&self.sources), self.outcomes.0.clone());
            tokio::spawn(async move {
                let (filter, number) = (job.filter.clone(), job.number);
                let outcome = Box::new(job.run(shop, sources).await);
                // It fails when the loop has ended.
                let _ = outcomes.send(Event::Done { filter, number, outcome }).await;
            });
        }
    }

    /// Writes what is good before anybody is told, and drops what nobody needs.
    fn keep(&mut self) {
        let good = self.tracks.good();
        if good != self.written {
            match self.shop.store.keep_last_good(&good) {
                Ok(()) => self.written = good,
                Err(error) => tracing::warn!(%error, "a restart will have to resolve images anew"),
            }
        }
        // A job may be about to use what nothing names yet.
        if self.tracks.idle() {
            let held = self.shop.store.held();
            for component in self.retired.sweep(&held, &self.tracks.components(), Instant::now()) {
                if let Err(error) = self.shop.store.remove(component) {
                    tracing::warn!(%error, %component, "it cannot be removed from the filter store");
                }
            }
        }
    }

    fn publish(&self) {
        let facts = self.tracks.facts(&self.shop.store, self.shop.store.held().into_keys());
        self.publish.send_if_modified(|current| {
            let changed = **current != facts;
            if changed {
                say(current, &facts);
                *current = Arc::new(facts);
            }
            changed
        });
    }
}

fn sources(wanted: &Wanted, limits: &Limits, cupboard: &Arc<dyn Cupboard>) -> Sources {
    Sources::new(wanted.registries.clone(), wanted.needs.clone(), limits.clone(), Arc::clone(cupboard))
}

/// What somebody who reads the log wants to know.
fn say(before: &Facts, after: &Facts) {
    for (name, filter) in &after.filters {
        let was = before.filters.get(name);
        if let Some(running) = filter.running.filter(|running| was.and_then(|was| was.running) != Some(*running)) {
            tracing::info!(filter = %name, image = %running.image, component = %running.component, "filter is ready");
        }
        let known = was.map(|was| was.problems.as_slice()).unwrap_or_default();
        for problem in filter.problems.iter().filter(|problem| !known.contains(problem)) {
            tracing::warn!("{problem}");
        }
    }
}

/// Folders of images whose tags are followed: a push there is seen at once.
struct Layouts {
    /// Where the system cannot watch, `refresh` alone decides.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    changed: Arc<Notify>,
}

impl Layouts {
    fn new() -> Self {
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let index = |path: &PathBuf| path.file_name().is_some_and(|name| name == "index.json");
            if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(index)) {
                notify.notify_one();
            }
        });
        Self { watcher: watcher.ok(), watched: BTreeSet::new(), changed }
    }

    fn follow(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for path in self.watched.difference(wanted) {
            // The folder may be gone, and its watch with it.
            let _ = watcher.unwatch(path);
        }
        self.watched.retain(|path| wanted.contains(path));
        for path in wanted {
            // A folder that does not exist yet is tried again at the next event; meanwhile its lookup fails and backs off.
            if !self.watched.contains(path) && watcher.watch(path, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(path.clone());
            }
        }
    }
}
