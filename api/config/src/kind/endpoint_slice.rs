//! EndpointSlice (discovery.k8s.io): which addresses answer for a Service, and which of them take new requests.
//!
//! It does not know the Service's ports, and not who is behind an address but by name.

use crate::fields::{Cursor, Fields};
use crate::object::Metadata;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use weft_snapshot::WorkloadName;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointSlice {
    /// Name of the Service, in the same namespace. Empty: of none.
    pub(crate) service: String,
    /// By the name of the Service's port; `None` stands for every port.
    pub(crate) ports: Arc<BTreeMap<String, Option<u16>>>,
    pub(crate) endpoints: Vec<SliceEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SliceEndpoint {
    pub(crate) address: IpAddr,
    pub(crate) pod: Option<WorkloadName>,
    pub(crate) taking: Taking,
}

/// Whether it takes new requests. One that terminates finishes those that it has, which is not ours to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Taking {
    Requests,
    Nothing,
}

pub(crate) fn read(fields: &mut Fields<'_>, metadata: &Metadata) -> Option<EndpointSlice> {
    fields.ignore(&["addressType"]);
    let ports = fields.list("ports").iter().filter_map(port).collect();
    let endpoints = fields.list("endpoints");
    let endpoints = endpoints.iter().flat_map(|endpoint| self::endpoints(endpoint, &metadata.namespace)).collect();
    let service = metadata.labels.get("kubernetes.io/service-name").cloned().unwrap_or_default();
    Some(EndpointSlice { service, ports: Arc::new(ports), endpoints })
}

fn port(cursor: &Cursor<'_>) -> Option<(String, Option<u16>)> {
    let protocol = cursor.find("protocol");
    if protocol.is_some_and(|protocol| !protocol.is_exactly("TCP")) {
        return None;
    }
    let name = cursor.find("name").and_then(|c| c.scalar().map(str::to_owned)).unwrap_or_default();
    Some((name, cursor.find("port").and_then(|c| c.scalar()?.parse().ok())))
}

/// Addresses of one endpoint mean the same place; what is no IP address (a slice of names) is left out.
fn endpoints(cursor: &Cursor<'_>, namespace: &str) -> Option<SliceEndpoint> {
    let addresses = cursor.find("addresses")?.list();
    let address = addresses.iter().find_map(|address| address.scalar()?.parse().ok())?;
    Some(SliceEndpoint { address, pod: pod(cursor, namespace), taking: taking(cursor) })
}

fn pod(cursor: &Cursor<'_>, namespace: &str) -> Option<WorkloadName> {
    let target = cursor.find("targetRef").filter(|target| target.find("kind").is_some_and(|c| c.is_exactly("Pod")))?;
    let text = |key: &str| target.find(key).and_then(|c| c.scalar().map(str::to_owned));
    Some(WorkloadName { namespace: text("namespace").unwrap_or_else(|| namespace.to_owned()), name: text("name")? })
}

/// Conditions that are absent mean the best: ready, not terminating.
fn taking(cursor: &Cursor<'_>) -> Taking {
    let condition = |name: &str| cursor.find("conditions")?.find(name).map(|c| c.is_exactly("true"));
    let ready = condition("ready").unwrap_or(true) && !condition("terminating").unwrap_or(false);
    if ready { Taking::Requests } else { Taking::Nothing }
}
