//! Collects what one proxy may see: from each host that it asked for to all that this host's rules name.
//!
//! It does not turn any of it into a snapshot.

use super::{
    Authentication, Caller, FilterFacts, Guarded, Hosts, OwnWorkload, Seen, Subject, Target, UnknownWorkload, View,
    Viewpoint,
};
use crate::identity;
use crate::kind::mesh::Mesh;
use crate::kind::{Attachment, Filter, PeerAuthentication, Side, VirtualService, WorkloadEntry};
use crate::names::{LabelSet, selects};
use crate::object::{Meta, Object};
use crate::world::{Declared, Index};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_snapshot::{Host, WorkloadName};

pub(crate) fn collect(index: &Index, mesh: &Mesh, at: &Viewpoint<'_>) -> Result<View, UnknownWorkload> {
    let caller = caller(index, at.subject)?;
    let namespace = caller.namespace.clone();
    let mut collector = Collector { index, at, view: empty(mesh, at, caller), namespace };
    collector.inbound();
    match at.hosts {
        Hosts::All => {
            let hosts: BTreeSet<&Host> = index.services.keys().chain(index.virtual_services.keys()).collect();
            for host in hosts {
                // What is only another name for a service is one of its domains.
                if index.resolve(host, &collector.namespace).as_ref() == Some(host) {
                    collector.service(host);
                }
            }
        }
        Hosts::Asked(asked) => {
            for asked in asked {
                let meant = index.resolve(asked, &collector.namespace);
                if let Some(host) = &meant {
                    collector.service(host);
                }
                collector.view.answers.insert(asked.clone(), meant);
            }
        }
    }
    Ok(collector.view)
}

fn caller(index: &Index, subject: &Subject) -> Result<Caller, UnknownWorkload> {
    let Subject::Workload(name) = subject else {
        return Ok(Caller { namespace: "default".into(), labels: LabelSet::new(), workload: None });
    };
    let entry = index.workforce.get(name).ok_or_else(|| UnknownWorkload(name.clone()))?;
    let workload = OwnWorkload {
        entry: entry.clone(),
        services: Vec::new(),
        authentication: authentication(index, entry),
        selecting: selecting(index, entry),
    };
    let labels = entry.spec.labels.clone();
    Ok(Caller { namespace: name.namespace.clone(), labels, workload: Some(workload) })
}

fn empty(mesh: &Mesh, at: &Viewpoint<'_>, caller: Caller) -> View {
    View {
        trust: at.trust.clone(),
        trust_domain: mesh.trust_domain.clone(),
        root_namespace: mesh.root_namespace.clone(),
        outbound: mesh.outbound,
        caller,
        answers: BTreeMap::new(),
        services: BTreeMap::new(),
        targets: BTreeMap::new(),
        filters: BTreeMap::new(),
        facts: FilterFacts::new(),
        peers: BTreeMap::new(),
    }
}

/// The oldest policy of each level; selector policies of the root namespace count nowhere.
pub(crate) fn authentication(index: &Index, entry: &Object<WorkloadEntry>) -> Authentication {
    let of = |namespace: &str| index.authentications.get(namespace).map_or(&[][..], Vec::as_slice);
    let wide = |namespace: &str| of(namespace).iter().find(|policy| policy.spec.selector.is_none()).cloned();
    let namespace = entry.meta.namespace();
    let in_root = namespace == index.root_namespace;
    let selects_it = |policy: &&Arc<Object<PeerAuthentication>>| {
        policy.spec.selector.as_ref().is_some_and(|selector| selects(selector, &entry.spec.labels))
    };
    Authentication {
        mesh: wide(&index.root_namespace),
        namespace: if in_root { None } else { wide(namespace) },
        workload: if in_root { None } else { of(namespace).iter().find(selects_it).cloned() },
    }
}

/// Of the workload's namespace and of the root namespace, by priority.
fn selecting(index: &Index, entry: &Object<WorkloadEntry>) -> Vec<Arc<Object<Filter>>> {
    let namespace = entry.meta.namespace();
    let root = (namespace != index.root_namespace).then_some(index.root_namespace.as_str());
    let candidates = [Some(namespace), root].into_iter().flatten().filter_map(|name| index.selecting.get(name));
    let selects_it = |filter: &&Arc<Object<Filter>>| {
        filter.spec.selector.as_ref().is_some_and(|(selector, _)| selects(selector, &entry.spec.labels))
    };
    let mut chosen: Vec<_> = candidates.flatten().filter(selects_it).cloned().collect();
    chosen.sort_by(|a, b| {
        let key =
            |o: &Object<Filter>| (-i64::from(o.spec.priority), o.meta.id.name.clone(), o.meta.id.namespace.clone());
        key(a).cmp(&key(b))
    });
    chosen
}

struct Collector<'a> {
    index: &'a Index,
    at: &'a Viewpoint<'a>,
    view: View,
    namespace: String,
}

impl Collector<'_> {
    fn inbound(&mut self) {
        let Some(workload) = &self.view.caller.workload else { return };
        let name = identity::name(&workload.entry);
        let selecting = workload.selecting.clone();
        for filter in &selecting {
            self.facts(filter);
        }
        let memberships = self.index.memberships.get(&name).map_or(&[][..], Vec::as_slice);
        let guarded: Vec<_> = memberships.iter().map(|declared| self.guarded(declared)).collect();
        if let Some(workload) = &mut self.view.caller.workload {
            workload.services = guarded;
        }
    }

    /// What is attached at the destination, by objects that may.
    fn guarded(&mut self, declared: &Arc<Declared>) -> Guarded {
        let owner = declared.meta.namespace().to_owned();
        let index = self.index;
        let written = index.virtual_services.get(&declared.host).map_or(&[][..], Vec::as_slice);
        let wildcards = crate::names::wildcards(&declared.host);
        let wide = wildcards.iter().filter_map(|wildcard| index.virtual_services.get(wildcard)).flatten();
        let mut virtual_services = Vec::new();
        for object in written.iter().chain(wide) {
            let namespace = object.meta.namespace();
            if namespace != owner && namespace != index.root_namespace {
                continue;
            }
            let at_destination: Vec<_> =
                object.spec.filters.iter().filter(|a| a.side == Side::Destination).cloned().collect();
            self.attachments(namespace, &at_destination);
            let targeting = self.targeting(&object.meta);
            virtual_services.push((object.clone(), targeting));
        }
        let targeting = self.targeting(&declared.meta);
        Guarded { declared: declared.clone(), virtual_services, targeting }
    }

    fn service(&mut self, host: &Host) {
        if self.view.services.contains_key(host) {
            return;
        }
        let declared = self.index.service(host, &self.namespace).cloned();
        let routed = self.index.virtual_service(host, &self.namespace).cloned();
        if declared.is_some() {
            self.target(host);
        }
        let virtual_service = routed.map(|object| {
            self.routes(&object);
            let targeting = self.targeting(&object.meta);
            (object, targeting)
        });
        let aliases = self.index.aliases_of(host, &self.namespace);
        self.view.services.insert(host.clone(), Seen { declared, virtual_service, aliases });
    }

    fn routes(&mut self, object: &Object<VirtualService>) {
        let namespace = object.meta.namespace();
        self.attachments(namespace, &object.spec.filters);
        for route in &object.spec.http {
            self.attachments(namespace, &route.filters);
            for destination in route.destinations() {
                self.attachments(namespace, &destination.filters);
                self.target(&destination.host);
            }
        }
    }

    fn target(&mut self, host: &Host) {
        if self.view.targets.contains_key(host) {
            return;
        }
        let Some(declared) = self.index.service(host, &self.namespace).cloned() else { return };
        let rules = self.index.rules(host, Some(declared.meta.namespace()), &self.namespace);
        let mut authentications = BTreeMap::new();
        for entry in declared.backing.workloads() {
            let name: WorkloadName = identity::name(entry);
            let peer = self.at.peers.get(&name);
            if let Some(peer) = peer {
                self.view.peers.insert(name.clone(), *peer);
            }
            if peer.is_some() || entry.spec.is_in_mesh_as_pod() {
                authentications.insert(name, authentication(self.index, entry));
            }
        }
        self.view.targets.insert(host.clone(), Target { declared, rules, authentication: authentications });
    }

    fn attachments(&mut self, namespace: &str, attachments: &[Attachment]) {
        for attachment in attachments {
            let filter = self.index.filter(namespace, &attachment.name).cloned();
            if let Some(filter) = &filter {
                self.facts(filter);
            }
            self.view.filters.insert((namespace.to_owned(), attachment.name.clone()), filter);
        }
    }

    fn targeting(&mut self, meta: &Meta) -> Vec<crate::world::Targeting> {
        let targeting = self.index.targeting(meta).to_vec();
        for one in &targeting {
            self.facts(&one.filter);
        }
        targeting
    }

    /// All facts of a Filter, whatever the config: they lie side by side.
    fn facts(&mut self, filter: &Object<Filter>) {
        let own = filter.meta.origin();
        let first = crate::world::key(filter, None);
        let with_config = format!("{own}#");
        for (key, fact) in self.at.filters.range(first..) {
            if key.0 != own && !key.0.starts_with(&with_config) {
                // Names that continue with a character below '#' do not exist, so nothing of this Filter follows.
                break;
            }
            self.view.facts.insert(key.clone(), fact.clone());
        }
    }
}
