//! PeerAuthentications that do not count, or not where they seem to.
//!
//! It does not know callers.

use super::Findings;
use crate::compile::workload_port;
use crate::identity;
use crate::kind::PeerAuthentication;
use crate::kind::mesh::Mesh;
use crate::object::Object;
use crate::problem::Code;
use crate::world::Index;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn policy(index: &Index, mesh: &Mesh, object: &Arc<Object<PeerAuthentication>>, findings: &mut Findings) {
    let (meta, spec) = (&object.meta, &object.spec);
    let namespace = meta.namespace();
    let root = mesh.root_namespace.as_str();
    if namespace == "istio-system" && root != "istio-system" {
        let reason = format!("istio-system is a namespace like any other here: the root namespace is {root}");
        let remedy = format!("move it to {root} to make it count for the whole mesh");
        findings.warn_whole(meta, Code::IgnoredPolicy, (reason, &remedy));
    }
    if spec.selector.is_some() && namespace == root {
        let reason = "a policy with a selector in the root namespace counts nowhere".to_owned();
        findings.error(meta, Code::IgnoredPolicy, &spec.place, (reason, "move it to the namespace of its workloads"));
        return;
    }
    beside_others(index, object, findings);
    ports(index, object, findings);
}

/// Of one level the oldest counts.
fn beside_others(index: &Index, object: &Arc<Object<PeerAuthentication>>, findings: &mut Findings) {
    let (meta, spec) = (&object.meta, &object.spec);
    let all = index.authentications.get(meta.namespace()).map_or(&[][..], Vec::as_slice);
    let mut older = all.iter().take_while(|other| other.meta.id != meta.id);
    if let Some(older) = older.find(|other| other.spec.selector == spec.selector) {
        let level = if spec.selector.is_some() { "these workloads" } else { "the whole namespace" };
        let reason = format!(
            "{} ({}) is older and for {level} too, so this one does not count",
            older.meta.id, older.meta.age.file
        );
        findings.warn(meta, Code::IgnoredPolicy, &spec.place, (reason, "put both into one PeerAuthentication"));
    }
}

fn ports(index: &Index, object: &Arc<Object<PeerAuthentication>>, findings: &mut Findings) {
    let (meta, spec) = (&object.meta, &object.spec);
    let Some(selector) = &spec.selector else { return };
    let entries = index.selected(meta.namespace(), selector);
    if entries.is_empty() {
        let text = ("its selector selects no workload".to_owned(), "correct the selector");
        findings.warn(meta, Code::NoWorkload, &spec.place, text);
        return;
    }
    // A container need not say which ports it listens on.
    if entries.iter().any(|entry| entry.spec.pod.is_some()) {
        return;
    }
    let mut served = BTreeSet::new();
    for entry in entries {
        served.extend(entry.spec.ports.values().copied());
        for declared in index.memberships.get(&identity::name(entry)).into_iter().flatten() {
            served.extend(declared.ports.iter().filter_map(|port| workload_port(&entry.spec, port)));
        }
    }
    for (port, (_, place)) in spec.ports.iter().filter(|(port, _)| !served.contains(port)) {
        let reason = format!("none of its workloads listens on {port}: the port is the workload's, not the service's");
        findings.warn(meta, Code::UnknownPort, place, (reason, "write a port of the workloads"));
    }
}
