//! What unit tests of several modules start from: a small snapshot, its plan, and records of exchanges.
//!
//! Compiled for tests only; nothing here stands in for a part of the proxy.

#![allow(clippy::unwrap_used)]

use crate::plan::{Artifacts, Discovery, Next, Pinned, PlanCell, Problem, Published, Publisher};
use crate::record::{Kind, PeerFacts, Record, RequestFacts, Security, Side};
use crate::telemetry::Party;
use http::{HeaderValue, Method, Version};
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use weft_filter_host::{Engine, EngineOptions};
use weft_snapshot::*;

pub(crate) fn host(text: &str) -> Host {
    text.parse().unwrap()
}

pub(crate) fn labels(workload: &str, version: &str) -> Labels {
    Labels {
        workload: format!("{workload}-{version}"),
        namespace: "default".to_owned(),
        canonical_service: workload.to_owned(),
        canonical_revision: version.to_owned(),
        app: workload.to_owned(),
        version: version.to_owned(),
        cluster: "Kubernetes".to_owned(),
    }
}

pub(crate) fn identity(account: &str) -> SpiffeId {
    SpiffeId::new("cluster.local", "default", account).unwrap()
}

pub(crate) fn backend_name(subset: &str) -> BackendName {
    BackendName { host: host(REVIEWS), port: 9080, subset: subset.to_owned() }
}

pub(crate) fn backend(subset: &str) -> Backend {
    Backend {
        name: backend_name(subset),
        namespace: "default".to_owned(),
        load_balancer: LoadBalancer::LeastRequest,
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Some(Duration::from_secs(3600)),
        limits: PoolLimits::default(),
        upgrade: Upgrade::Keep,
    }
}

pub(crate) fn endpoint(port: u16, version: &str) -> Endpoint {
    let sni = format!("outbound_.9080_._.{REVIEWS}");
    Endpoint {
        dial: Dial::Address(([127, 0, 0, 1], port).into()),
        tls: Some(PeerTls { identity: identity("reviews"), sni }),
        weight: 1,
        labels: labels("reviews", version),
    }
}

pub(crate) fn destination(subset: &str, weight: u32) -> Destination {
    Destination { backend: backend_name(subset), weight, headers: Headers::default(), filters: Vec::new() }
}

pub(crate) fn forward_rule(name: &str, matches: Vec<Match>, destinations: Vec<Destination>) -> Rule {
    let forward = Forward { destinations, rewrite: None, timeout: None, retry: None };
    Rule {
        name: name.to_owned(),
        origin: "default/reviews".to_owned(),
        matches,
        headers: Headers::default(),
        action: Action::Forward(forward),
        filters: Vec::new(),
    }
}

pub(crate) fn filter(name: &str) -> Filter {
    Filter {
        key: FilterKey(format!("default/{name}")),
        component: Some(Digest([1; 32])),
        artifact: None,
        config: "{}".to_owned(),
        deadline: Duration::from_millis(2),
        memory_max: 16 << 20,
        failure_policy: FailurePolicy::Closed,
        non_utf8: NonUtf8::Refuse,
        isolation: Isolation::Reuse,
    }
}

const REVIEWS: &str = "reviews.default.svc.cluster.local";

/// `productpage` calls `reviews`, which has two subsets.
pub(crate) fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_workload(Workload {
        name: "default/productpage".parse().unwrap(),
        identity: identity("productpage"),
        labels: labels("productpage", "v1"),
        inbound: Inbound {
            ports: vec![InboundPort {
                port: 9080,
                app: ([127, 0, 0, 1], 9080).into(),
                protocol: Protocol::Http,
                mtls: MtlsMode::Strict,
                filters: Vec::new(),
            }],
            services: vec![InboundService {
                host: host("productpage.default.svc.cluster.local"),
                port: 80,
                target: 9080,
                domains: vec![host("productpage")],
            }],
            others: OtherPorts::default(),
        },
        outbound: OutboundPolicy::AllowAny,
    });
    let weighted = vec![destination("v1", 90), destination("v2", 10)];
    snapshot.add_service(Service {
        name: host(REVIEWS),
        namespace: "default".to_owned(),
        domains: vec![host(REVIEWS), host("reviews.default"), host("reviews")],
        ports: vec![ServicePort {
            port: 9080,
            name: "http".to_owned(),
            protocol: Protocol::Http,
            backend: backend_name(""),
        }],
        rules: vec![forward_rule("split", Vec::new(), weighted)],
    });
    snapshot.add_answer(Answer { asked: host("reviews"), service: Some(host(REVIEWS)) });
    snapshot.add_answer(Answer { asked: host("nowhere.example"), service: None });
    for (subset, port) in [("", 1), ("v1", 1), ("v2", 2)] {
        snapshot.add_backend(backend(subset));
        let version = if port == 1 { "v1" } else { "v2" };
        snapshot.set_endpoints(backend_name(subset), vec![endpoint(port, version)]);
    }
    snapshot
}

/// A cell and the publisher in front of it.
pub(crate) struct Stand {
    pub(crate) cell: Arc<PlanCell>,
    pub(crate) artifacts: Folder,
    publisher: Publisher,
    revisions: u32,
}

/// Where artifacts lie.
#[derive(Default)]
pub(crate) struct Folder(pub(crate) HashMap<Digest, PathBuf>);

impl Artifacts for Folder {
    fn path(&self, artifact: &Digest) -> Option<PathBuf> {
        self.0.get(artifact).cloned()
    }
}

impl Stand {
    pub(crate) fn new(discovery: Discovery) -> Self {
        let engine = Engine::new(EngineOptions { workers: 1, policies_max: 16, ..EngineOptions::default() }).unwrap();
        let cell = PlanCell::new(discovery);
        let publisher = Publisher::new(engine, 1, discovery, cell.clone());
        Self { cell, artifacts: Folder::default(), publisher, revisions: 0 }
    }

    pub(crate) fn with(snapshot: &Snapshot) -> Self {
        let mut stand = Self::new(Discovery::Complete);
        stand.publish(snapshot, None).unwrap();
        stand
    }

    /// Revisions are `r1`, `r2` and so on.
    pub(crate) fn publish(&mut self, snapshot: &Snapshot, update: Option<&Update>) -> Result<Published, Vec<Problem>> {
        self.revisions += 1;
        let revision = format!("r{}", self.revisions);
        self.publisher.publish(&Next { snapshot, update, revision: &revision }, &self.artifacts)
    }

    pub(crate) fn pin(&self) -> Pinned {
        self.cell.reader().pin()
    }
}

/// An exchange that began at a known time, as the app or a peer sent it.
pub(crate) fn record(side: Side, plan: Pinned) -> Record {
    let local = plan.workload.as_ref().unwrap().party.clone();
    let (party, security) = match side {
        Side::Outbound => (local, Security::None),
        Side::Inbound => {
            (Arc::new(Party::new(labels("gateway", "v7"), Some(identity("gateway")))), Security::MutualTls)
        }
    };
    let peer = PeerFacts {
        remote: ([127, 0, 0, 1], 40_000).into(),
        local: ([127, 0, 0, 1], 15_001).into(),
        party,
        security,
        sni: None,
    };
    let request = RequestFacts {
        protocol: Version::HTTP_11,
        kind: Kind::Http,
        method: Method::GET,
        path: "/reviews/1?a=b".parse().unwrap(),
        authority: HeaderValue::from_static("reviews:9080"),
        request_id: Some(HeaderValue::from_static("4f1ae6a2-0000-4000-8000-000000000000")),
        user_agent: Some(HeaderValue::from_static("curl/8")),
        forwarded_for: None,
    };
    let start = UNIX_EPOCH + Duration::from_millis(1_709_251_199_999);
    Record::new(side, start, Instant::now(), plan, (Rc::new(peer), request))
}
