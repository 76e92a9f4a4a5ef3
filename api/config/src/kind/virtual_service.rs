//! VirtualService (networking.istio.io): how requests to its hosts are routed.
//!
//! It does not know whether its hosts and destinations exist.

use super::attachment::{self, Attachment, Side};
use super::route::{self, Route};
use crate::fields::{Cursor, Fields, Place};
use crate::names::{ExportTo, qualify};
use crate::object::ObjectId;
use crate::problem::Code;
use weft_snapshot::Host;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct VirtualService {
    /// Fully qualified.
    pub(crate) hosts: Vec<(Host, Place)>,
    pub(crate) export_to: ExportTo,
    /// Empty only where `filters` is not: the default routes, with those filters.
    pub(crate) http: Vec<Route>,
    pub(crate) filters: Vec<Attachment>,
}

pub(crate) fn read(fields: &mut Fields<'_>, namespace: &str) -> Option<VirtualService> {
    fields.required("spec")?.object(|fields| {
        let hosts = hosts(fields, namespace);
        gateways(fields);
        let export_to = export_to(fields, namespace);
        let filters = attachment::on_either_side(fields);
        fields.not_supported("tcp", "routing of TCP by a VirtualService");
        fields.not_supported("tls", "routing of TLS by a VirtualService");
        let http = fields.list("http").iter().filter_map(|c| route::route(c, namespace)).collect::<Vec<_>>();
        if !["http", "tcp", "tls"].iter().any(|name| fields.has(name)) && filters.is_empty() {
            fields.cursor().error(Code::MissingField, "neither routes nor filters", "add http, with a list of routes");
        }
        route_names_differ(fields, &http);
        Some(VirtualService { hosts: hosts?, export_to, http, filters })
    })?
}

pub(crate) fn export_to(fields: &mut Fields<'_>, namespace: &str) -> ExportTo {
    let names = fields.get("exportTo").map(|c| c.texts()).unwrap_or_default();
    ExportTo::new(names, namespace)
}

fn hosts(fields: &mut Fields<'_>, namespace: &str) -> Option<Vec<(Host, Place)>> {
    let list = fields.required("hosts")?;
    let entries = list.list();
    if list.is_list() && entries.is_empty() {
        list.not_supported(
            "a VirtualService without hosts is a delegate, and delegation is not supported by this version of Weft",
            "name the hosts, and write the routes where they apply",
        );
    }
    let hosts: Vec<_> = entries.iter().filter_map(|c| Some((host(c, namespace)?, c.place()))).collect();
    for (index, (host, _)) in hosts.iter().enumerate() {
        if hosts[..index].iter().any(|(other, _)| other == host) {
            entries[index].error(Code::Conflict, format!("{host} is listed twice"), "remove one of the two");
        }
    }
    (hosts.len() == entries.len()).then_some(hosts)
}

fn host(cursor: &Cursor<'_>, namespace: &str) -> Option<Host> {
    let text = cursor.nonempty()?;
    if text == "*" {
        cursor.error(
            Code::BadValue,
            "the host * is for gateways only",
            "name the hosts, or a suffix such as *.example.com",
        );
        return None;
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        cursor.error(
            Code::BadValue,
            format!("{text} is an address, and those are for gateways only"),
            "write the service's name",
        );
        return None;
    }
    match qualify(text, namespace) {
        Ok(host) => Some(host),
        Err(error) => {
            cursor.error(
                Code::BadValue,
                error.to_string(),
                "write a host without port, such as reviews or *.example.com",
            );
            None
        }
    }
}

/// Only `mesh`, the sidecars, is served.
fn gateways(fields: &mut Fields<'_>) {
    let Some(list) = fields.get("gateways") else { return };
    let names = list.list();
    let in_mesh = names.iter().any(|c| c.is_exactly("mesh"));
    for gateway in names.iter().filter(|c| !c.is_exactly("mesh")) {
        let Some(name) = gateway.text() else { continue };
        let reason = format!("gateways are not supported by this version of Weft, so this does not count for {name:?}");
        if in_mesh {
            gateway.warn(Code::NotSupported, reason, "nothing, if the sidecars are enough");
        } else {
            gateway.not_supported(reason, "add mesh to gateways, or remove gateways, to route in sidecars");
        }
    }
}

/// targetRefs and logs name routes: a name must mean one of them.
fn route_names_differ(fields: &Fields<'_>, routes: &[Route]) {
    for (index, route) in routes.iter().enumerate() {
        if !route.name.is_empty() && routes[..index].iter().any(|other| other.name == route.name) {
            let reason = format!("{} has two routes named {:?}", route.place.path, route.name);
            fields.cursor().warn(Code::Conflict, reason, "give them different names: logs and targetRefs go by name");
        }
    }
}

/// Of a broken VirtualService that attaches filters: its hosts, closed. `None` where it guards nothing, or its hosts
/// cannot be read.
pub(crate) fn closed(root: &Cursor<'_>, id: &ObjectId) -> Option<VirtualService> {
    let spec = root.find("spec")?;
    let of_routes = spec.find("http").map(|c| c.list()).unwrap_or_default();
    let mut of_destinations = of_routes.iter().flat_map(|route| route.find("route")).flat_map(|c| c.list());
    let guarded = spec.find("filters").is_some()
        || of_routes.iter().any(|route| route.find("filters").is_some())
        || of_destinations.any(|destination| destination.find("filters").is_some());
    let hosts = spec.find("hosts")?.list();
    let host = |c: &Cursor<'_>| Some((qualify(c.scalar()?, &id.namespace).ok()?, c.place()));
    let hosts: Vec<_> = hosts.iter().filter_map(host).collect();
    if !guarded || hosts.is_empty() {
        return None;
    }
    let exported = spec.find("exportTo").map(|c| c.texts()).unwrap_or_default();
    let own = spec.find("filters").map(|c| c.list()).unwrap_or_default();
    let at_destination = own.iter().any(|c| c.find("at").is_some_and(|side| !side.is_exactly("Caller")));
    let closing = |side| Attachment::closing(&id.to_string(), side, spec.place());
    let mut filters = vec![closing(Side::Caller)];
    filters.extend(at_destination.then(|| closing(Side::Destination)));
    Some(VirtualService { hosts, export_to: ExportTo::new(exported, &id.namespace), http: Vec::new(), filters })
}
