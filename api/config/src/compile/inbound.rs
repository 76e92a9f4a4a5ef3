//! The proxy's own workload: who it is, which of its app's ports are served, under which mode, behind which filters.
//!
//! It does not know routes: those are chosen by callers.

use super::backend::workload_port;
use super::policy::{Policies, push};
use crate::View;
use crate::identity;
use crate::kind::Side;
use crate::kind::filter::TargetKind;
use crate::kind::port::guessed_protocol;
use crate::kind::workload_entry::Address;
use crate::names::{self, LabelSet};
use crate::view::{Authentication, Guarded, OwnWorkload};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use weft_snapshot::{
    FilterKey, Inbound, InboundPort, InboundService, MtlsMode, OtherPorts, Protocol, SpiffeId, Workload, WorkloadName,
};

/// What a listener is called, which is no workload.
const LISTENER: &str = "weft-listener";

/// `None` where the identity would be no SPIFFE id, which parsing has excluded.
pub(super) fn workload(view: &View, policies: &mut Policies<'_>) -> Option<Workload> {
    let Some(own) = &view.caller.workload else {
        let namespace = view.caller.namespace.clone();
        return Some(Workload {
            identity: SpiffeId::new(&view.trust_domain, &namespace, "default").ok()?,
            labels: identity::labelled(LISTENER, &namespace, &LabelSet::new()),
            name: WorkloadName { namespace, name: LISTENER.into() },
            inbound: Inbound::default(),
            outbound: view.outbound,
        });
    };
    Some(Workload {
        name: identity::name(&own.entry),
        identity: identity::spiffe_id(&view.trust_domain, &own.entry).ok()?,
        labels: identity::labels(&own.entry),
        inbound: inbound(own, policies),
        outbound: view.outbound,
    })
}

fn inbound(own: &OwnWorkload, policies: &mut Policies<'_>) -> Inbound {
    let entry = &own.entry.spec;
    // Without an IP address the sidecar does not know where its app listens; `check` says so.
    let mut selecting = Vec::new();
    for filter in &own.selecting {
        push(&mut selecting, policies.add(filter, None));
    }
    let others = OtherPorts { mtls: own.authentication.mode_of_others(), filters: selecting.clone() };
    let Address::Ip(address) = entry.address else { return Inbound { others, ..Inbound::default() } };
    let mut ports: BTreeMap<u16, InboundPort> = BTreeMap::new();
    let mut open = |port: u16, protocol: Protocol| {
        let fresh = || InboundPort {
            port,
            app: SocketAddr::new(address, port),
            protocol,
            mtls: own.authentication.mode(port),
            filters: selecting.clone(),
        };
        let known = ports.entry(port).or_insert_with(fresh);
        if known.protocol != protocol {
            known.protocol = Protocol::Detect;
        }
    };
    let mut services = Vec::new();
    for guarded in &own.services {
        for port in &guarded.declared.ports {
            let Some(target) = workload_port(entry, port) else { continue };
            open(target, port.protocol);
            services.push(inbound_service(guarded, own, port.number, target));
        }
    }
    let served: Vec<u16> = services.iter().map(|service: &InboundService| service.target).collect();
    for (name, port) in entry.ports.iter().filter(|(_, port)| !served.contains(port)) {
        open(*port, guessed_protocol(name, *port));
    }
    for guarded in &own.services {
        let chain = at_destination(guarded, policies);
        let targets = guarded.declared.ports.iter().filter_map(|port| workload_port(entry, port));
        for port in targets {
            if let Some(inbound) = ports.get_mut(&port) {
                chain.iter().for_each(|key| push(&mut inbound.filters, key.clone()));
            }
        }
    }
    // A Service and a ServiceEntry may declare one host; the Service comes first.
    services.sort_by(|a, b| (&a.host, a.port).cmp(&(&b.host, b.port)));
    services.dedup_by(|b, a| (&a.host, a.port) == (&b.host, b.port));
    Inbound { ports: ports.into_values().collect(), services, others }
}

fn inbound_service(guarded: &Guarded, own: &OwnWorkload, port: u16, target: u16) -> InboundService {
    let declared = &guarded.declared;
    // A caller of any namespace may write what only its own namespace may shorten: the service answers to all of it.
    let namespace =
        names::cluster_service(&declared.host).map_or(own.entry.meta.namespace(), |(_, namespace)| namespace);
    let mut domains = names::domains(&declared.host, namespace);
    domains.extend(declared.addresses.iter().cloned());
    InboundService { host: declared.host.clone(), port, target, domains }
}

/// Filters of the service's VirtualServices with `at: Destination`, then those that name the service.
fn at_destination(guarded: &Guarded, policies: &mut Policies<'_>) -> Vec<FilterKey> {
    let mut chain = Vec::new();
    for (object, targeting) in &guarded.virtual_services {
        let namespace = object.meta.namespace();
        for attachment in object.spec.filters.iter().filter(|a| a.side == Side::Destination) {
            push(&mut chain, policies.attach(namespace, attachment));
        }
        for one in targeting.iter().filter(|t| t.target.kind == TargetKind::VirtualService(Side::Destination)) {
            push(&mut chain, policies.add(&one.filter, None));
        }
    }
    for one in &guarded.targeting {
        push(&mut chain, policies.add(&one.filter, None));
    }
    chain
}

impl Authentication {
    /// Port, then workload, then namespace, then mesh, then PERMISSIVE.
    pub(crate) fn mode(&self, port: u16) -> MtlsMode {
        let of_port =
            self.workload.as_ref().and_then(|policy| policy.spec.ports.get(&port)).and_then(|(mode, _)| *mode);
        of_port.unwrap_or_else(|| self.mode_of_others())
    }

    /// Of a port of which no policy speaks by number.
    pub(crate) fn mode_of_others(&self) -> MtlsMode {
        let levels = [&self.workload, &self.namespace, &self.mesh];
        levels.into_iter().flatten().find_map(|policy| policy.spec.mode).unwrap_or_default()
    }
}
