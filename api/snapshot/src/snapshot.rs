//! A snapshot is a set of named resources; an update turns one snapshot into another.

use crate::{Answer, Backend, BackendName, Endpoint, Filter, FilterKey, Host, Service, Trust, Workload};
use std::collections::BTreeMap;
use std::fmt;

/// Names one resource of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Trust,
    Workload,
    Answer(Host),
    Service(Host),
    Backend(BackendName),
    Endpoints(BackendName),
    Filter(FilterKey),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Trust(Trust),
    Workload(Workload),
    Answer(Answer),
    Service(Service),
    Backend(Backend),
    Endpoints(Vec<Endpoint>),
    Filter(Filter),
}

/// All that one proxy has been told. Each resource lies under a key of its own kind; [`Snapshot::insert`] sees to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    resources: BTreeMap<Key, Resource>,
}

/// The difference between two snapshots; applied whole or not at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    pub set: Vec<(Key, Resource)>,
    pub removed: Vec<Key>,
}

impl Update {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    /// True where routes, policies and filters stay as they are: the fast path.
    pub fn only_endpoints(&self) -> bool {
        self.removed.is_empty() && self.set.iter().all(|(key, _)| matches!(key, Key::Endpoints(_)))
    }
}

impl Snapshot {
    pub fn set_trust(&mut self, trust: Trust) {
        self.resources.insert(Key::Trust, Resource::Trust(trust));
    }

    pub fn set_workload(&mut self, workload: Workload) {
        self.resources.insert(Key::Workload, Resource::Workload(workload));
    }

    pub fn add_answer(&mut self, answer: Answer) {
        self.resources.insert(Key::Answer(answer.asked.clone()), Resource::Answer(answer));
    }

    pub fn add_service(&mut self, service: Service) {
        self.resources.insert(Key::Service(service.name.clone()), Resource::Service(service));
    }

    pub fn add_backend(&mut self, backend: Backend) {
        self.resources.insert(Key::Backend(backend.name.clone()), Resource::Backend(backend));
    }

    pub fn set_endpoints(&mut self, backend: BackendName, endpoints: Vec<Endpoint>) {
        self.resources.insert(Key::Endpoints(backend), Resource::Endpoints(endpoints));
    }

    pub fn add_filter(&mut self, filter: Filter) {
        self.resources.insert(Key::Filter(filter.key.clone()), Resource::Filter(filter));
    }

    /// Fails (and changes nothing) where the key is not the resource's own.
    pub fn insert(&mut self, key: Key, resource: Resource) -> Result<(), Key> {
        if resource.belongs_to(&key) {
            self.resources.insert(key, resource);
            Ok(())
        } else {
            Err(key)
        }
    }

    pub fn get(&self, key: &Key) -> Option<&Resource> {
        self.resources.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Resource)> {
        self.resources.iter()
    }

    pub fn len(&self) -> usize {
        self.resources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    pub fn trust(&self) -> Option<&Trust> {
        match self.resources.get(&Key::Trust) {
            Some(Resource::Trust(trust)) => Some(trust),
            _ => None,
        }
    }

    pub fn workload(&self) -> Option<&Workload> {
        match self.resources.get(&Key::Workload) {
            Some(Resource::Workload(workload)) => Some(workload),
            _ => None,
        }
    }

    pub fn endpoints(&self, backend: &BackendName) -> &[Endpoint] {
        match self.resources.get(&Key::Endpoints(backend.clone())) {
            Some(Resource::Endpoints(endpoints)) => endpoints,
            _ => &[],
        }
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.resources.values().filter_map(|r| if let Resource::Service(s) = r { Some(s) } else { None })
    }

    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.resources.values().filter_map(|r| if let Resource::Answer(a) = r { Some(a) } else { None })
    }

    pub fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.resources.values().filter_map(|r| if let Resource::Backend(b) = r { Some(b) } else { None })
    }

    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.resources.values().filter_map(|r| if let Resource::Filter(f) = r { Some(f) } else { None })
    }

    /// The update that turns `self` into `next`.
    pub fn diff(&self, next: &Snapshot) -> Update {
        let changed = |(key, resource): &(&Key, &Resource)| self.resources.get(key) != Some(resource);
        Update {
            set: next.resources.iter().filter(changed).map(|(k, r)| (k.clone(), r.clone())).collect(),
            removed: self.resources.keys().filter(|key| !next.resources.contains_key(key)).cloned().collect(),
        }
    }

    /// Fails (and changes nothing) where a resource lies under another kind's key.
    pub fn apply(&mut self, update: Update) -> Result<(), Key> {
        if let Some((key, _)) = update.set.iter().find(|(key, resource)| !resource.belongs_to(key)) {
            return Err(key.clone());
        }
        for key in &update.removed {
            self.resources.remove(key);
        }
        self.resources.extend(update.set);
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust => f.write_str("trust"),
            Self::Workload => f.write_str("workload"),
            Self::Answer(host) => write!(f, "answer {host}"),
            Self::Service(host) => write!(f, "service {host}"),
            Self::Backend(name) => write!(f, "backend {name}"),
            Self::Endpoints(name) => write!(f, "endpoints {name}"),
            Self::Filter(key) => write!(f, "filter {key}"),
        }
    }
}

impl Resource {
    /// True where `key` is of this resource's kind and name.
    pub fn belongs_to(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Trust(_), Key::Trust)
            | (Self::Workload(_), Key::Workload)
            | (Self::Endpoints(_), Key::Endpoints(_)) => true,
            (Self::Answer(answer), Key::Answer(asked)) => answer.asked == *asked,
            (Self::Service(service), Key::Service(name)) => service.name == *name,
            (Self::Backend(backend), Key::Backend(name)) => backend.name == *name,
            (Self::Filter(filter), Key::Filter(key)) => filter.key == *key,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked: &str, service: Option<&str>) -> Answer {
        let host = |text: &str| text.parse().expect("valid host");
        Answer { asked: host(asked), service: service.map(host) }
    }

    #[test]
    fn applying_a_difference_gives_the_next_snapshot() {
        let (mut a, mut b) = (Snapshot::default(), Snapshot::default());
        a.add_answer(answer("gone", None));
        a.add_answer(answer("moved", None));
        a.add_answer(answer("kept", None));
        b.add_answer(answer("moved", Some("there.example")));
        b.add_answer(answer("kept", None));
        b.add_answer(answer("new", None));
        let update = a.diff(&b);
        assert_eq!((update.set.len(), update.removed.len()), (2, 1));
        assert_eq!(a.apply(update), Ok(()));
        assert_eq!(a, b);
        assert!(a.diff(&b).is_empty());
    }

    #[test]
    fn a_resource_under_another_key_is_refused_whole() {
        let mut snapshot = Snapshot::default();
        let wrong = (Key::Workload, Resource::Answer(answer("a", None)));
        let right = (Key::Answer("b".parse().expect("valid host")), Resource::Answer(answer("b", None)));
        assert_eq!(snapshot.apply(Update { set: vec![right, wrong], removed: vec![] }), Err(Key::Workload));
        assert!(snapshot.is_empty());
    }
}
