//! Services, ServiceEntries and the workloads behind them.
//!
//! It does not know routes.

use super::Findings;
use crate::compile::workload_port;
use crate::kind::port::{Port, Target};
use crate::kind::service::Form;
use crate::kind::service_entry::Endpoints;
use crate::kind::workload_entry::Address;
use crate::kind::{Service, ServiceEntry, WorkloadEntry};
use crate::names;
use crate::object::{Meta, Object};
use crate::problem::Code;
use crate::world::{Backing, Declared, Index};
use crate::{fields::Place, identity};
use weft_snapshot::Host;

pub(super) fn service(index: &Index, object: &Object<Service>, findings: &mut Findings) {
    let Ok(host) = names::service_host(&object.meta.id.name, object.meta.namespace()) else { return };
    let Some(declared) = own(index, &host, &object.meta) else { return };
    let place = &object.spec.place;
    // In a cluster pods come and go, and an alias needs none.
    if object.meta.age.created.is_some() || matches!(object.spec.form, Form::Alias(_)) {
        return;
    }
    if object.spec.selector.is_empty() {
        let text =
            ("it has no selector, so nothing answers for it".to_owned(), "add a selector, or write a ServiceEntry");
        findings.warn(&object.meta, Code::NoWorkload, place, text);
        return;
    }
    backing(declared, place, &words(&object.spec.selector), findings);
}

pub(super) fn entry(index: &Index, object: &Object<ServiceEntry>, findings: &mut Findings) {
    for (host, place) in &object.spec.hosts {
        duplicate(index, host, &object.meta, place, findings);
        if let (Endpoints::Selected(selector, place), Some(declared)) =
            (&object.spec.endpoints, own(index, host, &object.meta))
        {
            backing(declared, place, &words(selector), findings);
        }
    }
}

fn own<'a>(index: &'a Index, host: &Host, meta: &Meta) -> Option<&'a Declared> {
    index.services.get(host)?.iter().find(|declared| declared.meta.id == meta.id).map(|declared| &**declared)
}

fn words(selector: &names::LabelSet) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// An older declaration of the same host that the same callers see.
fn duplicate(index: &Index, host: &Host, meta: &Meta, place: &Place, findings: &mut Findings) {
    let declared = index.services.get(host).map_or(&[][..], Vec::as_slice);
    let Some(mine) = declared.iter().position(|d| d.meta.id == meta.id) else { return };
    let older = declared[..mine].iter().find(|other| other.export_to.overlaps(&declared[mine].export_to));
    if let Some(other) = older {
        let reason =
            format!("{} ({}) declares {host} already, and that one counts", other.meta.id, other.meta.age.file);
        findings.warn(meta, Code::DuplicateHost, place, (reason, "remove one of the two, or narrow exportTo"));
    }
}

fn backing(declared: &Declared, place: &Place, selector: &str, findings: &mut Findings) {
    let Backing::Workloads(entries) = &declared.backing else { return };
    if entries.is_empty() {
        let reason =
            format!("its selector {selector} selects no WorkloadEntry of namespace {}", declared.meta.namespace());
        findings.warn(
            &declared.meta,
            Code::NoWorkload,
            place,
            (reason, "add the label to a WorkloadEntry, or correct the selector"),
        );
    }
    for port in &declared.ports {
        let Port { name, target: Target::Name(target), .. } = port else { continue };
        if let Some(entry) = entries.iter().find(|entry| workload_port(&entry.spec, port).is_none()) {
            let reason = format!(
                "WorkloadEntry {} has no port named {target}, which port {name:?} targets",
                identity::name(entry)
            );
            findings.warn(&declared.meta, Code::UnknownPort, place, (reason, "add it to the workload's ports"));
        }
    }
}

pub(super) fn workload(index: &Index, object: &Object<WorkloadEntry>, findings: &mut Findings) {
    let spec = &object.spec;
    if let Address::Name(name) = &spec.address
        && index.memberships.contains_key(&identity::name(object))
    {
        let reason = format!("its address {name} is a name: a sidecar for it would not know where its app listens");
        findings.warn(&object.meta, Code::NoEffect, &spec.place, (reason, "write an IP address, if it gets a sidecar"));
    }
}
