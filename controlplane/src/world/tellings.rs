//! Snapshots in the form in which they travel, made once for all proxies whose views are equal.
//!
//! It does not know proxies; it gets questions (viewpoints) and gives answers, on all cores, off the reactor.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use weft_config::{FilterFacts, Hosts, Peers, Subject, UnknownWorkload, View, Viewpoint, World, compile};
use weft_snapshot::{Digest, FilterKey, Host, Snapshot, Trust, WorkloadName};
use weft_wire::{Holding, Ledger, proto};

/// All that one proxy is told.
pub(super) struct Telling {
    pub(super) revision: String,
    pub(super) holding: Holding,
    ledger: Ledger,
    /// What a proxy that is told this may fetch.
    pub(super) artifacts: BTreeSet<Digest>,
    pub(super) filters: BTreeSet<FilterKey>,
    /// Of `filters`, those that cannot be fetched (yet).
    pub(super) lacking: BTreeSet<FilterKey>,
    /// The cluster's rules that it is made of: path, and digest of what each says. In the order of paths.
    pub(super) objects: Vec<(Arc<str>, Digest)>,
    /// Of which it says something.
    pub(super) hosts: BTreeSet<Host>,
}

impl Telling {
    fn of(view: &View) -> Self {
        Self { objects: view.objects(), hosts: view.hosts(), ..Self::of_snapshot(&compile(view)) }
    }

    pub(super) fn of_snapshot(snapshot: &Snapshot) -> Self {
        let ledger = Ledger::of(snapshot);
        let artifacts = snapshot.filters().filter_map(|filter| filter.artifact).collect();
        let lacking = snapshot.filters().filter(|filter| filter.artifact.is_none());
        let lacking = lacking.map(|filter| filter.key.clone()).collect();
        Self {
            revision: ledger.revision(),
            holding: ledger.holding(),
            ledger,
            artifacts,
            filters: snapshot.filters().map(|filter| filter.key.clone()).collect(),
            lacking,
            objects: Vec::new(),
            hosts: BTreeSet::new(),
        }
    }

    pub(super) fn update_from(&self, held: &Holding) -> proto::Update {
        self.ledger.update_from(held)
    }

    pub(super) fn bytes(&self) -> usize {
        self.ledger.size()
    }
}

/// By the hash of the view, which is a complete key.
#[derive(Default)]
pub(super) struct Tellings {
    by_view: HashMap<Digest, Weak<Telling>>,
    /// So many that counted still were there when the others were thrown out.
    kept: usize,
}

/// Work that was done for answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) views: usize,
    pub(super) compiled: usize,
}

/// One proxy's question.
pub(super) struct Question<'a> {
    pub(super) workload: &'a WorkloadName,
    pub(super) asked: &'a BTreeSet<Host>,
    pub(super) filters: &'a FilterFacts,
}

/// What all questions of one round share.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) world: &'a World,
    pub(super) peers: &'a Peers,
    pub(super) trust: &'a Trust,
}

impl Tellings {
    /// In the order of the questions, and what they took.
    pub(super) fn answer(
        &mut self,
        ground: Ground<'_>,
        questions: &[Question<'_>],
    ) -> (Vec<Result<Arc<Telling>, UnknownWorkload>>, Work) {
        let views = on_all_cores(questions, |question| {
            let subject = Subject::Workload(question.workload.clone());
            let viewpoint = Viewpoint {
                subject: &subject,
                hosts: Hosts::Asked(question.asked),
                peers: ground.peers,
                filters: question.filters,
                trust: ground.trust,
            };
            ground.world.view(&viewpoint).map(|view| (view.hash(), view))
        });
        let mut known: HashMap<Digest, Arc<Telling>> = HashMap::new();
        let mut new: HashMap<Digest, &View> = HashMap::new();
        for (hash, view) in views.iter().flatten() {
            match self.by_view.get(hash).and_then(Weak::upgrade) {
                Some(telling) => drop(known.insert(*hash, telling)),
                None => drop(new.insert(*hash, view)),
            }
        }
        let new: Vec<(Digest, &View)> = new.into_iter().collect();
        let made = on_all_cores(&new, |(hash, view)| (*hash, Arc::new(Telling::of(view))));
        self.by_view.extend(made.iter().map(|(hash, telling)| (*hash, Arc::downgrade(telling))));
        let work = Work { views: views.len(), compiled: made.len() };
        known.extend(made);
        let find = |(hash, _): (Digest, View)| known[&hash].clone();
        let answers = views.into_iter().map(|view| view.map(find)).collect();
        self.trim();
        (answers, work)
    }

    /// Throws out what no proxy has, is sent or should have: rarely, since it takes a look at all.
    fn trim(&mut self) {
        if self.by_view.len() > 2 * self.kept + SPARE_MAX {
            self.by_view.retain(|_, telling| telling.strong_count() > 0);
            self.kept = self.by_view.len();
        }
    }
}

/// Maps a slice in order; a few items at once on the calling thread, many on several.
fn on_all_cores<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if items.len() < ALONE_MAX || cores == 1 {
        return items.iter().map(map).collect();
    }
    let parts = items.chunks(items.len().div_ceil(cores));
    std::thread::scope(|scope| {
        let map = &map;
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || part.iter().map(map).collect::<Vec<R>>())).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("views and snapshots are made without panics"))
            .collect()
    })
}

const ALONE_MAX: usize = 16;
const SPARE_MAX: usize = 256;
