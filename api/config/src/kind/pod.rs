//! Pod: a workload of a cluster, as its API server describes it.
//!
//! It does not know which services select it, nor which endpoints it answers for: EndpointSlices say that.

use super::workload_entry::{Address, PodFacts, Readiness, Sidecar, WorkloadEntry};
use crate::fields::{Cursor, Fields};
use crate::names::LabelSet;
use crate::object::{Injected, Metadata};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) fn read(fields: &mut Fields<'_>, metadata: &Metadata) -> Option<WorkloadEntry> {
    let spec = fields.required("spec")?;
    let account = spec.find("serviceAccountName").and_then(|c| c.scalar().map(str::to_owned));
    let on_node = spec.find("hostNetwork").is_some_and(|c| c.is_exactly("true"));
    let status = fields.get("status");
    let metadata_at = fields.get("metadata");
    let uid = metadata_at.as_ref().and_then(|c| c.find("uid")?.scalar().map(str::to_owned));
    let leaves = metadata_at.is_some_and(|c| c.find("deletionTimestamp").is_some());
    let addresses = status.as_ref().map(addresses).unwrap_or_default();
    let address = addresses.first().map_or(Address::Unknown, |address| Address::Ip(*address));
    Some(WorkloadEntry {
        address,
        ports: ports(&spec),
        labels: metadata.labels.clone(),
        weight: 1,
        service_account: account.filter(|account| !account.is_empty()).unwrap_or_else(|| "default".into()),
        pod: Some(PodFacts {
            uid: uid.unwrap_or_default(),
            sidecar: sidecar(metadata),
            readiness: match status {
                Some(status) if !leaves && is_ready(&status) => Readiness::Ready,
                _ => Readiness::NotReady,
            },
            addresses: if on_node { Vec::new() } else { addresses },
            controller: controller(metadata),
        }),
        place: spec.place(),
    })
}

/// Injection writes both marks; the label alone may be Istio's own, whose sidecars have another root.
fn sidecar(metadata: &Metadata) -> Sidecar {
    let labelled = metadata.labels.get("security.istio.io/tlsMode").is_some_and(|mode| mode == "istio");
    match metadata.injected {
        Some(Injected::ByWeft) => Sidecar::Injected,
        None if labelled => Sidecar::Injected,
        Some(Injected::ByIstio) | None => Sidecar::None,
    }
}

fn addresses(status: &Cursor<'_>) -> Vec<IpAddr> {
    let entries = status.find("podIPs").map(|c| c.list()).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.find("ip")?.scalar()?.parse().ok()).collect()
}

fn is_ready(status: &Cursor<'_>) -> bool {
    let conditions = status.find("conditions").map(|c| c.list()).unwrap_or_default();
    let is = |condition: &Cursor<'_>, key, value| condition.find(key).is_some_and(|c| c.is_exactly(value));
    conditions.iter().any(|condition| is(condition, "type", "Ready") && is(condition, "status", "True"))
}

/// The ports that its containers name, by name; those without a name by their number, which is no name of a port.
fn ports(spec: &Cursor<'_>) -> BTreeMap<String, u16> {
    let containers = ["containers", "initContainers"].into_iter().filter_map(|key| spec.find(key));
    let ports = containers.flat_map(|c| c.list()).filter_map(|container| container.find("ports"));
    let ports: Vec<Cursor<'_>> = ports.flat_map(|ports| ports.list()).collect();
    let tcp = ports.iter().filter(|port| port.find("protocol").is_none_or(|protocol| protocol.is_exactly("TCP")));
    tcp.filter_map(|port| {
        let number: u16 = port.find("containerPort")?.scalar()?.parse().ok()?;
        let name = port.find("name").and_then(|name| name.scalar().map(str::to_owned));
        Some((name.unwrap_or_else(|| number.to_string()), number))
    })
    .collect()
}

/// Without what a ReplicaSet's or a CronJob's name ends in.
fn controller(metadata: &Metadata) -> String {
    if let Some(name) = metadata.labels.get("service.istio.io/workload-name") {
        return name.clone();
    }
    let Some((kind, name)) = &metadata.controller else { return metadata.name.clone() };
    let hash = |labels: &LabelSet| labels.get("pod-template-hash").map(|hash| format!("-{hash}"));
    match kind.as_str() {
        "ReplicaSet" => hash(&metadata.labels).and_then(|hash| name.strip_suffix(&hash)).unwrap_or(name).to_owned(),
        "Job" => match name.rsplit_once('-') {
            Some((job, turn)) if turn.len() >= TURN_MIN && turn.bytes().all(|b| b.is_ascii_digit()) => job.to_owned(),
            _ => name.clone(),
        },
        _ => name.clone(),
    }
}

/// A CronJob numbers its Jobs by minutes since 1970.
const TURN_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_made_a_pod() {
        let cases = [
            (None, "", "reviews-x"),
            (Some(("ReplicaSet", "reviews-v1-5d8f")), "pod-template-hash=5d8f", "reviews-v1"),
            (Some(("ReplicaSet", "bare")), "", "bare"),
            (Some(("StatefulSet", "db")), "", "db"),
            (Some(("Job", "nightly-29123456")), "", "nightly"),
            (Some(("Job", "import-2")), "", "import-2"),
            (Some(("ReplicaSet", "a-1")), "service.istio.io/workload-name=other", "other"),
        ];
        for (owner, labels, want) in cases {
            let labels = labels.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            let metadata = Metadata {
                name: "reviews-x".into(),
                labels: labels.into_iter().collect(),
                controller: owner.map(|(kind, name)| (kind.to_owned(), name.to_owned())),
                ..Metadata::default()
            };
            assert_eq!(controller(&metadata), want, "{owner:?}");
        }
    }
}
