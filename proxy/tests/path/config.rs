//! Snapshots for tests, in few words.

use crate::authority::id;
use std::net::SocketAddr;
use std::time::Duration;
use weft_snapshot::*;

pub const HTTP_PORT: u16 = 9080;

pub fn host(text: &str) -> Host {
    text.parse().unwrap()
}

pub fn backend_name(service: &str, port: u16, subset: &str) -> BackendName {
    BackendName { host: host(service), port, subset: subset.to_owned() }
}

/// A backend at Istio's defaults.
pub fn backend(name: BackendName) -> Backend {
    Backend {
        name,
        namespace: "default".to_owned(),
        load_balancer: LoadBalancer::LeastRequest,
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Some(Duration::from_secs(3600)),
        limits: PoolLimits::default(),
        upgrade: Upgrade::Keep,
    }
}

/// In plain text.
pub fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { dial: Dial::Address(address), tls: None, weight: 1, labels: Labels::default() }
}

/// Behind a sidecar of the account of this name.
pub fn sidecar_endpoint(inbound: SocketAddr, account: &str, service: &str, port: u16) -> Endpoint {
    let tls = PeerTls { identity: id(account), sni: format!("outbound_.{port}_._.{service}") };
    Endpoint { tls: Some(tls), ..endpoint(inbound) }
}

pub fn destination(name: BackendName) -> Destination {
    Destination { backend: name, weight: 1, headers: Headers::default(), filters: Vec::new() }
}

pub fn forward(name: BackendName) -> Forward {
    Forward { destinations: vec![destination(name)], rewrite: None, timeout: None, retry: None }
}

pub fn rule(action: Action) -> Rule {
    Rule {
        name: "default".to_owned(),
        origin: String::new(),
        matches: Vec::new(),
        headers: Headers::default(),
        action,
        filters: Vec::new(),
    }
}

pub fn retry(attempts: u32, on: &[RetryOn]) -> RetryPolicy {
    RetryPolicy {
        attempts,
        per_try_timeout: None,
        on: on.to_vec(),
        status_codes: Vec::new(),
        backoff: Duration::from_millis(1),
        ignore_previous_hosts: true,
    }
}

/// One service with one port, all of it adjustable before it goes into a snapshot.
pub struct Served {
    pub name: &'static str,
    pub port: u16,
    pub protocol: Protocol,
    pub backend: Backend,
    pub forward: Forward,
    pub endpoints: Vec<Endpoint>,
}

impl Served {
    pub fn http(name: &'static str, endpoints: Vec<Endpoint>) -> Self {
        Self::on(name, HTTP_PORT, Protocol::Http, endpoints)
    }

    pub fn on(name: &'static str, port: u16, protocol: Protocol, endpoints: Vec<Endpoint>) -> Self {
        let of = backend_name(name, port, "");
        Self { name, port, protocol, backend: backend(of.clone()), forward: forward(of), endpoints }
    }

    pub fn add_to(self, snapshot: &mut Snapshot) {
        let backend = self.backend.name.clone();
        let port =
            ServicePort { port: self.port, name: "port".to_owned(), protocol: self.protocol, backend: backend.clone() };
        snapshot.add_service(Service {
            name: host(self.name),
            namespace: "default".to_owned(),
            domains: vec![host(self.name)],
            ports: vec![port],
            rules: vec![rule(Action::Forward(self.forward))],
        });
        snapshot.add_backend(self.backend);
        snapshot.set_endpoints(backend, self.endpoints);
    }

    pub fn alone(self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_workload(workload("client", Vec::new()));
        self.add_to(&mut snapshot);
        snapshot
    }
}

/// A workload that accepts what `ports` say; each port is that of a service of the workload's name, too.
pub fn workload(name: &str, ports: Vec<InboundPort>) -> Workload {
    let service = |port: &InboundPort| InboundService {
        host: host(name),
        port: port.port,
        target: port.port,
        domains: vec![host(name)],
    };
    let services = ports.iter().map(service).collect();
    Workload {
        name: format!("default/{name}").parse().unwrap(),
        identity: id(name),
        labels: Labels { workload: name.to_owned(), ..Labels::default() },
        inbound: Inbound { ports, services, others: OtherPorts::default() },
        outbound: OutboundPolicy::AllowAny,
    }
}

pub fn inbound_port(port: u16, app: SocketAddr, protocol: Protocol, mtls: MtlsMode) -> InboundPort {
    InboundPort { port, app, protocol, mtls, filters: Vec::new() }
}

/// The snapshot of a service's own sidecar.
pub fn server(name: &str, ports: Vec<InboundPort>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.set_workload(workload(name, ports));
    snapshot
}
