//! WorkloadEntry (networking.istio.io): one workload, where its app listens, who it is.
//!
//! It does not know which services select it, nor whether its sidecar has joined. The endpoints of a ServiceEntry
//! are written in the same way.

use crate::fields::{Cursor, Fields, Place};
use crate::names::LabelSet;
use crate::problem::Code;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkloadEntry {
    pub(crate) address: Address,
    pub(crate) ports: BTreeMap<String, u16>,
    /// Of the spec and of metadata, which wins.
    pub(crate) labels: LabelSet,
    pub(crate) weight: u32,
    pub(crate) service_account: String,
    pub(crate) pod: Option<PodFacts>,
    pub(crate) place: Place,
}

/// What is known of a workload that is a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PodFacts {
    pub(crate) uid: String,
    pub(crate) sidecar: Sidecar,
    pub(crate) readiness: Readiness,
    /// All of its own addresses, the first included; none while it has none, or where it has its node's.
    pub(crate) addresses: Vec<IpAddr>,
    /// What made it, as Istio names workloads: the Deployment's name, not the pod's.
    pub(crate) controller: String,
}

/// Whether a pod takes the mesh's TLS at its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sidecar {
    Injected,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Readiness {
    Ready,
    NotReady,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Ip(IpAddr),
    /// A DNS name, resolved by the caller's proxy.
    Name(String),
    /// A pod that has none yet.
    Unknown,
}

pub(crate) fn read(fields: &mut Fields<'_>, labels: &LabelSet) -> Option<WorkloadEntry> {
    let mut entry = endpoint(&fields.required("spec")?)?;
    entry.labels.extend(labels.clone());
    Some(entry)
}

/// Also an entry of a ServiceEntry's `endpoints`.
pub(crate) fn endpoint(cursor: &Cursor<'_>) -> Option<WorkloadEntry> {
    cursor.object(|fields| {
        let address = fields.required("address").and_then(|c| address(&c));
        let ports = fields.get("ports").map(|c| ports(&c)).unwrap_or_default();
        let labels = fields.get("labels").map(|c| c.text_map()).unwrap_or_default();
        let weight = fields.get("weight").and_then(|c| c.count());
        let service_account = fields.get("serviceAccount").map(|c| account(&c));
        fields.not_supported("network", "a mesh over several networks");
        fields.no_effect(
            "locality",
            "balancing by locality is not supported by this version of Weft, so this changes nothing",
        );
        Some(WorkloadEntry {
            address: address?,
            ports,
            labels,
            weight: weight.unwrap_or(1).max(1),
            service_account: service_account.unwrap_or_else(|| Some("default".into()))?,
            pod: None,
            place: cursor.place(),
        })
    })?
}

fn address(cursor: &Cursor<'_>) -> Option<Address> {
    let text = cursor.nonempty()?;
    if text.starts_with("unix://") {
        cursor.not_supported(
            "Unix sockets are not supported by this version of Weft",
            "write the IP address on which the app listens",
        );
        return None;
    }
    if text == "localhost" {
        return Some(Address::Ip(IpAddr::from([127, 0, 0, 1])));
    }
    if let Ok(ip) = text.parse() {
        return Some(Address::Ip(ip));
    }
    match text.parse::<weft_snapshot::Host>() {
        Ok(host) if !host.is_wildcard() => Some(Address::Name(host.to_string())),
        _ => {
            cursor.error(
                Code::BadValue,
                format!("{text:?} is no address"),
                "write an IP address without port, or a DNS name",
            );
            None
        }
    }
}

fn ports(cursor: &Cursor<'_>) -> BTreeMap<String, u16> {
    let one = |(name, port): (&str, Cursor<'_>)| Some((name.to_owned(), port.port()?));
    cursor.entries().into_iter().filter_map(one).collect()
}

/// It becomes a part of the workload's SPIFFE id.
fn account(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    if weft_snapshot::SpiffeId::new("x", "x", text).is_err() {
        cursor.error(Code::BadName, format!("{text:?} is no service account"), "use letters, digits, - and .");
        return None;
    }
    Some(text.to_owned())
}

/// An endpoint that a ServiceEntry's host stands for itself.
pub(crate) fn named(host: &str, place: Place) -> WorkloadEntry {
    let address = host.parse().map_or_else(|_| Address::Name(host.to_owned()), Address::Ip);
    WorkloadEntry {
        address,
        ports: BTreeMap::new(),
        labels: LabelSet::new(),
        weight: 1,
        service_account: "default".into(),
        pod: None,
        place,
    }
}

impl WorkloadEntry {
    pub(crate) fn is_in_mesh_as_pod(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.sidecar == Sidecar::Injected)
    }
}

pub(crate) fn is_ip(entry: &WorkloadEntry) -> bool {
    matches!(entry.address, Address::Ip(_))
}

/// A label selector, as `workloadSelector` and `selector` write it.
pub(crate) fn selector(fields: &mut Fields<'_>, name: &'static str, labels: &'static str) -> Option<LabelSet> {
    let cursor = fields.get(name)?;
    let selector = cursor.object(|fields| fields.get(labels).map(|c| c.text_map()).unwrap_or_default())?;
    if selector.keys().any(|key| key.contains('*')) || selector.values().any(|value| value.contains('*')) {
        cursor.error(Code::BadValue, "wildcards in a label selector", "write the labels out");
    }
    Some(selector)
}
