//! What a Service declares, from what it says and from who answers for it now.
//!
//! It does not know how a declaration is found again.

use super::index::{Backing, Declared, Discovery, Index, Made};
use super::located::OfService;
use super::workforce::Workforce;
use crate::identity;
use crate::kind::port::Port;
use crate::kind::service::Form;
use crate::kind::{EndpointSlice, Service};
use crate::names::ExportTo;
use crate::object::{Object, digest};
use std::net::IpAddr;
use std::sync::Arc;
use weft_snapshot::{Host, WorkloadName};

/// What a declaration is made of beside its host.
pub(super) struct Declaration {
    pub(super) ports: Vec<Port>,
    pub(super) export_to: ExportTo,
    pub(super) addresses: Vec<Host>,
    pub(super) discovery: Discovery,
    pub(super) backing: Backing,
    /// That answer for it without being sent requests now: not ready yet, or no more.
    pub(super) members: Vec<WorkloadName>,
}

/// What answers for a Service, in a cluster or in a folder.
pub(super) fn declaration(
    service: &Object<Service>,
    slices: Option<&OfService<'_>>,
    workforce: &Workforce,
) -> Declaration {
    let (spec, namespace) = (&service.spec, service.meta.namespace());
    let selected = if spec.selector.is_empty() { Vec::new() } else { workforce.matching(namespace, &spec.selector) };
    let mut members: Vec<WorkloadName> = selected.iter().map(|entry| identity::name(entry)).collect();
    // Pods are endpoints where an EndpointSlice says so, and never because of their labels.
    let entries: Vec<_> = selected.into_iter().filter(|entry| entry.spec.pod.is_none()).collect();
    let discovery = if spec.form == Form::Headless { Discovery::ByAddress } else { Discovery::ByName };
    let backing = match (&spec.form, slices) {
        (Form::Alias(target), _) => {
            Backing::Listed(vec![crate::kind::workload_entry::named(target.as_str(), spec.place.clone())])
        }
        (_, Some(slices)) => {
            let located = slices.located(spec.addresses.first().map(Host::as_str), discovery);
            let named = located.iter().filter_map(|one| one.pod.as_ref()).map(|pod| identity::name(pod));
            members.extend(slices.pods().chain(named));
            members.sort();
            members.dedup();
            Backing::Located(located, entries)
        }
        (_, None) => Backing::Workloads(entries),
    };
    Declaration {
        ports: spec.ports.clone(),
        export_to: spec.export_to.clone(),
        addresses: spec.addresses.clone(),
        discovery,
        backing,
        members,
    }
}

impl Index {
    /// Those of the one Service that declares this host.
    pub(super) fn slices(&self, host: &Host) -> Option<Vec<Arc<Object<EndpointSlice>>>> {
        self.made.get(host).map(|made| made.slices.clone())
    }

    /// A Service that is answered elsewhere, by the workloads that there are now. `None`: more follows from it than
    /// that; then this index is not to be used.
    pub(super) fn redeclare(&mut self, host: &Host, slices: Vec<Arc<Object<EndpointSlice>>>) -> Option<()> {
        let Made { service, members, declared: old, .. } = self.made.get(host)?.clone();
        let of_service: Vec<_> = slices.iter().collect();
        let of_service = OfService { slices: &of_service, workforce: &self.workforce };
        let declaration = declaration(&service, (!slices.is_empty()).then_some(&of_service), &self.workforce);
        let asked_for = |backing: &Backing| -> Vec<IpAddr> {
            match (old.discovery, backing) {
                (Discovery::ByAddress, Backing::Located(located, _)) => located.iter().map(|one| one.address).collect(),
                _ => Vec::new(),
            }
        };
        if declaration.members != *members || asked_for(&declaration.backing) != asked_for(&old.backing) {
            return None;
        }
        let Declared { host, meta, ports, export_to, addresses, discovery, .. } = (*old).clone();
        let hash = digest(&(&host, &meta.id, &ports, &addresses, discovery, &declaration.backing));
        let backing = declaration.backing;
        let new = Arc::new(Declared { hash, host, meta, ports, export_to, addresses, discovery, backing });
        let replace = |all: &mut Vec<Arc<Declared>>| {
            all.iter_mut().filter(|declared| Arc::ptr_eq(declared, &old)).for_each(|declared| *declared = new.clone());
        };
        self.services.get_mut(&new.host).map(replace)?;
        members.iter().filter_map(|name| self.memberships.get_mut(name).map(replace)).for_each(drop);
        self.made.insert_mut(new.host.clone(), Made { service, slices, members, declared: new });
        Some(())
    }
}
