//! ServiceEntry (networking.istio.io): services that are no Kubernetes Service, inside the mesh or out.
//!
//! It does not resolve names, and does not know the WorkloadEntries that it selects.

use super::port::{Port, Target, guessed_protocol, named_protocol};
use super::virtual_service::export_to;
use super::workload_entry::{self, WorkloadEntry};
use crate::fields::{Cursor, Fields, Place};
use crate::names::{ExportTo, LabelSet};
use crate::problem::Code;
use weft_snapshot::{Host, Protocol};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceEntry {
    pub(crate) hosts: Vec<(Host, Place)>,
    /// Addresses that stand for the hosts.
    pub(crate) addresses: Vec<Host>,
    pub(crate) ports: Vec<Port>,
    pub(crate) export_to: ExportTo,
    pub(crate) endpoints: Endpoints,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoints {
    /// WorkloadEntries of the same namespace.
    Selected(LabelSet, Place),
    /// Written out, for every host.
    Listed(Vec<WorkloadEntry>),
    /// Each host is its own endpoint, by name.
    Hosts,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolution {
    None,
    Static,
    Dns,
}

pub(crate) fn read(fields: &mut Fields<'_>, namespace: &str) -> Option<ServiceEntry> {
    let spec = fields.required("spec")?;
    spec.object(|fields| {
        let hosts = hosts(fields);
        let addresses = addresses(fields);
        let ports = ports(fields);
        let export_to = export_to(fields, namespace);
        fields.get("location").map(|c| c.one_of(&[("MESH_EXTERNAL", ()), ("MESH_INTERNAL", ())]));
        let resolution = resolution(fields);
        let written = Written::read(fields);
        fields.no_effect(
            "subjectAltNames",
            "TLS to services outside the mesh is not supported by this version of Weft, so this changes nothing",
        );
        let hosts = hosts?;
        let endpoints = written.endpoints(fields.cursor(), resolution?, &hosts)?;
        Some(ServiceEntry { hosts, addresses, ports, export_to, endpoints })
    })?
}

fn hosts(fields: &mut Fields<'_>) -> Option<Vec<(Host, Place)>> {
    let list = fields.required("hosts")?;
    let entries = list.list();
    if list.is_list() && (entries.is_empty() || entries.len() > 256) {
        list.error(Code::BadValue, format!("{} hosts", entries.len()), "write 1 to 256");
    }
    let hosts: Vec<(Host, Place)> = entries
        .iter()
        .filter_map(|c| {
            let host: Host = c.parse("write a DNS name, such as api.example.com or *.example.com")?;
            if host.as_str() == "*" {
                c.error(Code::BadValue, "the host *", "name a suffix, such as *.example.com");
                return None;
            }
            Some((host, c.place()))
        })
        .collect();
    for (index, (host, _)) in hosts.iter().enumerate() {
        if hosts[..index].iter().any(|(other, _)| other == host) {
            list.error(Code::Conflict, format!("{host} is listed twice"), "remove one of the two");
        }
    }
    (hosts.len() == entries.len()).then_some(hosts)
}

fn addresses(fields: &mut Fields<'_>) -> Vec<Host> {
    let mut addresses = Vec::new();
    for cursor in fields.list("addresses") {
        let Some(text) = cursor.nonempty() else { continue };
        if text.contains('/') {
            cursor.not_supported(
                "ranges of addresses are not supported by this version of Weft",
                "write single addresses",
            );
        } else if text.parse::<std::net::IpAddr>().is_ok() {
            addresses.extend(text.parse::<Host>());
        } else {
            cursor.error(Code::BadValue, format!("{text:?} is no address"), "write an IP address");
        }
    }
    addresses
}

fn resolution(fields: &mut Fields<'_>) -> Option<Resolution> {
    let Some(cursor) = fields.get("resolution") else { return Some(Resolution::None) };
    if cursor.is_exactly("DNS_ROUND_ROBIN") || cursor.is_exactly("DYNAMIC_DNS") {
        cursor.not_supported("this resolution is not supported by this version of Weft", "use DNS");
        return None;
    }
    cursor.one_of(&[("NONE", Resolution::None), ("STATIC", Resolution::Static), ("DNS", Resolution::Dns)])
}

/// What stands in `endpoints` and `workloadSelector`.
struct Written<'a> {
    entries: Vec<Cursor<'a>>,
    listed: Vec<WorkloadEntry>,
    selected: Option<(LabelSet, Place)>,
}

impl<'a> Written<'a> {
    fn read(fields: &mut Fields<'a>) -> Self {
        fields.exclusive(&["endpoints", "workloadSelector"]);
        let entries = fields.list("endpoints");
        let place = fields.get("workloadSelector").map(|c| c.place());
        let selected = workload_entry::selector(fields, "workloadSelector", "labels").zip(place);
        let listed = entries.iter().filter_map(workload_entry::endpoint).collect();
        Self { entries, listed, selected }
    }

    fn endpoints(self, cursor: &Cursor<'_>, resolution: Resolution, hosts: &[(Host, Place)]) -> Option<Endpoints> {
        if self.listed.len() < self.entries.len() {
            return None;
        }
        if let Some((selector, place)) = self.selected {
            return Some(Endpoints::Selected(selector, place));
        }
        match resolution {
            Resolution::Static if self.listed.is_empty() => {
                let remedy = "add endpoints or a workloadSelector";
                cursor.error(Code::MissingField, "resolution STATIC without endpoints", remedy);
                None
            }
            Resolution::Static => {
                let named = |(entry, _): &(&WorkloadEntry, &Cursor<'_>)| !workload_entry::is_ip(entry);
                for (_, cursor) in self.listed.iter().zip(&self.entries).filter(named) {
                    let remedy = "write an IP address, or use resolution DNS";
                    cursor.error(Code::BadValue, "resolution STATIC, and the address is a name", remedy);
                }
                Some(Endpoints::Listed(self.listed))
            }
            Resolution::None if !self.listed.is_empty() => {
                cursor.error(Code::Conflict, "endpoints with resolution NONE", "use resolution STATIC or DNS");
                None
            }
            Resolution::Dns if !self.listed.is_empty() => Some(Endpoints::Listed(self.listed)),
            Resolution::None | Resolution::Dns => by_name(cursor, hosts),
        }
    }
}

/// Without interception the app's own words are all there is: NONE is looked up by name as DNS is.
fn by_name(cursor: &Cursor<'_>, hosts: &[(Host, Place)]) -> Option<Endpoints> {
    let Some((wildcard, _)) = hosts.iter().find(|(host, _)| host.is_wildcard()) else { return Some(Endpoints::Hosts) };
    cursor.not_supported(
        format!("the wildcard host {wildcard} without endpoints is not supported by this version of Weft"),
        "name the hosts, or add endpoints; under outboundTrafficPolicy ALLOW_ANY apps reach them without a ServiceEntry",
    );
    None
}

fn ports(fields: &mut Fields<'_>) -> Vec<Port> {
    let entries = fields.list("ports");
    if entries.is_empty() {
        fields.cursor().error(Code::MissingField, "a ServiceEntry without ports", "add ports");
    }
    let mut ports: Vec<Port> = Vec::new();
    for entry in entries {
        let Some(port) = port(&entry) else { continue };
        if ports.iter().any(|other| other.number == port.number || other.name == port.name) {
            let reason = format!("port {} {:?} is there already", port.number, port.name);
            entry.error(Code::Conflict, reason, "give it another number and name");
            continue;
        }
        ports.push(port);
    }
    ports
}

fn port(cursor: &Cursor<'_>) -> Option<Port> {
    cursor.object(|fields| {
        let number = fields.required("number").and_then(|c| c.port());
        let name = fields.required("name").and_then(|c| c.nonempty());
        let protocol = fields.get("protocol").map(|c| protocol(&c));
        let target = fields.get("targetPort").map(|c| c.port());
        let (number, name) = (number?, name?.to_owned());
        let protocol = protocol.unwrap_or_else(|| Some(guessed_protocol(&name, number)))?;
        let target = target.unwrap_or(Some(number))?;
        Some(Port { number, name, protocol, target: Target::Number(target) })
    })?
}

fn protocol(cursor: &Cursor<'_>) -> Option<Protocol> {
    let text = cursor.nonempty()?;
    let protocol = named_protocol(text);
    if protocol.is_none() {
        let remedy = "write HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP or MONGO";
        cursor.error(Code::BadValue, format!("{text:?} is no protocol of a port"), remedy);
    }
    protocol
}
