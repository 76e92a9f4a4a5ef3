//! VirtualServices beside services, DestinationRules and each other.
//!
//! It does not look at their filters.

use super::Findings;
use crate::kind::VirtualService;
use crate::kind::route::{Route, RouteDestination};
use crate::names;
use crate::object::{Meta, Object};
use crate::problem::Code;
use crate::suggest;
use crate::world::{Declared, Index, subset};
use std::sync::Arc;
use weft_snapshot::Host;

pub(super) fn virtual_service(index: &Index, object: &Arc<Object<VirtualService>>, findings: &mut Findings) {
    hosts(index, object, findings);
    shadowed(object, findings);
    for route in &object.spec.http {
        for destination in route.destinations() {
            self::destination(index, &object.meta, destination, findings);
        }
    }
}

fn hosts(index: &Index, object: &Arc<Object<VirtualService>>, findings: &mut Findings) {
    let meta = &object.meta;
    for (host, place) in &object.spec.hosts {
        let same_host = index.virtual_services.get(host).into_iter().flatten();
        let older = same_host.take_while(|other| other.meta.id != meta.id);
        if let Some(older) = older.into_iter().find(|other| other.spec.export_to.overlaps(&object.spec.export_to)) {
            let reason = format!(
                "{} ({}:{}) routes {host} already, and the oldest counts",
                older.meta.id, older.meta.age.file, older.meta.at.line
            );
            findings.warn(
                meta,
                Code::DuplicateHost,
                place,
                (reason, "put all routes of a host into one VirtualService"),
            );
        }
        let routed_to_itself = object.spec.http.iter().flat_map(Route::destinations).any(|d| d.host == *host);
        let in_cluster = names::cluster_service(host).is_some();
        if in_cluster && !routed_to_itself && index.service(host, meta.namespace()).is_none() {
            let reason = format!("no service {host} is known");
            let remedy = unknown_host_remedy(index, host, meta, findings);
            findings.warn(meta, Code::UnknownHost, place, (reason, &remedy));
        }
    }
}

/// Looking for the host that was meant takes a look at all services: not for thousands of them.
const SUGGESTIONS_MAX: usize = 200;

fn unknown_host_remedy(index: &Index, host: &Host, meta: &Meta, findings: &Findings) -> String {
    if findings.problems.len() > SUGGESTIONS_MAX {
        return "add a Service or a ServiceEntry for it".into();
    }
    // Istio takes a host with a dot as it stands, so `reviews.prod` is not short for anything.
    let longer = [format!("{host}.{}", names::DOMAIN), format!("{host}.cluster.local")];
    let meant = longer.iter().filter_map(|text| text.parse::<Host>().ok());
    if let Some(meant) = meant.into_iter().find(|meant| index.services.contains_key(meant)) {
        return format!("a host with a dot is not short for a service: write {meant}");
    }
    if index.services.contains_key(host) {
        return format!("it is not exported to namespace {}: change its exportTo", meta.namespace());
    }
    if let Some((name, namespace)) = names::cluster_service(host) {
        let mut elsewhere = index.services.keys().filter_map(names::cluster_service);
        if let Some((_, other)) = elsewhere.find(|(own, _)| *own == name) {
            return format!("there is a {name} in namespace {other}: write {name}.{other}.{}", names::DOMAIN);
        }
        let neighbours = index.services.keys().filter_map(names::cluster_service);
        let near = neighbours.filter(|(_, own)| *own == namespace).map(|(name, _)| name);
        if let Some(near) = suggest::nearest(name, near) {
            return format!("did you mean {near}?");
        }
    }
    "add a Service or a ServiceEntry for it".into()
}

fn destination(index: &Index, meta: &Meta, written: &RouteDestination, findings: &mut Findings) {
    let caller = meta.namespace();
    let place = &written.place;
    let Some(declared) = index.service(&written.host, caller) else {
        let subset = if written.subset.is_empty() {
            String::new()
        } else {
            format!(", so subset {} is not either", written.subset)
        };
        let reason = format!("no service {} is known{subset}: these requests are answered 503", written.host);
        let remedy = unknown_host_remedy(index, &written.host, meta, findings);
        findings.warn(meta, Code::UnknownHost, place, (reason, &remedy));
        return;
    };
    ports(meta, declared, written, findings);
    if written.subset.is_empty() {
        return;
    }
    let rules = index.rules(&written.host, Some(declared.meta.namespace()), caller);
    if subset(&rules, &written.subset).is_none() {
        let known = rules.iter().flat_map(|rule| &rule.spec.subsets).map(|subset| subset.name.as_str());
        let remedy = match suggest::nearest(&written.subset, known) {
            Some(near) => format!("did you mean {near}?"),
            None => "define it in a DestinationRule for this host".into(),
        };
        let reason = format!(
            "no DestinationRule defines subset {} of {}: these requests are answered 503",
            written.subset, written.host
        );
        findings.warn(meta, Code::UnknownSubset, place, (reason, &remedy));
    }
}

fn ports(meta: &Meta, declared: &Declared, written: &RouteDestination, findings: &mut Findings) {
    let numbers: Vec<_> = declared.ports.iter().map(|port| port.number.to_string()).collect();
    let known = numbers.join(", ");
    match written.port {
        Some(port) if !declared.ports.iter().any(|own| own.number == port) => {
            let reason = format!("{} has no port {port}: these requests are answered 503", written.host);
            findings.warn(meta, Code::UnknownPort, &written.place, (reason, &format!("its ports are {known}")));
        }
        None if declared.ports.len() > 1 => {
            let reason =
                format!("{} has the ports {known}, and none is named: the app's own port is kept", written.host);
            findings.warn(meta, Code::PortRequired, &written.place, (reason, "add port: {number: …}"));
        }
        _ => {}
    }
}

/// Rules after one that takes every request of every caller.
fn shadowed(object: &Object<VirtualService>, findings: &mut Findings) {
    let routes = &object.spec.http;
    let Some(last) = routes.iter().position(Route::takes_everything) else { return };
    for route in &routes[last + 1..] {
        let reason = format!("never reached: {} takes every request before it", routes[last].place.path);
        findings.warn(&object.meta, Code::Shadowed, &route.place, (reason, "move it up, or remove it"));
    }
}
