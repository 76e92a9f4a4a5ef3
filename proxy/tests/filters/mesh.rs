//! Snapshots as a control plane or a folder would give them: one workload, one service with two subsets.

use crate::components::Shipped;
use std::net::SocketAddr;
use std::time::Duration;
use weft_snapshot::*;

pub const REVIEWS: &str = "reviews.default.svc.cluster.local";

pub fn host(text: &str) -> Host {
    text.parse().unwrap()
}

pub fn labels(workload: &str) -> Labels {
    Labels { workload: workload.to_owned(), namespace: "default".to_owned(), ..Labels::default() }
}

pub fn identity(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "default", account).unwrap()
}

pub fn backend_name(subset: &str) -> BackendName {
    BackendName { host: host(REVIEWS), port: 9080, subset: subset.to_owned() }
}

pub fn key(name: &str) -> FilterKey {
    FilterKey(format!("default/{name}"))
}

/// With a deadline that a busy machine does not miss by itself.
pub fn filter(name: &str, shipped: Option<&Shipped>, config: serde_json::Value) -> Filter {
    Filter {
        key: key(name),
        component: shipped.map(|shipped| shipped.component),
        artifact: shipped.map(|shipped| shipped.artifact),
        config: config.to_string(),
        deadline: Duration::from_millis(100),
        memory_max: 16 << 20,
        failure_policy: FailurePolicy::Closed,
        non_utf8: NonUtf8::Refuse,
        isolation: Isolation::Reuse,
    }
}

/// Where the subsets v1 and v2 of `reviews` answer.
#[derive(Clone, Copy)]
pub struct Apps {
    pub v1: SocketAddr,
    pub v2: SocketAddr,
}

/// `client` calls `reviews`, all of whose requests meet `filters`.
pub fn snapshot(apps: Apps, filters: Vec<Filter>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_workload(Workload {
        name: "default/client".parse().unwrap(),
        identity: identity("client"),
        labels: labels("client"),
        inbound: Inbound::default(),
        outbound: OutboundPolicy::RegistryOnly,
    });
    let destination = |subset: &str, weight| Destination {
        backend: backend_name(subset),
        weight,
        headers: Headers::default(),
        filters: Vec::new(),
    };
    let forward = Forward {
        destinations: vec![destination("v1", 100), destination("v2", 0)],
        rewrite: None,
        timeout: Some(Duration::from_secs(20)),
        retry: None,
    };
    snapshot.add_service(Service {
        name: host(REVIEWS),
        namespace: "default".to_owned(),
        domains: vec![host(REVIEWS), host("reviews")],
        ports: vec![ServicePort {
            port: 9080,
            name: "http".to_owned(),
            protocol: Protocol::Http,
            backend: backend_name(""),
        }],
        rules: vec![Rule {
            name: "all".to_owned(),
            origin: "default/reviews".to_owned(),
            matches: Vec::new(),
            headers: Headers::default(),
            action: Action::Forward(forward),
            filters: filters.iter().map(|filter| filter.key.clone()).collect(),
        }],
    });
    for (subset, app) in [("", apps.v1), ("v1", apps.v1), ("v2", apps.v2)] {
        snapshot.add_backend(Backend {
            name: backend_name(subset),
            namespace: "default".to_owned(),
            load_balancer: LoadBalancer::LeastRequest,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Some(Duration::from_secs(3600)),
            limits: PoolLimits::default(),
            upgrade: Upgrade::Keep,
        });
        let endpoint = Endpoint { dial: Dial::Address(app), tls: None, weight: 1, labels: labels("reviews") };
        snapshot.set_endpoints(backend_name(subset), vec![endpoint]);
    }
    filters.into_iter().for_each(|filter| snapshot.add_filter(filter));
    snapshot
}
