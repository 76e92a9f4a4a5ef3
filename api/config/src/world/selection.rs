//! Workloads by label, so that a selector looks at few of them.
//!
//! It does not know what selects.

use crate::kind::WorkloadEntry;
use crate::names::{LabelSet, selects};
use crate::object::Object;
use std::collections::HashMap;
use std::sync::Arc;

/// Workloads by label, so that a selector looks at few of them.
pub(super) struct Selection<'a> {
    /// By namespace, key and value.
    by_label: HashMap<(&'a str, &'a str, &'a str), Entries<'a>>,
    by_namespace: HashMap<&'a str, Entries<'a>>,
}

type Entries<'a> = Vec<&'a Arc<Object<WorkloadEntry>>>;

impl<'a> Selection<'a> {
    pub(super) fn new(entries: impl Iterator<Item = &'a Arc<Object<WorkloadEntry>>>) -> Self {
        let mut selection = Self { by_label: HashMap::new(), by_namespace: HashMap::new() };
        for entry in entries {
            let namespace = entry.meta.namespace();
            selection.by_namespace.entry(namespace).or_default().push(entry);
            for (key, value) in &entry.spec.labels {
                selection.by_label.entry((namespace, key, value)).or_default().push(entry);
            }
        }
        selection
    }

    fn labelled<'s>(
        &'s self,
        namespace: &'s str,
        key: &'s str,
        value: &'s str,
    ) -> &'s [&'s Arc<Object<WorkloadEntry>>] {
        self.by_label.get(&(namespace, key, value)).map_or(&[][..], Vec::as_slice)
    }

    pub(super) fn matching(&self, namespace: &str, selector: &LabelSet) -> Vec<Arc<Object<WorkloadEntry>>> {
        let all = self.by_namespace.get(namespace).map_or(&[][..], Vec::as_slice);
        let by_label = selector.iter().map(|(key, value)| self.labelled(namespace, key, value));
        let fewest = by_label.min_by_key(|entries| entries.len()).unwrap_or(all);
        fewest.iter().filter(|entry| selects(selector, &entry.spec.labels)).map(|entry| (*entry).clone()).collect()
    }
}
