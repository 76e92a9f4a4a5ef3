//! What the EndpointSlices of a cluster say of a Service: where it is answered, and by which pod.
//!
//! It does not know the Service.

use super::index::Discovery;
use super::workforce::Workforce;
use crate::kind::endpoint_slice::Taking;
use crate::kind::{EndpointSlice, WorkloadEntry};
use crate::object::Object;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use weft_snapshot::WorkloadName;

/// One place that takes requests for a Service.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Located {
    pub(crate) address: IpAddr,
    /// By the name of the Service's port.
    pub(crate) ports: Arc<BTreeMap<String, Option<u16>>>,
    /// `None`: something outside the cluster, or a node.
    pub(crate) pod: Option<Arc<Object<WorkloadEntry>>>,
}

/// All EndpointSlices, by namespace and Service.
pub(super) struct Slices<'a> {
    by_service: HashMap<(&'a str, &'a str), Vec<&'a Arc<Object<EndpointSlice>>>>,
    workforce: &'a Workforce,
}

/// Those of one Service.
pub(super) struct OfService<'s> {
    pub(super) slices: &'s [&'s Arc<Object<EndpointSlice>>],
    pub(super) workforce: &'s Workforce,
}

impl<'a> Slices<'a> {
    pub(super) fn new(slices: &'a [Arc<Object<EndpointSlice>>], workforce: &'a Workforce) -> Self {
        let mut by_service: HashMap<_, Vec<_>> = HashMap::new();
        for slice in slices {
            by_service.entry((slice.meta.namespace(), slice.spec.service.as_str())).or_default().push(slice);
        }
        Self { by_service, workforce }
    }

    /// `None`: there are none, which is not the same as empty ones.
    pub(super) fn of<'s>(&'s self, namespace: &'s str, service: &'s str) -> Option<OfService<'s>> {
        let slices = self.by_service.get(&(namespace, service))?;
        Some(OfService { slices, workforce: self.workforce })
    }
}

impl OfService<'_> {
    pub(super) fn slices(&self) -> impl Iterator<Item = &Arc<Object<EndpointSlice>>> {
        self.slices.iter().copied()
    }

    /// Where new requests may go. Where the mesh chooses, of one family, the Service's first, or an endpoint of both
    /// would count twice; where the app does, DNS has told it of both.
    pub(super) fn located(&self, service_address: Option<&str>, discovery: Discovery) -> Vec<Located> {
        let first: Option<IpAddr> = service_address.and_then(|address| address.parse().ok());
        let all =
            || self.slices.iter().flat_map(|slice| slice.spec.endpoints.iter().map(|one| (one, &slice.spec.ports)));
        let wanted = first.or_else(|| all().map(|(one, _)| one.address).min());
        let has = |v4: bool| all().any(|(one, _)| one.address.is_ipv4() == v4);
        let v4 =
            wanted.is_none_or(|address| if has(address.is_ipv4()) { address.is_ipv4() } else { !address.is_ipv4() });
        let of_family = |address: &IpAddr| discovery == Discovery::ByAddress || address.is_ipv4() == v4;
        let taking = all().filter(|(one, _)| one.taking == Taking::Requests && of_family(&one.address));
        let mut located: Vec<Located> = taking
            .map(|(one, ports)| {
                let named = one.pod.as_ref().and_then(|name| self.workforce.get(name));
                let pod = named.or_else(|| self.workforce.at(&one.address));
                Located { address: one.address, ports: ports.clone(), pod: pod.cloned() }
            })
            .collect();
        // An endpoint that moves from one slice to another is in both for a while.
        located.sort_by(|a, b| (a.address, &a.ports).cmp(&(b.address, &b.ports)));
        located.dedup_by(|a, b| (a.address, &a.ports) == (b.address, &b.ports));
        located
    }

    /// Every pod that answers for it, now, soon or no more.
    pub(super) fn pods(&self) -> impl Iterator<Item = WorkloadName> {
        let endpoints = self.slices.iter().flat_map(|slice| &slice.spec.endpoints);
        endpoints.filter_map(|one| one.pod.clone()).filter(|name| self.workforce.get(name).is_some())
    }
}
