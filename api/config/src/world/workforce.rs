//! All workloads, by name, label and address: made once, and kept as long as none of them changes.
//!
//! It does not know what selects them, nor for which services they answer.

use crate::identity;
use crate::kind::WorkloadEntry;
use crate::names::{LabelSet, selects};
use crate::object::Object;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use weft_snapshot::WorkloadName;

type Entry = Arc<Object<WorkloadEntry>>;

#[derive(Debug, Default)]
pub(crate) struct Workforce {
    /// As they were given: pods, then WorkloadEntries by age.
    given: Vec<Entry>,
    pub(crate) by_name: BTreeMap<WorkloadName, Entry>,
    /// Of `by_name`, in its order; what the maps below number.
    ordered: Vec<Entry>,
    /// By a hash of namespace, key and value, so that a selector looks at few of them.
    by_label: HashMap<u64, Vec<u32>>,
    by_namespace: HashMap<String, Vec<u32>>,
    /// Pods at addresses of their own.
    by_address: HashMap<IpAddr, u32>,
}

impl Workforce {
    /// The one before, where it is the same.
    pub(super) fn of(given: Vec<Entry>, previous: &Arc<Self>) -> Arc<Self> {
        let same = given.len() == previous.given.len()
            && given.iter().zip(&previous.given).all(|(now, before)| Arc::ptr_eq(now, before));
        if same { Arc::clone(previous) } else { Arc::new(Self::new(given)) }
    }

    fn new(given: Vec<Entry>) -> Self {
        let mut by_name: BTreeMap<WorkloadName, Entry> = BTreeMap::new();
        for entry in &given {
            // A pod's name is its identity; a WorkloadEntry of that name does not take its place. Of each kind the last.
            let name = identity::name(entry);
            match by_name.get(&name) {
                Some(other) if other.spec.pod.is_some() && entry.spec.pod.is_none() => {}
                _ => drop(by_name.insert(name, entry.clone())),
            }
        }
        let ordered: Vec<Entry> = by_name.values().cloned().collect();
        let mut workforce = Self { given, by_name, ..Self::default() };
        for (number, entry) in (0..).zip(&ordered) {
            let namespace = entry.meta.namespace();
            for label in &entry.spec.labels {
                workforce.by_label.entry(hash(namespace, label)).or_default().push(number);
            }
            match workforce.by_namespace.get_mut(namespace) {
                Some(all) => all.push(number),
                None => drop(workforce.by_namespace.insert(namespace.to_owned(), vec![number])),
            }
            let addresses = entry.spec.pod.iter().flat_map(|pod| &pod.addresses);
            workforce.by_address.extend(addresses.map(|address| (*address, number)));
        }
        workforce.ordered = ordered;
        workforce
    }

    /// In the order of their names.
    pub(super) fn matching(&self, namespace: &str, selector: &LabelSet) -> Vec<Entry> {
        let none: &[u32] = &[];
        let by_label =
            selector.iter().map(|label| self.by_label.get(&hash(namespace, label)).map_or(none, Vec::as_slice));
        let fewest = by_label.min_by_key(|entries| entries.len());
        let fewest = fewest.unwrap_or_else(|| self.by_namespace.get(namespace).map_or(none, Vec::as_slice));
        let entries = fewest.iter().map(|number| &self.ordered[*number as usize]);
        // Hashes may agree by accident.
        let chosen = entries.filter(|e| e.meta.namespace() == namespace && selects(selector, &e.spec.labels));
        chosen.cloned().collect()
    }

    pub(super) fn at(&self, address: &IpAddr) -> Option<&Entry> {
        self.by_address.get(address).map(|number| &self.ordered[*number as usize])
    }
}

fn hash(namespace: &str, label: (&String, &String)) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, label).hash(&mut hasher);
    hasher.finish()
}
