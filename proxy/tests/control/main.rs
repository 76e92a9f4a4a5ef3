//! The control thread against a control plane on real sockets and TLS: joining, renewal, updates, resumption.

#![allow(clippy::unwrap_used, clippy::disallowed_types, unreachable_pub)]

mod discovery;
mod identity;
mod plane;
mod proxy;
mod resumption;
mod updates;

use plane::{Authority, Plane, TRUST_DOMAIN, WORKLOAD};
use weft_snapshot::{Answer, Filter, Inbound, Labels, OutboundPolicy, Snapshot, SpiffeId, Trust, Workload};

/// What every proxy is told, and an answer for each host.
fn snapshot(authority: &Authority, hosts: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_trust(Trust {
        trust_domain: TRUST_DOMAIN.to_owned(),
        roots: vec![authority.root.to_vec()],
        signers: vec![authority.signer_key()],
    });
    snapshot.set_workload(Workload {
        name: WORKLOAD.parse().unwrap(),
        identity: SpiffeId::new(TRUST_DOMAIN, "default", "reviews").unwrap(),
        labels: Labels::default(),
        inbound: Inbound::default(),
        outbound: OutboundPolicy::AllowAny,
    });
    for host in hosts {
        snapshot.add_answer(Answer { asked: host.parse().unwrap(), service: None });
    }
    snapshot
}

fn filter(name: &str, artifact: weft_snapshot::Digest) -> Filter {
    Filter {
        key: weft_snapshot::FilterKey(format!("default/{name}")),
        component: None,
        artifact: Some(artifact),
        config: "{}".to_owned(),
        deadline: std::time::Duration::from_millis(2),
        memory_max: 16 << 20,
        failure_policy: weft_snapshot::FailurePolicy::Closed,
        non_utf8: weft_snapshot::NonUtf8::Refuse,
        isolation: weft_snapshot::Isolation::Reuse,
    }
}

/// A proxy that has joined and serves `snapshot`.
fn joined(state: &std::path::Path, plane: &Plane, snapshot: &Snapshot) -> proxy::Proxy {
    plane.facts().snapshot = snapshot.clone();
    let token = plane.authority.token("reviews");
    let proxy = proxy::Proxy::start(state, plane.address, Some(token));
    let revision = weft_wire::revision(snapshot);
    proxy::wait("the first update is acknowledged", || plane.acks().contains(&revision));
    proxy
}
