//! Whom a change concerns, and how many run what: by host, workload, filter and object, kept up as proxies are told
//! something else, so that a change costs nothing for those whom it does not concern.
//!
//! It does not know what a proxy is sent, nor when.

use super::event::StreamId;
use super::standing::Count;
use super::tellings::Telling;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use weft_snapshot::{Digest, FilterKey, Host, WorkloadName};

#[derive(Default)]
pub(super) struct Audience {
    streams: HashMap<StreamId, Hears>,
    by_workload: Lists<WorkloadName>,
    by_host: Lists<Host>,
    by_filter: Lists<FilterKey>,
    by_object: HashMap<Arc<str>, Runs>,
}

/// What one stream's proxy should run, and what it has acknowledged or said that it has.
#[derive(Clone, Default)]
pub(super) struct Hears {
    pub(super) target: Option<Arc<Telling>>,
    pub(super) runs: Option<Arc<Telling>>,
}

/// Of one object, by path.
#[derive(Default)]
struct Runs {
    /// Proxies whose target is made of it.
    affected: usize,
    /// How many of these run which version of it.
    versions: HashMap<Digest, usize>,
}

impl Audience {
    pub(super) fn add(&mut self, stream: StreamId, workload: &WorkloadName) {
        self.by_workload.add(workload, stream);
        self.streams.insert(stream, Hears::default());
    }

    pub(super) fn remove(&mut self, stream: StreamId, workload: &WorkloadName) {
        self.hears(stream, Hears::default());
        self.streams.remove(&stream);
        self.by_workload.remove(workload, stream);
    }

    pub(super) fn hears(&mut self, stream: StreamId, now: Hears) {
        let Some(before) = self.streams.get_mut(&stream) else { return };
        if before.is(&now) {
            return;
        }
        let before = std::mem::replace(before, now.clone());
        self.count(&before, |runs| runs.affected -= 1, less);
        self.count(&now, |runs| runs.affected += 1, |versions, digest| *versions.entry(digest).or_default() += 1);
        let (before, now) = (before.target.as_deref(), now.target.as_deref());
        self.by_host.replace(stream, before.map(|telling| &telling.hosts), now.map(|telling| &telling.hosts));
        self.by_filter.replace(stream, before.map(|telling| &telling.filters), now.map(|telling| &telling.filters));
    }

    fn count(
        &mut self,
        of: &Hears,
        affected: impl Fn(&mut Runs),
        version: impl Fn(&mut HashMap<Digest, usize>, Digest),
    ) {
        let runs = of.runs.as_ref().map_or(&[][..], |telling| &telling.objects);
        for (path, _) in of.target.iter().flat_map(|telling| &telling.objects) {
            let counted = self.by_object.entry(path.clone()).or_default();
            affected(counted);
            // A list in the order of paths, each once.
            if let Ok(index) = runs.binary_search_by(|(own, _)| own.cmp(path)) {
                version(&mut counted.versions, runs[index].1);
            }
            if counted.affected == 0 {
                self.by_object.remove(path);
            }
        }
    }

    pub(super) fn of_workload(&self, workload: &WorkloadName) -> BTreeSet<StreamId> {
        self.by_workload.of([workload])
    }

    pub(super) fn of_filters<'a>(&self, filters: impl IntoIterator<Item = &'a FilterKey>) -> BTreeSet<StreamId> {
        self.by_filter.of(filters)
    }

    /// Those that are told of one of these hosts, and these workloads' own.
    pub(super) fn concerned(&self, hosts: &BTreeSet<Host>, workloads: &BTreeSet<WorkloadName>) -> BTreeSet<StreamId> {
        let mut streams = self.by_host.of(hosts);
        streams.extend(self.by_workload.of(workloads));
        streams
    }

    /// Objects that concern somebody.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_object.keys()
    }

    /// `version`: the one that counts now.
    pub(super) fn tally(&self, path: &str, version: Option<Digest>) -> Count {
        let Some(runs) = self.by_object.get(path) else { return Count::default() };
        let acknowledged = version.and_then(|version| runs.versions.get(&version)).copied().unwrap_or_default();
        Count { affected: runs.affected, acknowledged }
    }
}

impl Hears {
    fn is(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Telling>>, b: &Option<Arc<Telling>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same(&self.target, &other.target) && same(&self.runs, &other.runs)
    }
}

fn less(versions: &mut HashMap<Digest, usize>, digest: Digest) {
    if let Some(count) = versions.get_mut(&digest) {
        *count -= 1;
        if *count == 0 {
            versions.remove(&digest);
        }
    }
}

/// Streams by what they have in common.
struct Lists<K>(HashMap<K, BTreeSet<StreamId>>);

impl<K> Default for Lists<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash + Ord> Lists<K> {
    fn add(&mut self, key: &K, stream: StreamId) {
        match self.0.get_mut(key) {
            Some(streams) => drop(streams.insert(stream)),
            None => drop(self.0.insert(key.clone(), [stream].into())),
        }
    }

    fn remove(&mut self, key: &K, stream: StreamId) {
        let Some(streams) = self.0.get_mut(key) else { return };
        streams.remove(&stream);
        if streams.is_empty() {
            self.0.remove(key);
        }
    }

    fn replace(&mut self, stream: StreamId, before: Option<&BTreeSet<K>>, now: Option<&BTreeSet<K>>) {
        if before == now {
            return;
        }
        let nothing = BTreeSet::new();
        let (before, now) = (before.unwrap_or(&nothing), now.unwrap_or(&nothing));
        before.difference(now).for_each(|key| self.remove(key, stream));
        now.difference(before).for_each(|key| self.add(key, stream));
    }

    fn of<'a>(&self, keys: impl IntoIterator<Item = &'a K>) -> BTreeSet<StreamId>
    where
        K: 'a,
    {
        keys.into_iter().filter_map(|key| self.0.get(key)).flatten().copied().collect()
    }
}
