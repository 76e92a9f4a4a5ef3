//! Kubernetes' own Service: a name and ports for the workloads that its selector finds.
//!
//! It does not know its endpoints: in a folder the workloads are WorkloadEntries, in a cluster EndpointSlices list them.

use super::port::{Port, Target, guessed_protocol, named_protocol};
use crate::fields::{Cursor, Fields, Place};
use crate::names::{ExportTo, LabelSet};
use crate::object::{Metadata, Origin};
use crate::problem::Code;
use weft_snapshot::Host;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Service {
    /// Empty: selects nothing.
    pub(crate) selector: LabelSet,
    pub(crate) ports: Vec<Port>,
    pub(crate) export_to: ExportTo,
    /// Of its `clusterIPs`.
    pub(crate) addresses: Vec<Host>,
    pub(crate) form: Form,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Its clients see one name, and one address per family.
    Balanced,
    /// `clusterIP: None`: DNS tells clients the endpoints' addresses, and they choose.
    Headless,
    /// Another name for a host.
    Alias(Host),
}

/// What a cloud, a node or kube-proxy does with a Service; a sidecar routes by its name.
const NOT_THE_MESH: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    // The endpoints' `ready` says it already.
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
        let (form, addresses) = form(fields);
        let may_be_empty =
            metadata.origin == Origin::Cluster || form.as_ref().is_none_or(|form| *form != Form::Balanced);
        let ports = ports(fields, may_be_empty);
        if let Some(affinity) = fields.get("sessionAffinity")
            && !affinity.is_exactly("None")
        {
            affinity
                .not_supported("session affinity is not supported by this version of Weft", "remove sessionAffinity");
        }
        fields.ignore(NOT_THE_MESH);
        Some(Service { selector, ports, export_to, addresses, form: form?, place: spec.place() })
    })?
}

fn form(fields: &mut Fields<'_>) -> (Option<Form>, Vec<Host>) {
    let known = [("ClusterIP", false), ("NodePort", false), ("LoadBalancer", false), ("ExternalName", true)];
    let is_alias = fields.get("type").and_then(|word| word.one_of(&known)).unwrap_or(false);
    let one = fields.get("clusterIP");
    let many = fields.list("clusterIPs");
    let written: Vec<&str> = one.iter().chain(&many).filter_map(Cursor::scalar).collect();
    let name = fields.get("externalName");
    if is_alias {
        let Some(name) = name else {
            fields.cursor().error(Code::MissingField, "ExternalName without externalName", "add externalName");
            return (None, Vec::new());
        };
        let host: Option<Host> = name.parse("write a DNS name, such as db.example.com");
        return (host.map(Form::Alias), Vec::new());
    }
    if let Some(name) = name {
        name.warn(Code::NoEffect, "externalName counts for type ExternalName only", "remove it, or set the type");
    }
    if written.contains(&"None") {
        return (Some(Form::Headless), Vec::new());
    }
    let mut addresses: Vec<Host> = Vec::new();
    for address in written.into_iter().filter(|text| text.parse::<std::net::IpAddr>().is_ok()) {
        if let Ok(address) = address.parse()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    (Some(Form::Balanced), addresses)
}

fn ports(fields: &mut Fields<'_>, may_be_empty: bool) -> Vec<Port> {
    let entries = fields.list("ports");
    if entries.is_empty() && !may_be_empty {
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
