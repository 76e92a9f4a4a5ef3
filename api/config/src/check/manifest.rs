//! What only the manifests show: guards at the caller, and filters with nothing to pick from.
//!
//! It does not know how manifests are got.

use super::Findings;
use crate::Problem;
use crate::fields::Place;
use crate::kind::filter::TargetKind;
use crate::kind::route::Route;
use crate::kind::{Filter, Side, VirtualService};
use crate::object::{Meta, Object};
use crate::problem::Code;
use crate::view::{FilterFacts, ManifestFact};
use crate::world::{Attached, Index, Site, attachments, key};
use weft_snapshot::FilterKey;

pub(crate) fn with_manifests(index: &Index, facts: &FilterFacts) -> Vec<Problem> {
    let manifest = |key: &FilterKey| facts.get(key).and_then(|fact| fact.manifest.as_ref());
    let mut findings = Findings::default();
    for attached in attachments(index) {
        let meta = &attached.object.meta;
        let attachment = attached.attachment;
        let Some(filter) = index.filter(meta.namespace(), &attachment.name) else { continue };
        let Some(manifest) = manifest(&key(filter, attachment.config.as_deref())) else { continue };
        let at = Attachment { meta, place: &attachment.place, name: &attachment.name, manifest };
        match attachment.side {
            Side::Destination => at.picks_from(&[], &mut findings),
            Side::Caller => {
                if !guards_at_the_destination(filter, Some(attached.object)) {
                    at.guards_at_the_caller(&mut findings);
                }
                at.picks_from(&routes(&attached), &mut findings);
            }
        }
    }
    // In the service's own sidecars no route is chosen.
    let by_selector =
        index.selecting.values().flatten().filter_map(|filter| Some((filter, &filter.spec.selector.as_ref()?.1)));
    let on_services =
        index.on_services.values().flatten().map(|targeting| (&targeting.filter, &targeting.target.place));
    for (filter, place) in by_selector.chain(on_services) {
        if let Some(manifest) = manifest(&key(filter, None)) {
            let at = Attachment { meta: &filter.meta, place, name: &filter.meta.id.name, manifest };
            at.picks_from(&[], &mut findings);
        }
    }
    for targeting in index.on_virtual_services.values().flatten() {
        let Some(manifest) = manifest(&key(&targeting.filter, None)) else { continue };
        let meta = &targeting.filter.meta;
        let at = Attachment { meta, place: &targeting.target.place, name: &meta.id.name, manifest };
        let named =
            index.virtual_services.values().flatten().find(|object| {
                object.meta.namespace() == meta.namespace() && object.meta.id.name == targeting.target.name
            });
        let routes = named.map(|object| targeted(object, &targeting.target.kind)).unwrap_or_default();
        let at_caller = targeting.target.kind != TargetKind::VirtualService(Side::Destination);
        if at_caller && !guards_at_the_destination(&targeting.filter, named.map(|object| &**object)) {
            at.guards_at_the_caller(&mut findings);
        }
        at.picks_from(&routes, &mut findings);
    }
    findings.problems.sort_by(Problem::reading_order);
    findings.problems.dedup();
    findings.problems
}

/// True where the same Filter runs in the service's own sidecars too.
fn guards_at_the_destination(filter: &Object<Filter>, beside: Option<&Object<VirtualService>>) -> bool {
    let at_destination =
        |kind: &TargetKind| matches!(kind, TargetKind::Service | TargetKind::VirtualService(Side::Destination));
    let mut attached = beside.into_iter().flat_map(|object| &object.spec.filters);
    filter.spec.selector.is_some()
        || filter.spec.targets.iter().any(|target| at_destination(&target.kind))
        || attached.any(|a| a.side == Side::Destination && a.name == filter.meta.id.name)
}

/// The routes on which an attachment runs.
fn routes<'a>(attached: &Attached<'a>) -> Vec<&'a Route> {
    match attached.site {
        Site::Whole => attached.object.spec.http.iter().collect(),
        Site::Route(route) => vec![route],
        // It runs after the destination is chosen.
        Site::Destination => Vec::new(),
    }
}

fn targeted<'a>(object: &'a Object<VirtualService>, kind: &TargetKind) -> Vec<&'a Route> {
    let routes = object.spec.http.iter();
    match kind {
        TargetKind::VirtualService(Side::Caller) => routes.collect(),
        TargetKind::Route(name) => routes.filter(|route| route.name == *name).collect(),
        TargetKind::VirtualService(Side::Destination) | TargetKind::Service => Vec::new(),
    }
}

struct Attachment<'a> {
    meta: &'a Meta,
    place: &'a Place,
    name: &'a str,
    manifest: &'a ManifestFact,
}

impl Attachment<'_> {
    fn guards_at_the_caller(&self, findings: &mut Findings) {
        if self.manifest.guard {
            let reason =
                format!("filter {} protects a service, and here it runs in callers, who can go round it", self.name);
            let remedy = "write at: Destination on the VirtualService, or give the Filter a selector";
            findings.warn(self.meta, Code::GuardAtCaller, self.place, (reason, remedy));
        }
    }

    /// Every subset that it may pick must be a destination of some route on which it runs.
    fn picks_from(&self, routes: &[&Route], findings: &mut Findings) {
        let offered = |subset: &String| routes.iter().flat_map(|r| r.destinations()).any(|d| d.subset == *subset);
        let missing: Vec<_> = self.manifest.upstreams.iter().filter(|subset| !offered(subset)).cloned().collect();
        if missing.is_empty() {
            return;
        }
        let reason =
            format!("filter {} may pick {}, and no destination here has that subset", self.name, missing.join(", "));
        let remedy = "add the destinations to the route (weight 0 is enough), or change the filter's config";
        findings.error(self.meta, Code::NothingToPick, self.place, (reason, remedy));
    }
}
