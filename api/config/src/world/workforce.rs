//! All workloads, by name, label and address: made once, and kept as long as none of them changes.
//!
//! It does not know what selects them, nor for which services they answer.

use crate::identity;
use crate::kind::WorkloadEntry;
use crate::names::{LabelSet, selects};
use crate::object::Object;
use rpds::VectorSync;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use weft_snapshot::WorkloadName;

type Entry = Arc<Object<WorkloadEntry>>;

#[derive(Debug, Default)]
pub(crate) struct Workforce {
    /// In the order of their names; what the maps number.
    entries: VectorSync<Entry>,
    places: Arc<Places>,
}

/// Where each of the entries is found.
#[derive(Debug, Default)]
struct Places {
    by_name: BTreeMap<WorkloadName, usize>,
    /// By a hash of namespace, key and value, so that a selector looks at few of them.
    by_label: HashMap<u64, Vec<usize>>,
    by_namespace: HashMap<String, Vec<usize>>,
    /// Pods at addresses of their own.
    by_address: HashMap<IpAddr, usize>,
}

impl Workforce {
    /// The one before, where it is the same. `given`: pods, then WorkloadEntries by age.
    pub(super) fn of(given: &[Entry], previous: &Arc<Self>) -> Arc<Self> {
        let known = |entry: &Entry| previous.get(&identity::name(entry)).is_some_and(|other| Arc::ptr_eq(entry, other));
        let same = given.len() == previous.entries.len() && given.iter().all(known);
        if same { Arc::clone(previous) } else { Arc::new(Self::new(given)) }
    }

    fn new(given: &[Entry]) -> Self {
        let mut by_name: BTreeMap<WorkloadName, &Entry> = BTreeMap::new();
        for entry in given {
            // A pod's name is its identity; a WorkloadEntry of that name does not take its place. Of each kind the last.
            let name = identity::name(entry);
            match by_name.get(&name) {
                Some(other) if other.spec.pod.is_some() && entry.spec.pod.is_none() => {}
                _ => drop(by_name.insert(name, entry)),
            }
        }
        let entries: VectorSync<Entry> = by_name.values().copied().cloned().collect();
        let by_name = by_name.into_keys().zip(0..).collect();
        let mut places = Places { by_name, ..Places::default() };
        for (number, entry) in entries.iter().enumerate() {
            let namespace = entry.meta.namespace();
            for label in &entry.spec.labels {
                places.by_label.entry(hash(namespace, label)).or_default().push(number);
            }
            match places.by_namespace.get_mut(namespace) {
                Some(all) => all.push(number),
                None => drop(places.by_namespace.insert(namespace.to_owned(), vec![number])),
            }
            let addresses = entry.spec.pod.iter().flat_map(|pod| &pod.addresses);
            places.by_address.extend(addresses.map(|address| (*address, number)));
        }
        Self { entries, places: Arc::new(places) }
    }

    /// With another entry in the place of one, whose name, labels and addresses it has. `None`: that one is not here.
    pub(super) fn with(&self, name: &WorkloadName, old: &Entry, new: &Entry) -> Option<Self> {
        let number = *self.places.by_name.get(name)?;
        let here = self.entries.get(number).filter(|entry| Arc::ptr_eq(entry, old));
        here.and_then(|_| self.entries.set(number, new.clone()))
            .map(|entries| Self { entries, places: self.places.clone() })
    }

    pub(crate) fn get(&self, name: &WorkloadName) -> Option<&Entry> {
        self.places.by_name.get(name).and_then(|number| self.entries.get(*number))
    }

    /// In the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&WorkloadName, &Entry)> {
        self.places.by_name.keys().zip(self.entries.iter())
    }

    /// In the order of their names.
    pub(super) fn matching(&self, namespace: &str, selector: &LabelSet) -> Vec<Entry> {
        let none: &[usize] = &[];
        let by_label =
            selector.iter().map(|label| self.places.by_label.get(&hash(namespace, label)).map_or(none, Vec::as_slice));
        let fewest = by_label.min_by_key(|entries| entries.len());
        let fewest = fewest.unwrap_or_else(|| self.places.by_namespace.get(namespace).map_or(none, Vec::as_slice));
        let entries = fewest.iter().filter_map(|number| self.entries.get(*number));
        // Hashes may agree by accident.
        let chosen = entries.filter(|e| e.meta.namespace() == namespace && selects(selector, &e.spec.labels));
        chosen.cloned().collect()
    }

    pub(super) fn at(&self, address: &IpAddr) -> Option<&Entry> {
        self.places.by_address.get(address).and_then(|number| self.entries.get(*number))
    }
}

fn hash(namespace: &str, label: (&String, &String)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, label).hash(&mut hasher);
    hasher.finish()
}
