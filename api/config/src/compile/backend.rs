//! One port of one subset of a service: how it is spoken to, and the endpoints that answer.
//!
//! It does not know which rules send requests there.

use crate::View;
use crate::identity;
use crate::kind::destination_rule::{Blocks, Idle, Tls, TrafficPolicy};
use crate::kind::port::{Port, Target as TargetPort};
use crate::kind::workload_entry::{Address, Readiness};
use crate::kind::{DestinationRule, WorkloadEntry};
use crate::names::{LabelSet, selects};
use crate::object::Object;
use crate::view::Target;
use crate::world::{Backing, Discovery, Located, subset};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weft_snapshot::{
    Backend, BackendName, Dial, Endpoint, Labels, LoadBalancer, MtlsMode, PeerTls, Upgrade, WorkloadName,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// `None` where the service, its port or its subset does not exist for this caller.
pub(super) fn backend(view: &View, name: &BackendName) -> Option<(Backend, Vec<Endpoint>)> {
    let target = view.targets.get(&name.host)?;
    let port = target.declared.ports.iter().find(|port| port.number == name.port)?;
    let chosen = match name.subset.as_str() {
        "" => None,
        subset_name => Some(subset(&target.rules, subset_name)?),
    };
    let blocks = effective(&target.rules, chosen.map(|subset| &subset.policy), name.port);
    let pool = blocks.pool.clone().unwrap_or_default();
    let unwritten = match target.declared.discovery {
        Discovery::ByName => LoadBalancer::LeastRequest,
        Discovery::ByAddress => LoadBalancer::Original,
    };
    let backend = Backend {
        name: name.clone(),
        namespace: target.declared.meta.namespace().to_owned(),
        load_balancer: blocks.load_balancer.unwrap_or(unwritten),
        connect_timeout: pool.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
        idle_timeout: match pool.idle {
            Idle::Default => Some(IDLE_TIMEOUT),
            Idle::Never => None,
            Idle::After(duration) => Some(duration),
        },
        limits: pool.limits,
        upgrade: pool.upgrade.unwrap_or(Upgrade::Keep),
    };
    let labels = chosen.map(|subset| &subset.labels);
    Some((backend, Endpoints { view, target, name, port, tls: blocks.tls }.list(labels)))
}

/// Whole blocks replace each other: the rule's, its port's, then the subset's, its port's.
pub(crate) fn effective(rules: &[Arc<Object<DestinationRule>>], subset: Option<&TrafficPolicy>, port: u16) -> Blocks {
    // Several rules for one host: the first that says anything.
    let written = |rule: &&Arc<Object<DestinationRule>>| rule.spec.policy != TrafficPolicy::default();
    let rule = rules.iter().find(written).map(|rule| &rule.spec.policy);
    let of_port = |policy: &TrafficPolicy| policy.ports.iter().find(|(own, _)| *own == port).map(|(_, b)| b.clone());
    let base = rule.map(|policy| of_port(policy).unwrap_or_else(|| policy.blocks.clone())).unwrap_or_default();
    let Some(policy) = subset else { return base };
    if let Some(blocks) = of_port(policy) {
        return blocks;
    }
    Blocks {
        load_balancer: policy.blocks.load_balancer.or(base.load_balancer),
        pool: policy.blocks.pool.clone().or(base.pool),
        tls: policy.blocks.tls.or(base.tls),
    }
}

struct Endpoints<'a> {
    view: &'a View,
    target: &'a Target,
    name: &'a BackendName,
    port: &'a Port,
    tls: Option<Tls>,
}

impl Endpoints<'_> {
    fn list(&self, subset: Option<&LabelSet>) -> Vec<Endpoint> {
        let in_subset = |entry: &WorkloadEntry| subset.is_none_or(|labels| selects(labels, &entry.labels));
        match &self.target.declared.backing {
            Backing::Workloads(entries) => {
                entries.iter().filter(|entry| in_subset(&entry.spec)).filter_map(|entry| self.workload(entry)).collect()
            }
            Backing::Listed(entries) => {
                entries.iter().filter(|entry| in_subset(entry)).filter_map(|entry| self.listed(entry)).collect()
            }
            Backing::Located(located, entries) => {
                let chosen = |one: &&Located| one.pod.as_ref().map_or(subset.is_none(), |pod| in_subset(&pod.spec));
                let placed = located.iter().filter(chosen).filter_map(|one| self.located(one));
                let entries = entries.iter().filter(|entry| in_subset(&entry.spec));
                placed.chain(entries.filter_map(|entry| self.workload(entry))).collect()
            }
        }
    }

    /// As an EndpointSlice places it.
    fn located(&self, one: &Located) -> Option<Endpoint> {
        let port = (*one.ports.get(&self.port.name)?).unwrap_or(match self.port.target {
            TargetPort::Number(number) => number,
            TargetPort::Name(_) => self.port.number,
        });
        let address = SocketAddr::new(one.address, port);
        match &one.pod {
            Some(pod) => self.pod(pod, address),
            None => self.plain(Dial::Address(address), 1, Labels::default()),
        }
    }

    /// Its sidecar takes what is sent to the pod itself, whether or not it has been heard of here.
    fn pod(&self, pod: &Object<WorkloadEntry>, address: SocketAddr) -> Option<Endpoint> {
        let name = identity::name(pod);
        if !pod.spec.is_in_mesh_as_pod() {
            return self.plain(Dial::Address(address), pod.spec.weight, identity::labels(pod));
        }
        if self.view.peers.get(&name).is_some_and(|peer| peer.inbound.is_none()) {
            return None; // it drains
        }
        let tls = self.tls(&name, pod, address.port())?;
        Some(Endpoint { dial: Dial::Address(address), tls, weight: pod.spec.weight, labels: identity::labels(pod) })
    }

    /// No sidecar there: none of these, where a rule insists on one.
    fn plain(&self, dial: Dial, weight: u32, labels: Labels) -> Option<Endpoint> {
        (self.tls != Some(Tls::Mutual)).then_some(Endpoint { dial, tls: None, weight, labels })
    }

    /// How the sidecar there is spoken to: `Some(None)` is plain text.
    fn tls(&self, name: &WorkloadName, entry: &Object<WorkloadEntry>, port: u16) -> Option<Option<PeerTls>> {
        let plain = match self.tls {
            Some(Tls::Disable) => true,
            Some(Tls::Mutual) => false,
            None => self.target.authentication.get(name).is_some_and(|a| a.mode(port) == MtlsMode::Disable),
        };
        if plain {
            return Some(None);
        }
        let identity = identity::spiffe_id(&self.view.trust_domain, entry).ok()?;
        Some(Some(PeerTls { identity, sni: sni(self.name) }))
    }

    fn workload(&self, entry: &Object<WorkloadEntry>) -> Option<Endpoint> {
        let name = identity::name(entry);
        let port = workload_port(&entry.spec, self.port)?;
        if let Some(facts) = &entry.spec.pod {
            let address = facts.addresses.first().filter(|_| facts.readiness == Readiness::Ready)?;
            return self.pod(entry, SocketAddr::new(*address, port));
        }
        let Some(peer) = self.view.peers.get(&name) else {
            return self.plain(dial(&entry.spec, port)?, entry.spec.weight, identity::labels(entry));
        };
        let tls = self.tls(&name, entry, port)?;
        let inbound = peer.inbound?;
        Some(Endpoint {
            // It listens everywhere: what is sent to the app's own address comes to it.
            dial: if inbound.ip().is_unspecified() { dial(&entry.spec, port)? } else { Dial::Address(inbound) },
            tls,
            weight: entry.spec.weight,
            labels: identity::labels(entry),
        })
    }

    fn listed(&self, entry: &WorkloadEntry) -> Option<Endpoint> {
        let known = identity::labelled("unknown", "unknown", &entry.labels);
        let labels = if entry.labels.is_empty() { Labels::default() } else { known };
        let port = workload_port(entry, self.port)?;
        self.plain(dial(entry, port)?, entry.weight, labels)
    }
}

/// The workload's own map beats the service's target port; a pod's names its containers' ports, and not the service's.
pub(crate) fn workload_port(entry: &WorkloadEntry, port: &Port) -> Option<u16> {
    let own = entry.ports.get(&port.name).copied().filter(|_| entry.pod.is_none());
    own.or(match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => entry.ports.get(name).copied(),
    })
}

fn dial(entry: &WorkloadEntry, port: u16) -> Option<Dial> {
    match &entry.address {
        Address::Ip(ip) => Some(Dial::Address(SocketAddr::new(*ip, port))),
        Address::Name(host) => Some(Dial::Name { host: host.clone(), port }),
        Address::Unknown => None,
    }
}

/// Istio's form; tells the inbound side host and port without an original destination.
fn sni(name: &BackendName) -> String {
    format!("outbound_.{}_.{}_.{}", name.port, name.subset, name.host)
}
