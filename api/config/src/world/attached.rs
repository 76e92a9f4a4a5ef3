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
        let attached = |(site, attachment)| Attached { object, attachment, site };
        found.extend(of(object).map(attached));
    }
    found
}

/// Of one VirtualService, in the order in which they are written.
pub(super) fn attachments_of(object: &Object<VirtualService>) -> impl Iterator<Item = &Attachment> {
    of(object).map(|(_, attachment)| attachment)
}

fn of(object: &Object<VirtualService>) -> impl Iterator<Item = (Site<'_>, &Attachment)> {
    let whole = object.spec.filters.iter().map(|attachment| (Site::Whole, attachment));
    let routes = object.spec.http.iter().flat_map(|route| {
        let own = route.filters.iter().map(move |attachment| (Site::Route(route), attachment));
        let destinations = route.destinations().iter().flat_map(|destination| &destination.filters);
        own.chain(destinations.map(|attachment| (Site::Destination, attachment)))
    });
    whole.chain(routes)
}

/// Every VirtualService once, though it lies under each of its hosts.
fn each(index: &Index) -> Vec<&Arc<Object<VirtualService>>> {
    let mut seen = BTreeSet::new();
    let mut objects: Vec<_> =
        index.virtual_services.values().flatten().filter(|object| seen.insert(&object.meta.id)).collect();
    objects.sort_by(|a, b| a.meta.age.cmp(&b.meta.age));
    objects
}
