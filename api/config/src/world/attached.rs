//! Every place where a filter is attached by name.
//!
//! It does not know whether the name means a Filter: that is asked of the index.

use super::Index;
use crate::kind::route::Route;
use crate::kind::{Attachment, VirtualService};
use crate::object::Object;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One entry of a field `filters`.
pub(crate) struct Attached<'a> {
    pub(crate) object: &'a Arc<Object<VirtualService>>,
    pub(crate) attachment: &'a Attachment,
    pub(crate) site: Site<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Site<'a> {
    Whole,
    Route(&'a Route),
    /// One destination of a route.
    Destination,
}

/// By age of the VirtualServices, then in the order in which they are written.
pub(crate) fn attachments(index: &Index) -> Vec<Attached<'_>> {
    let mut found = Vec::new();
    for object in each(index) {
        let attached = |site| move |attachment| Attached { object, attachment, site };
        found.extend(object.spec.filters.iter().map(attached(Site::Whole)));
        for route in &object.spec.http {
            found.extend(route.filters.iter().map(attached(Site::Route(route))));
            for destination in route.destinations() {
                found.extend(destination.filters.iter().map(attached(Site::Destination)));
            }
        }
    }
    found
}

/// Every VirtualService once, though it lies under each of its hosts.
fn each(index: &Index) -> Vec<&Arc<Object<VirtualService>>> {
    let mut seen = BTreeSet::new();
    let mut objects: Vec<_> =
        index.virtual_services.values().flatten().filter(|object| seen.insert(&object.meta.id)).collect();
    objects.sort_by(|a, b| a.meta.age.cmp(&b.meta.age));
    objects
}
