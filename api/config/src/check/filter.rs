//! Filters and the places where they are attached: names, and who may.
//!
//! It does not know manifests.

use super::Findings;
use crate::fields::Place;
use crate::identity;
use crate::kind::filter::{Target, TargetKind};
use crate::kind::{Filter, Side, VirtualService};
use crate::names;
use crate::object::{Meta, Object};
use crate::problem::Code;
use crate::suggest;
use crate::world::{Attached, Declared, Index, Site};
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_snapshot::{Host, Protocol};

pub(super) fn filter(index: &Index, object: &Object<Filter>, findings: &mut Findings) {
    let (meta, spec) = (&object.meta, &object.spec);
    if let Some((selector, place)) = &spec.selector
        && index.selected(meta.namespace(), selector).is_empty()
    {
        let text = ("its selector selects no WorkloadEntry".to_owned(), "correct the selector");
        findings.warn(meta, Code::NoWorkload, place, text);
    }
    if let Some((selector, place)) = &spec.selector {
        let members = index.selected(meta.namespace(), selector).into_iter().map(|entry| identity::name(entry));
        let services = members.filter_map(|name| index.memberships.get(&name)).flatten();
        opaque_ports(meta, place, services, findings);
    }
    for target in &spec.targets {
        self::target(index, object, target, findings);
    }
}

/// A filter sees HTTP: on a port that is declared TCP it never runs.
fn opaque_ports<'a>(
    meta: &Meta,
    place: &Place,
    services: impl Iterator<Item = &'a Arc<Declared>>,
    findings: &mut Findings,
) {
    let opaque = |declared: &Arc<Declared>| -> Vec<String> {
        let ports = declared.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        ports.map(|port| format!("{}:{}", declared.host, port.number)).collect()
    };
    let ports: BTreeSet<String> = services.flat_map(opaque).collect();
    if !ports.is_empty() {
        let ports: Vec<_> = ports.into_iter().collect();
        let reason = format!(
            "filters see HTTP, and these ports are declared TCP, so it does not run there: {}",
            ports.join(", ")
        );
        findings.warn(
            meta,
            Code::NoEffect,
            place,
            (reason, "name the port http-… or set appProtocol, if it speaks HTTP"),
        );
    }
}

fn target(index: &Index, object: &Object<Filter>, target: &Target, findings: &mut Findings) {
    let namespace = object.meta.namespace();
    let found = match &target.kind {
        TargetKind::Service => {
            let host = names::service_host(&target.name, namespace);
            let declared = host.ok().and_then(|host| index.services.get(&host));
            declared.is_some_and(|all| all.iter().any(|d| d.meta.id.kind == crate::object::Kind::Service))
        }
        TargetKind::VirtualService(_) => named(index, namespace, &target.name).is_some(),
        TargetKind::Route(route) => {
            let routes = named(index, namespace, &target.name).map(|object| &object.spec.http);
            routes.is_some_and(|routes| routes.iter().any(|own| own.name == *route))
        }
    };
    if !found {
        let what = match &target.kind {
            TargetKind::Service => format!("Service {namespace}/{}", target.name),
            TargetKind::VirtualService(_) => format!("VirtualService {namespace}/{}", target.name),
            TargetKind::Route(route) => format!("route {route} in VirtualService {namespace}/{}", target.name),
        };
        let text = (format!("there is no {what}, so this attaches nothing"), "correct the target, or add the object");
        findings.error(&object.meta, Code::UnknownTarget, &target.place, text);
    }
}

fn named<'a>(index: &'a Index, namespace: &str, name: &str) -> Option<&'a Object<VirtualService>> {
    let mut all = index.virtual_services.values().flatten();
    all.find(|object| object.meta.namespace() == namespace && object.meta.id.name == name).map(|object| &**object)
}

pub(super) fn attachments(index: &Index, findings: &mut Findings) {
    let all = crate::world::attachments(index);
    let mut used = BTreeSet::new();
    for attached in &all {
        let namespace = attached.object.meta.namespace();
        match index.filter(namespace, &attached.attachment.name) {
            Some(filter) => {
                used.insert(&filter.meta.id);
                may(index, attached, findings);
                if attached.attachment.side == Side::Destination {
                    let hosts = attached.object.spec.hosts.iter();
                    let services = hosts.filter_map(|(host, _)| index.service(host, namespace));
                    opaque_ports(&attached.object.meta, &attached.attachment.place, services, findings);
                }
            }
            None => unknown(index, attached, findings),
        }
    }
    for filter in index.filters.values() {
        let from_its_side = filter.spec.selector.is_some() || !filter.spec.targets.is_empty();
        if !from_its_side && !used.contains(&filter.meta.id) {
            let text = (
                "no object attaches this Filter".to_owned(),
                "name it in filters, or give it a selector or targetRefs",
            );
            findings.warn_whole(&filter.meta, Code::NoEffect, text);
        }
    }
}

fn unknown(index: &Index, attached: &Attached<'_>, findings: &mut Findings) {
    let meta = &attached.object.meta;
    let name = &attached.attachment.name;
    if attached.attachment.is_closing() {
        return;
    }
    let namespaces = [meta.namespace(), index.root_namespace.as_str()];
    let known = index.filters.keys().filter(|(namespace, _)| namespaces.contains(&namespace.as_str()));
    let remedy = match suggest::nearest(name, known.map(|(_, name)| name.as_str())) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("add a Filter of this name to namespace {}", meta.namespace()),
    };
    let reason = format!(
        "there is no Filter {name} in namespace {} or {}: these requests are answered 503",
        meta.namespace(),
        index.root_namespace
    );
    findings.error(meta, Code::UnknownFilter, &attached.attachment.place, (reason, &remedy));
}

/// A filter counts in the service's own sidecars only from its namespace or the root namespace, and in callers of other
/// namespaces only from the service's.
fn may(index: &Index, attached: &Attached<'_>, findings: &mut Findings) {
    let object = attached.object;
    let namespace = object.meta.namespace();
    for (host, _) in &object.spec.hosts {
        let Some(owner) = owner(index, host, namespace) else { continue };
        if owner == namespace {
            continue;
        }
        let place = &attached.attachment.place;
        let remedy = format!("move the VirtualService to namespace {owner}");
        match (attached.attachment.side, &attached.site) {
            (Side::Destination, Site::Whole) if namespace != index.root_namespace => {
                let reason = format!(
                    "{host} belongs to namespace {owner}, so namespace {namespace} may not put filters into its sidecars: this has no effect"
                );
                findings.error(&object.meta, Code::NotAllowed, place, (reason, &remedy));
            }
            (Side::Caller, _) if !object.spec.export_to.only(namespace) => {
                let reason = format!(
                    "{host} belongs to namespace {owner}, so this filter runs only in callers of namespace {namespace}"
                );
                findings.warn(
                    &object.meta,
                    Code::NotAllowed,
                    place,
                    (reason, &format!("{remedy}, or set exportTo: [.]")),
                );
            }
            _ => {}
        }
    }
}

/// The namespace of the service; `None` where only this VirtualService speaks of the host.
fn owner<'a>(index: &'a Index, host: &Host, viewer: &str) -> Option<&'a str> {
    index.service(host, viewer).map(|declared| declared.meta.namespace())
}
