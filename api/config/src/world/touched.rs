//! Whom a change concerns, where that can be told from the change itself: so that of a thousand proxies those are looked
//! at again that call the service which has changed.
//!
//! Where in doubt, everyone. It does not know proxies.

use super::index::{Discovery, Index};
use crate::identity;
use crate::kind::{EndpointSlice, VirtualService, WorkloadEntry};
use crate::names;
use crate::object::Object;
use crate::parse::{Any, Integrity, ParsedFile};
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_snapshot::{Host, WorkloadName};

/// The views that may differ between one world and the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    Everyone,
    /// Views that hold one of these hosts, and those of these workloads.
    Some {
        hosts: BTreeSet<Host>,
        workloads: BTreeSet<WorkloadName>,
    },
}

impl Default for Touched {
    fn default() -> Self {
        Self::Some { hosts: BTreeSet::new(), workloads: BTreeSet::new() }
    }
}

impl Touched {
    /// Of one change after the other.
    pub fn and(self, next: &Self) -> Self {
        match (self, next) {
            (Self::Some { mut hosts, mut workloads }, Self::Some { hosts: more_hosts, workloads: more }) => {
                hosts.extend(more_hosts.iter().cloned());
                workloads.extend(more.iter().cloned());
                Self::Some { hosts, workloads }
            }
            _ => Self::Everyone,
        }
    }
}

/// One file, before and after.
pub(super) type Change = (Option<Arc<ParsedFile>>, Option<Arc<ParsedFile>>);

pub(super) fn touched(changes: &[Change], before: &Index, after: &Index) -> Touched {
    let mut found = Found { before, after, hosts: BTreeSet::new(), workloads: BTreeSet::new() };
    let all = changes.len() <= CHANGES_MAX && changes.iter().all(|change| found.take(change).is_some());
    let Found { hosts, workloads, .. } = found;
    if all { Touched::Some { hosts, workloads } } else { Touched::Everyone }
}

/// Sidecars that have joined for these workloads, or have gone.
pub(super) fn touched_by<'a>(workloads: impl Iterator<Item = &'a WorkloadName>, index: &Index) -> Touched {
    let mut found = Found { before: index, after: index, hosts: BTreeSet::new(), workloads: BTreeSet::new() };
    for name in workloads {
        if found.workload(name.clone()).is_none() {
            return Touched::Everyone;
        }
    }
    Touched::Some { hosts: found.hosts, workloads: found.workloads }
}

struct Found<'a> {
    before: &'a Index,
    after: &'a Index,
    hosts: BTreeSet<Host>,
    workloads: BTreeSet<WorkloadName>,
}

impl Found<'_> {
    /// `None`: it may concern anyone.
    fn take(&mut self, (before, after): &Change) -> Option<()> {
        let pair = (single(before.as_deref())?, single(after.as_deref())?);
        match pair {
            (None, None) => Some(()),
            (Some(Any::EndpointSlice(_)) | None, Some(Any::EndpointSlice(_)) | None) => {
                for any in [pair.0, pair.1].into_iter().flatten() {
                    if let Any::EndpointSlice(slice) = any {
                        self.slice(slice)?;
                    }
                }
                Some(())
            }
            (Some(Any::Pod(_)) | None, Some(Any::Pod(_)) | None) => {
                for any in [pair.0, pair.1].into_iter().flatten() {
                    if let Any::Pod(pod) = any {
                        self.pod(pod)?;
                    }
                }
                Some(())
            }
            (Some(Any::VirtualService(before)), Some(Any::VirtualService(after))) => self.routes(before, after),
            _ => None,
        }
    }

    fn slice(&mut self, slice: &Object<EndpointSlice>) -> Option<()> {
        let host = names::service_host(&slice.spec.service, slice.meta.namespace()).ok();
        self.workloads.extend(slice.spec.endpoints.iter().filter_map(|one| one.pod.clone()));
        match host {
            Some(host) => self.service(host),
            // It is of no Service.
            None => Some(()),
        }
    }

    fn pod(&mut self, pod: &Object<WorkloadEntry>) -> Option<()> {
        self.workload(identity::name(pod))
    }

    fn workload(&mut self, name: WorkloadName) -> Option<()> {
        for index in [self.before, self.after] {
            let declared = index.memberships.get(&name).map_or(&[][..], Vec::as_slice);
            for host in declared.iter().map(|declared| declared.host.clone()) {
                self.service(host)?;
            }
        }
        self.workloads.insert(name);
        Some(())
    }

    /// A service whose endpoints have changed, and neither its name nor its addresses.
    fn service(&mut self, host: Host) -> Option<()> {
        for index in [self.before, self.after] {
            let declared = index.services.get(&host).into_iter().flatten();
            let by_address = declared.into_iter().any(|declared| declared.discovery == Discovery::ByAddress);
            // Addresses that are asked for mean something else now; another name may be routed on its own.
            if by_address || index.aliases.values().any(|target| *target == host) {
                return None;
            }
        }
        self.hosts.insert(host);
        Some(())
    }

    /// Routes that have changed, and nothing that decides for whom they are.
    fn routes(&mut self, before: &Object<VirtualService>, after: &Object<VirtualService>) -> Option<()> {
        let hosts = |object: &Object<VirtualService>| -> Vec<Host> {
            object.spec.hosts.iter().map(|(host, _)| host.clone()).collect()
        };
        let same = hosts(before) == hosts(after)
            && before.spec.export_to == after.spec.export_to
            && before.spec.filters == after.spec.filters
            && before.meta.id == after.meta.id
            && before.meta.age.created == after.meta.age.created;
        // Another version than the written one may count.
        let counts = |index: &Index, object: &Object<VirtualService>| {
            hosts(object).iter().all(|host| {
                let known = index.virtual_services.get(host).into_iter().flatten();
                known.into_iter().any(|other| std::ptr::eq(&**other, object))
            })
        };
        let both = counts(self.before, before) && counts(self.after, after);
        if !same || !both || hosts(after).iter().any(Host::is_wildcard) {
            return None;
        }
        self.hosts.extend(hosts(after));
        Some(())
    }
}

/// The one whole object of a file, `Some(None)` where there is no file; `None` where there is anything else.
pub(super) fn single(file: Option<&ParsedFile>) -> Option<Option<&Any>> {
    let Some(file) = file else { return Some(None) };
    match &file.good[..] {
        [any] if file.broken.is_empty() && file.integrity == Integrity::Whole => Some(Some(any)),
        _ => None,
    }
}

/// More than that, and looking at everyone is no worse.
const CHANGES_MAX: usize = 64;
