//! The policies of one snapshot, each once, however often it is attached.
//!
//! It does not know where they are attached.

use crate::View;
use crate::kind::{self, Attachment};
use crate::object::Object;
use crate::world::{key, missing_key};
use std::collections::BTreeMap;
use std::time::Duration;
use weft_snapshot::{FailurePolicy, Filter, FilterKey, Isolation, NonUtf8};

pub(super) struct Policies<'a> {
    view: &'a View,
    filters: BTreeMap<FilterKey, Filter>,
}

impl<'a> Policies<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        Self { view, filters: BTreeMap::new() }
    }

    /// By name, as an object of this namespace attaches it.
    pub(super) fn attach(&mut self, namespace: &str, attachment: &Attachment) -> FilterKey {
        let name = (namespace.to_owned(), attachment.name.clone());
        match self.view.filters.get(&name) {
            Some(Some(filter)) => self.add(filter, attachment.config.as_deref()),
            _ => self.add_missing(namespace, &attachment.name),
        }
    }

    pub(super) fn add(&mut self, filter: &Object<kind::Filter>, config: Option<&str>) -> FilterKey {
        let key = key(filter, config);
        let fact = self.view.facts.get(&key);
        let admitted = fact.and_then(|fact| fact.config.as_deref());
        let spec = &filter.spec;
        self.filters.entry(key.clone()).or_insert_with(|| Filter {
            key: key.clone(),
            component: fact.and_then(|fact| fact.component),
            artifact: fact.and_then(|fact| fact.artifact),
            config: admitted.or(config).unwrap_or(&spec.config).to_owned(),
            deadline: spec.deadline,
            memory_max: spec.memory_max,
            failure_policy: spec.failure_policy,
            non_utf8: spec.non_utf8,
            isolation: spec.isolation,
        });
        key
    }

    /// What should guard a route and does not exist must not let requests past.
    fn add_missing(&mut self, namespace: &str, name: &str) -> FilterKey {
        let key = missing_key(namespace, name);
        self.filters.entry(key.clone()).or_insert_with(|| Filter {
            key: key.clone(),
            component: None,
            artifact: None,
            config: "{}".into(),
            deadline: Duration::from_millis(2),
            memory_max: 16 << 20,
            failure_policy: FailurePolicy::Closed,
            non_utf8: NonUtf8::Refuse,
            isolation: Isolation::Reuse,
        });
        key
    }

    pub(super) fn into_filters(self) -> impl Iterator<Item = Filter> {
        self.filters.into_values()
    }
}

/// The same policy twice in one chain would run twice on one request: the first place counts.
pub(super) fn push(chain: &mut Vec<FilterKey>, key: FilterKey) {
    if !chain.contains(&key) {
        chain.push(key);
    }
}
