//! Kubernetes' own Service: a name and ports for the workloads that its selector finds.
//!
//! It does not know pods: in a folder the workloads are WorkloadEntries.

use super::port::{Port, Target, guessed_protocol, named_protocol};
use crate::fields::{Cursor, Fields, Place};
use crate::names::{ExportTo, LabelSet};
use crate::object::Metadata;
use crate::problem::Code;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    /// Empty: selects nothing.
    pub(crate) selector: LabelSet,
    pub(crate) ports: Vec<Port>,
    pub(crate) export_to: ExportTo,
    pub(crate) place: Place,
}

/// What a cloud, a node or kube-proxy does with a Service; a sidecar routes by its name.
const NOT_THE_MESH: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "sessionAffinityConfig",
    "trafficDistribution",
];

pub(crate) fn read(fields: &mut Fields<'_>, metadata: &Metadata) -> Option<Service> {
    let export_to = metadata.export_to.as_deref().unwrap_or_default();
    let export_to = ExportTo::new(export_to.split(',').map(str::trim).filter(|s| !s.is_empty()), &metadata.namespace);
    let spec = fields.required("spec")?;
    spec.object(|fields| {
        let selector = fields.get("selector").map(|c| c.text_map()).unwrap_or_default();
        let ports = ports(fields);
        service_type(fields);
        if let Some(affinity) = fields.get("sessionAffinity")
            && !affinity.is_exactly("None")
        {
            affinity
                .not_supported("session affinity is not supported by this version of Weft", "remove sessionAffinity");
        }
        fields.ignore(NOT_THE_MESH);
        Service { selector, ports, export_to, place: spec.place() }
    })
}

fn service_type(fields: &mut Fields<'_>) {
    fields.not_supported("externalName", "a Service that is another name for a host");
    let Some(word) = fields.get("type") else { return };
    let known = [("ClusterIP", true), ("NodePort", true), ("LoadBalancer", true), ("ExternalName", false)];
    if word.one_of(&known) == Some(false) {
        word.not_supported(
            "ExternalName is not supported by this version of Weft",
            "write a ServiceEntry with resolution DNS",
        );
    }
}

fn ports(fields: &mut Fields<'_>) -> Vec<Port> {
    let entries = fields.list("ports");
    if entries.is_empty() {
        fields.cursor().error(Code::MissingField, "a Service without ports", "add ports");
    }
    let mut ports: Vec<Port> = Vec::new();
    for entry in &entries {
        let Some(port) = port(entry) else { continue };
        if entries.len() > 1 && port.name.is_empty() {
            entry.error(Code::MissingField, "one of several ports has no name", "add name to each");
        }
        if let Some(other) = ports.iter().find(|other| other.number == port.number || other.name == port.name) {
            let reason = format!("port {} {:?} is there already", other.number, other.name);
            entry.error(Code::Conflict, reason, "give it another number and name");
            continue;
        }
        ports.push(port);
    }
    ports
}

fn port(cursor: &Cursor<'_>) -> Option<Port> {
    cursor.object(|fields| {
        let name = fields.get("name").and_then(|c| c.text()).unwrap_or_default().to_owned();
        let number = fields.required("port").and_then(|c| c.port());
        let target = fields.get("targetPort").map(|c| target(&c));
        let transport =
            fields.get("protocol").and_then(|c| c.one_of(&[("TCP", "TCP"), ("UDP", "UDP"), ("SCTP", "SCTP")]));
        let app_protocol = fields.get("appProtocol").and_then(|c| c.text()).and_then(named_protocol);
        fields.ignore(&["nodePort"]);
        if let Some(other @ ("UDP" | "SCTP")) = transport {
            let reason = format!("{other} is not supported by this version of Weft: the mesh leaves this port out");
            cursor.warn(Code::NotSupported, reason, "nothing, if apps reach it without the mesh");
            return None;
        }
        let number = number?;
        let protocol = app_protocol.unwrap_or_else(|| guessed_protocol(&name, number));
        Some(Port { number, name, protocol, target: target.unwrap_or(Some(Target::Number(number)))? })
    })?
}

fn target(cursor: &Cursor<'_>) -> Option<Target> {
    let text = cursor.scalar()?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|port| *port > 0).map(Target::Number).or_else(|| {
            cursor.error(Code::BadValue, format!("{text} is no port"), "write a number from 1 to 65535");
            None
        });
    }
    Some(Target::Name(text.to_owned()))
}
