//! The lookups that make a world of thousands of services cheap: hosts, rules, selections, attachments.
//!
//! It does not compile anything: it answers which objects count for whom.

use super::declaration::{Declaration, declaration};
use super::located::{Located, Slices};
use super::workforce::Workforce;
use crate::identity;
use crate::kind::destination_rule::Subset;
use crate::kind::filter::{Target, TargetKind};
use crate::kind::mesh::Mesh;
use crate::kind::port::Port;
use crate::kind::service::Form;
use crate::kind::service_entry::Endpoints;
use crate::kind::{DestinationRule, EndpointSlice, Filter, PeerAuthentication, Service, VirtualService, WorkloadEntry};
use crate::names::{self, ExportTo, LabelSet, selects};
use crate::object::{Meta, Object, digest};
use crate::parse::Any;
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use weft_snapshot::{Digest, Host, WorkloadName};

/// A service as a Service or ServiceEntry declares it.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// Of all but place, age and exportTo, which only decide which of several services counts.
    pub(super) hash: Digest,
    pub(crate) host: Host,
    pub(crate) meta: Meta,
    pub(crate) ports: Vec<Port>,
    pub(crate) export_to: ExportTo,
    pub(crate) addresses: Vec<Host>,
    pub(crate) discovery: Discovery,
    pub(crate) backing: Backing,
}

/// Who chooses among the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Discovery {
    /// The mesh.
    ByName,
    /// The app, to which DNS has told their addresses (a headless service); each may have a name below the service's.
    ByAddress,
}

/// What answers for a service.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Backing {
    /// In the order of their names.
    Workloads(Vec<Arc<Object<WorkloadEntry>>>),
    Listed(Vec<WorkloadEntry>),
    /// What the cluster's EndpointSlices list, and WorkloadEntries that the Service selects.
    Located(Vec<Located>, Vec<Arc<Object<WorkloadEntry>>>),
}

impl Backing {
    /// Workloads of which it is known who they are.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Arc<Object<WorkloadEntry>>> {
        let (entries, located): (&[_], &[Located]) = match self {
            Self::Workloads(entries) => (entries, &[]),
            Self::Located(located, entries) => (entries, located),
            Self::Listed(_) => (&[], &[]),
        };
        entries.iter().chain(located.iter().filter_map(|one| one.pod.as_ref()))
    }
}

impl std::hash::Hash for Declared {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// A Filter that names an object in its targetRefs.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Targeting {
    pub(crate) filter: Arc<Object<Filter>>,
    pub(crate) target: Target,
}

type NamedFilters = BTreeMap<(String, String), Arc<Object<Filter>>>;
pub(crate) type RulesByHost = HashMap<Host, Vec<Arc<Object<DestinationRule>>>>;

/// Cheap to copy: what seldom changes lies in an `Arc` each, and the rest in maps that share all but the difference.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) root_namespace: String,
    /// By host: a Kubernetes Service first, then by age.
    pub(crate) services: RedBlackTreeMapSync<Host, Vec<Arc<Declared>>>,
    /// The host for which an address stands.
    pub(crate) addresses: Arc<HashMap<Host, Host>>,
    /// The host for which another is a mere name (ExternalName).
    pub(crate) aliases: Arc<HashMap<Host, Host>>,
    /// By host as written, wildcards too; by age.
    pub(crate) virtual_services: RedBlackTreeMapSync<Host, Vec<Arc<Object<VirtualService>>>>,
    /// By namespace, then host as written; by age.
    pub(crate) rules: Arc<HashMap<String, RulesByHost>>,
    pub(crate) workforce: Arc<Workforce>,
    /// The services that a workload answers for.
    pub(crate) memberships: HashTrieMapSync<WorkloadName, Vec<Arc<Declared>>>,
    /// By namespace; by age.
    pub(crate) authentications: Arc<HashMap<String, Vec<Arc<Object<PeerAuthentication>>>>>,
    /// By namespace and name.
    pub(crate) filters: Arc<NamedFilters>,
    /// Filters with a selector, by namespace; the highest priority first.
    pub(crate) selecting: Arc<HashMap<String, Vec<Arc<Object<Filter>>>>>,
    /// By the namespace and name of the VirtualService.
    pub(crate) on_virtual_services: Arc<HashMap<(String, String), Vec<Targeting>>>,
    /// By the namespace and name of the Service.
    pub(crate) on_services: Arc<HashMap<(String, String), Vec<Targeting>>>,
    /// By the host of a Service.
    pub(super) made: HashTrieMapSync<Host, Made>,
}

/// A service as it was declared, and from what, so that it need not be made again.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) service: Arc<Object<Service>>,
    pub(super) slices: Vec<Arc<Object<EndpointSlice>>>,
    pub(super) members: Arc<[WorkloadName]>,
    pub(super) declared: Arc<Declared>,
}

/// What a world's index is made from.
pub(super) struct Material<'a> {
    /// By age.
    pub(super) rules: &'a [&'a Any],
    pub(super) pods: Vec<Arc<Object<WorkloadEntry>>>,
    pub(super) slices: Vec<Arc<Object<EndpointSlice>>>,
    pub(super) mesh: &'a Mesh,
}

/// What services are looked up in while they are declared.
struct Ground<'a> {
    workforce: &'a Workforce,
    slices: Slices<'a>,
    /// Of the world before, where its workforce is this one's.
    made: Option<&'a HashTrieMapSync<Host, Made>>,
}

impl Index {
    /// What `previous` has made of the same objects is taken over.
    pub(super) fn new(material: Material<'_>, previous: &Self) -> Self {
        let Material { rules, pods, slices, mesh } = material;
        let entries = rules.iter().filter_map(|any| match any {
            Any::WorkloadEntry(entry) => Some(entry.clone()),
            _ => None,
        });
        let all: Vec<_> = pods.into_iter().chain(entries).collect();
        let workforce = Workforce::of(&all, &previous.workforce);
        let mut index =
            Self { root_namespace: mesh.root_namespace.clone(), workforce: workforce.clone(), ..Self::default() };
        let same = Arc::ptr_eq(&workforce, &previous.workforce);
        let ground = Ground {
            workforce: &workforce,
            slices: Slices::new(&slices, &workforce),
            made: same.then_some(&previous.made),
        };
        for any in rules {
            index.add(any, &ground);
        }
        for filters in Arc::make_mut(&mut index.selecting).values_mut() {
            filters.sort_by(|a, b| in_order(a, b));
        }
        let on_virtual_services = Arc::make_mut(&mut index.on_virtual_services).values_mut();
        for targeting in on_virtual_services.chain(Arc::make_mut(&mut index.on_services).values_mut()) {
            targeting.sort_by(|a, b| in_order(&a.filter, &b.filter));
        }
        index
    }

    fn add(&mut self, any: &Any, ground: &Ground<'_>) {
        match any {
            Any::Mesh(_) | Any::WorkloadEntry(_) | Any::Pod(_) | Any::EndpointSlice(_) => {}
            Any::Service(service) => self.add_service(service, ground),
            Any::ServiceEntry(entry) => self.add_entry(entry, ground.workforce),
            Any::VirtualService(object) => {
                for (host, _) in &object.spec.hosts {
                    match self.virtual_services.get_mut(host) {
                        Some(all) => all.push(object.clone()),
                        None => self.virtual_services.insert_mut(host.clone(), vec![object.clone()]),
                    }
                }
            }
            Any::DestinationRule(rule) => {
                let namespace = Arc::make_mut(&mut self.rules).entry(rule.meta.namespace().to_owned()).or_default();
                namespace.entry(rule.spec.host.0.clone()).or_default().push(rule.clone());
            }
            Any::PeerAuthentication(policy) => {
                let all = Arc::make_mut(&mut self.authentications);
                all.entry(policy.meta.namespace().to_owned()).or_default().push(policy.clone());
            }
            Any::Filter(filter) => self.add_filter(filter),
        }
    }

    fn add_service(&mut self, service: &Arc<Object<Service>>, ground: &Ground<'_>) {
        let (spec, namespace) = (&service.spec, service.meta.namespace());
        let Ok(host) = names::service_host(&service.meta.id.name, namespace) else { return };
        if let Form::Alias(target) = &spec.form {
            Arc::make_mut(&mut self.aliases).insert(host.clone(), target.clone());
        }
        let of_service = ground.slices.of(namespace, &service.meta.id.name);
        let slices: Vec<_> = of_service.iter().flat_map(|slices| slices.slices().cloned()).collect();
        let same = |made: &&Made| {
            let all_same = made.slices.iter().zip(&slices).all(|(a, b)| Arc::ptr_eq(a, b));
            Arc::ptr_eq(&made.service, service) && made.slices.len() == slices.len() && all_same
        };
        let made = ground.made.and_then(|made| made.get(&host)).filter(same);
        if let Some(made) = made
            && self.claim(&host, &spec.addresses) == made.declared.addresses
        {
            self.enter(&made.declared, &made.members);
            self.made.insert_mut(host, made.clone());
            return;
        }
        let declaration = declaration(service, of_service.as_ref(), ground.workforce);
        let members: Arc<[WorkloadName]> = declaration.members.clone().into();
        let declared = self.declare(host.clone(), &service.meta, declaration);
        self.made.insert_mut(host, Made { service: service.clone(), slices, members, declared });
    }

    fn add_entry(&mut self, entry: &Object<crate::kind::ServiceEntry>, workforce: &Workforce) {
        let spec = &entry.spec;
        for (host, place) in &spec.hosts {
            let backing = match &spec.endpoints {
                Endpoints::Selected(labels, _) => {
                    Backing::Workloads(workforce.matching(entry.meta.namespace(), labels))
                }
                Endpoints::Listed(entries) => Backing::Listed(entries.clone()),
                Endpoints::Hosts => {
                    Backing::Listed(vec![crate::kind::workload_entry::named(host.as_str(), place.clone())])
                }
            };
            let declaration = Declaration {
                ports: spec.ports.clone(),
                export_to: spec.export_to.clone(),
                // Several hosts share no address: which of them would it mean?
                addresses: if spec.hosts.len() == 1 { spec.addresses.clone() } else { Vec::new() },
                discovery: Discovery::ByName,
                members: backing.workloads().map(|entry| identity::name(entry)).collect(),
                backing,
            };
            self.declare(host.clone(), &entry.meta, declaration);
        }
    }

    fn declare(&mut self, host: Host, meta: &Meta, declaration: Declaration) -> Arc<Declared> {
        let Declaration { ports, export_to, addresses, discovery, backing, members } = declaration;
        let addresses = self.claim(&host, &addresses);
        let hash = digest(&(&host, &meta.id, &ports, &addresses, discovery, &backing));
        let declared =
            Arc::new(Declared { hash, host, meta: meta.clone(), ports, export_to, addresses, discovery, backing });
        self.enter(&declared, &members);
        declared
    }

    /// An address means one host: the oldest that claims it. Those that this one may have.
    fn claim(&mut self, host: &Host, addresses: &[Host]) -> Vec<Host> {
        let known = Arc::make_mut(&mut self.addresses);
        let mut claimed = |address: &&Host| *known.entry((*address).clone()).or_insert_with(|| host.clone()) == *host;
        addresses.iter().filter(|address| claimed(address)).cloned().collect()
    }

    fn enter(&mut self, declared: &Arc<Declared>, members: &[WorkloadName]) {
        if let (Discovery::ByAddress, Backing::Located(located, _)) = (declared.discovery, &declared.backing) {
            // They come and go, and are no names of the service: an app's connection leads to one of them.
            let own: Vec<Host> = located.iter().filter_map(|one| one.address.to_string().parse().ok()).collect();
            self.claim(&declared.host, &own);
        }
        for name in members {
            match self.memberships.get_mut(name) {
                Some(all) => all.push(declared.clone()),
                None => self.memberships.insert_mut(name.clone(), vec![declared.clone()]),
            }
        }
        match self.services.get_mut(&declared.host) {
            Some(all) => {
                let is_service = |one: &Arc<Declared>| one.meta.id.kind == crate::object::Kind::Service;
                let services = all.iter().take_while(|one| is_service(one)).count();
                all.insert(if is_service(declared) { services } else { all.len() }, declared.clone());
            }
            None => self.services.insert_mut(declared.host.clone(), vec![declared.clone()]),
        }
    }

    fn add_filter(&mut self, filter: &Arc<Object<Filter>>) {
        let id = &filter.meta.id;
        Arc::make_mut(&mut self.filters).insert((id.namespace.clone(), id.name.clone()), filter.clone());
        if filter.spec.selector.is_some() {
            Arc::make_mut(&mut self.selecting).entry(id.namespace.clone()).or_default().push(filter.clone());
        }
        for target in &filter.spec.targets {
            let key = (id.namespace.clone(), target.name.clone());
            let by_name = match target.kind {
                TargetKind::Service => &mut self.on_services,
                TargetKind::VirtualService(_) | TargetKind::Route(_) => &mut self.on_virtual_services,
            };
            Arc::make_mut(by_name)
                .entry(key)
                .or_default()
                .push(Targeting { filter: filter.clone(), target: target.clone() });
        }
    }

    /// The service of this host that callers of a namespace see: a Kubernetes Service, then their own, then the oldest.
    /// What is only another name is the service that it means, where the mesh has that.
    pub(crate) fn service(&self, host: &Host, caller: &str) -> Option<&Arc<Declared>> {
        let meant = self.aliased(host).and_then(|target| self.declared(target, caller));
        meant.or_else(|| self.declared(host, caller))
    }

    /// Hosts that are only other names for this one, and have no routes of their own.
    pub(crate) fn aliases_of(&self, host: &Host, caller: &str) -> Vec<Host> {
        let mere = |alias: &&Host| self.aliased(alias) == Some(host) && self.virtual_service(alias, caller).is_none();
        let mut aliases: Vec<Host> = self.aliases.keys().filter(mere).cloned().collect();
        aliases.sort();
        aliases
    }

    /// The host at the end of a chain of names.
    pub(super) fn aliased(&self, host: &Host) -> Option<&Host> {
        let mut target = self.aliases.get(host)?;
        for _ in 0..ALIASES_MAX {
            match self.aliases.get(target) {
                Some(next) => target = next,
                None => return Some(target),
            }
        }
        None
    }

    fn declared(&self, host: &Host, caller: &str) -> Option<&Arc<Declared>> {
        let visible = || self.services.get(host).into_iter().flatten().filter(|d| d.export_to.admits(caller));
        let first = visible().next()?;
        if first.meta.id.kind == crate::object::Kind::Service {
            return Some(first);
        }
        visible().find(|declared| declared.meta.namespace() == caller).or(Some(first))
    }

    /// The VirtualService that routes requests of a namespace to this host: of the most specific host, the oldest.
    pub(crate) fn virtual_service(&self, host: &Host, caller: &str) -> Option<&Arc<Object<VirtualService>>> {
        let oldest = |host: &Host| {
            let written = self.virtual_services.get(host).into_iter().flatten();
            written.into_iter().find(|object| object.spec.export_to.admits(caller))
        };
        oldest(host).or_else(|| names::wildcards(host).iter().find_map(oldest))
    }

    /// The host that callers of a namespace mean.
    pub(crate) fn resolve(&self, asked: &Host, caller: &str) -> Option<Host> {
        let known = |host: &Host| self.is_known(host, caller);
        let exact = [Some(asked.clone()), names::expand(asked, caller), self.addresses.get(asked).cloned()];
        let meant = exact.into_iter().flatten().find(known).or_else(|| self.headless(asked, caller));
        let meant = meant.or_else(|| names::wildcards(asked).into_iter().find(known))?;
        // Routes of the other name count where there are any.
        let target = self.aliased(&meant).filter(|_| self.virtual_service(&meant, caller).is_none());
        Some(target.filter(|target| known(target)).cloned().unwrap_or(meant))
    }

    /// The headless service to which `pod-0.SERVICE`, with or without what follows, belongs.
    fn headless(&self, asked: &Host, caller: &str) -> Option<Host> {
        let (_, parent) = asked.as_str().split_once('.')?;
        let parent: Host = parent.parse().ok()?;
        let by_address = |host: &Host| self.service(host, caller).is_some_and(|d| d.discovery == Discovery::ByAddress);
        [Some(parent.clone()), names::expand(&parent, caller)].into_iter().flatten().find(by_address)
    }

    /// True where a service or a VirtualService speaks of just this host.
    pub(crate) fn is_known(&self, host: &Host, caller: &str) -> bool {
        let routed = || self.virtual_services.get(host).into_iter().flatten().any(|o| o.spec.export_to.admits(caller));
        self.service(host, caller).is_some() || routed()
    }

    /// The DestinationRules for a host: the caller's namespace first, then the service's, then the root's; there those
    /// of the most specific host, by age.
    pub(crate) fn rules(&self, host: &Host, owner: Option<&str>, caller: &str) -> Vec<Arc<Object<DestinationRule>>> {
        let own = (caller != self.root_namespace).then_some(caller);
        for namespace in [own, owner, Some(self.root_namespace.as_str())].into_iter().flatten() {
            let Some(by_host) = self.rules.get(namespace) else { continue };
            let visible = |host: &Host| -> Vec<_> {
                let written = by_host.get(host).into_iter().flatten();
                let admitted =
                    |rule: &&Arc<Object<DestinationRule>>| namespace == caller || rule.spec.export_to.admits(caller);
                written.filter(admitted).cloned().collect()
            };
            let mut found = visible(host);
            for wildcard in names::wildcards(host) {
                if !found.is_empty() {
                    break;
                }
                found = visible(&wildcard);
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// What a filter's name means in a namespace: there, then in the root namespace.
    pub(crate) fn filter(&self, namespace: &str, name: &str) -> Option<&Arc<Object<Filter>>> {
        let in_namespace = |namespace: &str| self.filters.get(&(namespace.to_owned(), name.to_owned()));
        in_namespace(namespace).or_else(|| in_namespace(&self.root_namespace))
    }

    pub(crate) fn targeting(&self, meta: &Meta) -> &[Targeting] {
        let key = (meta.id.namespace.clone(), meta.id.name.clone());
        let by_name = match meta.id.kind {
            crate::object::Kind::Service => &self.on_services,
            _ => &self.on_virtual_services,
        };
        by_name.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Every workload that a selector in this namespace selects: of the namespace, or from the root namespace of all.
    pub(crate) fn selected(&self, namespace: &str, selector: &LabelSet) -> Vec<&Arc<Object<WorkloadEntry>>> {
        let everywhere = namespace == self.root_namespace;
        let chosen = |entry: &&Arc<Object<WorkloadEntry>>| {
            (everywhere || entry.meta.namespace() == namespace) && selects(selector, &entry.spec.labels)
        };
        self.workforce.iter().map(|(_, entry)| entry).filter(chosen).collect()
    }
}

/// The highest priority first, then by name and namespace (WasmPlugin's order).
fn in_order(a: &Object<Filter>, b: &Object<Filter>) -> std::cmp::Ordering {
    let key = |o: &Object<Filter>| (-i64::from(o.spec.priority), o.meta.id.name.clone(), o.meta.id.namespace.clone());
    key(a).cmp(&key(b))
}

/// Of several rules for one host in one namespace: the first with this subset.
pub(crate) fn subset<'a>(rules: &'a [Arc<Object<DestinationRule>>], name: &str) -> Option<&'a Subset> {
    rules.iter().flat_map(|rule| &rule.spec.subsets).find(|subset| subset.name == name)
}

const ALIASES_MAX: usize = 8;
