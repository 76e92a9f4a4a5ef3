//! DestinationRules beside services, workloads, policies and each other.
//!
//! It does not know which routes use a subset.

use super::Findings;
use crate::compile::{effective, workload_port};
use crate::kind::DestinationRule;
use crate::kind::destination_rule::{Tls, TrafficPolicy};
use crate::names::selects;
use crate::object::Object;
use crate::problem::Code;
use crate::view::authentication;
use crate::world::{Backing, Declared, Index};
use std::sync::Arc;
use weft_snapshot::MtlsMode;

pub(super) fn rule(index: &Index, object: &Arc<Object<DestinationRule>>, findings: &mut Findings) {
    beside_others(index, object, findings);
    let (host, place) = &object.spec.host;
    let meta = &object.meta;
    if host.is_wildcard() {
        return;
    }
    let Some(declared) = index.service(host, meta.namespace()) else {
        let text =
            (format!("no service {host} is known, so this rule has no effect"), "correct the host, or add the service");
        findings.warn(meta, Code::UnknownHost, place, text);
        return;
    };
    subsets(object, declared, findings);
    let policies = std::iter::once(&object.spec.policy).chain(object.spec.subsets.iter().map(|subset| &subset.policy));
    for (port, _) in policies.flat_map(|policy| &policy.ports) {
        if !declared.ports.iter().any(|own| own.number == *port) {
            let text = (
                format!("portLevelSettings for port {port}, which {host} does not have"),
                "name a port of the service",
            );
            findings.warn(meta, Code::UnknownPort, place, text);
        }
    }
    plain_to_strict(index, object, declared, findings);
}

fn beside_others(index: &Index, object: &Arc<Object<DestinationRule>>, findings: &mut Findings) {
    let (host, place) = &object.spec.host;
    let same = index.rules.get(object.meta.namespace()).and_then(|by_host| by_host.get(host));
    let older: Vec<_> = same.into_iter().flatten().take_while(|other| other.meta.id != object.meta.id).collect();
    let Some(first) = older.first() else { return };
    if object.spec.policy != TrafficPolicy::default() && older.iter().any(|o| o.spec.policy != TrafficPolicy::default())
    {
        let reason = format!(
            "{} ({}) sets a trafficPolicy for {host} already, and the oldest counts",
            first.meta.id, first.meta.age.file
        );
        findings.warn(&object.meta, Code::IgnoredPolicy, place, (reason, "put both into one DestinationRule"));
    }
}

fn subsets(object: &Object<DestinationRule>, declared: &Declared, findings: &mut Findings) {
    for (position, subset) in object.spec.subsets.iter().enumerate() {
        if object.spec.subsets[..position].iter().any(|other| other.name == subset.name) {
            let text =
                (format!("subset {} is defined twice, and the first counts", subset.name), "rename or remove one");
            findings.warn(&object.meta, Code::Conflict, &subset.place, text);
        }
        let answers = match &declared.backing {
            Backing::Listed(entries) => entries.iter().any(|entry| selects(&subset.labels, &entry.labels)),
            backing => backing.workloads().any(|entry| selects(&subset.labels, &entry.spec.labels)),
        };
        if !answers {
            let reason = format!("no workload of {} has the labels of subset {}", declared.host, subset.name);
            findings.warn(
                &object.meta,
                Code::NoWorkload,
                &subset.place,
                (reason, "correct the labels, or add the workload"),
            );
        }
    }
}

/// `tls.mode: DISABLE` towards a workload that takes nothing but mutual TLS.
fn plain_to_strict(index: &Index, object: &Arc<Object<DestinationRule>>, declared: &Declared, findings: &mut Findings) {
    for port in &declared.ports {
        if effective(std::slice::from_ref(object), None, port.number).tls != Some(Tls::Disable) {
            continue;
        }
        let strict = declared.backing.workloads().find(|entry| {
            let target = workload_port(&entry.spec, port);
            target.is_some_and(|target| authentication(index, entry).mode(target) == MtlsMode::Strict)
        });
        if let Some(entry) = strict {
            let reason = format!(
                "tls.mode DISABLE, and workload {} takes only mutual TLS on port {}: requests fail",
                crate::identity::name(entry),
                port.number
            );
            findings.warn(
                &object.meta,
                Code::Conflict,
                &object.spec.host.1,
                (reason, "remove tls, or change its PeerAuthentication"),
            );
        }
    }
}
