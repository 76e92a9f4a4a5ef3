//! A policy: a Filter with one config. Its key, and the list of all that are attached.
//!
//! It does not resolve images: that is asked of the artifacts' side, with this list.

use super::{Index, attachments};
use crate::kind::Filter;
use crate::object::Object;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;
use weft_snapshot::{Digest, FilterKey};

/// One policy that some object attaches: a Filter with one config. What has to be resolved, admitted and compiled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policy {
    pub key: FilterKey,
    /// `NAMESPACE/NAME` of the Filter.
    pub filter: String,
    /// `oci://…` or `oci-layout:PATH[:TAG]`, PATH already joined to the folder of the Filter's file.
    pub image: String,
    /// Pins the image's manifest.
    pub digest: Option<Digest>,
    /// How often a tag is looked up again; `None`: only when the object changes.
    pub refresh: Option<Duration>,
    /// Secret in the Filter's own namespace, with what its registry wants to see.
    pub pull_secret: Option<String>,
    /// JSON.
    pub config: String,
    pub deadline: Duration,
    pub memory_max: u64,
    /// Place of the image in the Filter's file, for problems.
    pub file: String,
    pub line: u32,
    pub column: u32,
}

/// `NAMESPACE/NAME`, and `#` with a hash where an attachment's config is not the Filter's own: equal configs share one
/// policy.
pub(crate) fn key(filter: &Object<Filter>, config: Option<&str>) -> FilterKey {
    let mut text = filter.meta.origin();
    if let Some(config) = config.filter(|config| *config != filter.spec.config) {
        text.push('#');
        for byte in &Sha256::digest(config.as_bytes())[..6] {
            let _ = write!(text, "{byte:02x}");
        }
    }
    FilterKey(text)
}

/// Of a name that means no Filter: the snapshot names it all the same, so that it fails closed.
pub(crate) fn missing_key(namespace: &str, name: &str) -> FilterKey {
    FilterKey(format!("{namespace}/{name}"))
}

pub(super) fn attached(index: &Index) -> BTreeMap<FilterKey, Policy> {
    let mut policies = BTreeMap::new();
    let mut add = |filter: &Object<Filter>, config: Option<&str>| {
        let key = key(filter, config);
        policies.entry(key.clone()).or_insert_with(|| policy(key, filter, config));
    };
    for attached in attachments(index) {
        if let Some(filter) = index.filter(attached.object.meta.namespace(), &attached.attachment.name) {
            add(filter, attached.attachment.config.as_deref());
        }
    }
    let targeting = index.on_virtual_services.values().chain(index.on_services.values()).flatten();
    for filter in targeting.map(|t| &t.filter).chain(index.selecting.values().flatten()) {
        add(filter, None);
    }
    policies
}

fn policy(key: FilterKey, filter: &Object<Filter>, config: Option<&str>) -> Policy {
    let spec = &filter.spec;
    let at = filter.meta.age.shown(spec.place.at);
    Policy {
        key,
        filter: filter.meta.origin(),
        image: spec.image.clone(),
        digest: spec.digest,
        refresh: spec.refresh,
        pull_secret: spec.pull_secret.clone(),
        config: config.unwrap_or(&spec.config).to_owned(),
        deadline: spec.deadline,
        memory_max: spec.memory_max,
        file: filter.meta.age.file.to_string(),
        line: at.line,
        column: at.column,
    }
}
