//! A snapshot as text that people read and tests compare.
//!
//! Readable and stable: resources in key order, one fact a word, defaults left out. No program reads it back.

mod rule;

use crate::quantity::duration_text;
use std::fmt::Write;
use weft_snapshot::{
    Backend, Dial, Endpoint, FailurePolicy, Filter, FilterKey, Host, Isolation, Labels, LoadBalancer, MtlsMode,
    NonUtf8, OtherPorts, OutboundPolicy, Protocol, Resource, Service, Snapshot, Upgrade, Workload,
};

/// All resources of a snapshot.
pub fn render(snapshot: &Snapshot) -> String {
    snapshot.iter().map(|(key, resource)| render_resource(key, resource)).collect()
}

/// One resource under its key; ends with a line break.
pub fn render_resource(key: &weft_snapshot::Key, resource: &Resource) -> String {
    match resource {
        Resource::Trust(trust) => {
            format!("trust {} roots {} signers {}\n", trust.trust_domain, trust.roots.len(), trust.signers.len())
        }
        Resource::Workload(one) => workload(one),
        Resource::Answer(answer) => match &answer.service {
            Some(host) => format!("answer {} = {host}\n", answer.asked),
            None => format!("answer {} = absent\n", answer.asked),
        },
        Resource::Service(one) => service(one),
        Resource::Backend(one) => backend(one),
        Resource::Endpoints(all) => {
            let name = match key {
                weft_snapshot::Key::Endpoints(name) => name.to_string(),
                _ => String::new(),
            };
            let lines: String = all.iter().map(endpoint).collect();
            format!("endpoints {name}\n{lines}")
        }
        Resource::Filter(one) => filter(one),
    }
}

fn workload(workload: &Workload) -> String {
    let outbound = match workload.outbound {
        OutboundPolicy::AllowAny => "ALLOW_ANY",
        OutboundPolicy::RegistryOnly => "REGISTRY_ONLY",
    };
    let mut text = format!("workload {} {} outbound {outbound}\n", workload.name, workload.identity);
    let _ = writeln!(text, "  labels {}", labels(&workload.labels));
    for port in &workload.inbound.ports {
        let mode = mtls(port.mtls);
        let _ = write!(text, "  inbound {} {} app {} {mode}", port.port, protocol(port.protocol), port.app);
        let _ = writeln!(text, "{}", filters(&port.filters));
    }
    let others = &workload.inbound.others;
    if *others != OtherPorts::default() {
        let _ = writeln!(text, "  inbound others {}{}", mtls(others.mtls), filters(&others.filters));
    }
    for service in &workload.inbound.services {
        let domains = hosts(&service.domains);
        let _ = writeln!(text, "  serves {}:{} on {} as {domains}", service.host, service.port, service.target);
    }
    text
}

fn mtls(mode: MtlsMode) -> &'static str {
    match mode {
        MtlsMode::Disable => "DISABLE",
        MtlsMode::Permissive => "PERMISSIVE",
        MtlsMode::Strict => "STRICT",
    }
}

fn labels(labels: &Labels) -> String {
    let Labels { workload, namespace, canonical_service, canonical_revision, app, version, cluster } = labels;
    format!(
        "workload={workload} namespace={namespace} canonical={canonical_service}/{canonical_revision} app={app} version={version} cluster={cluster}"
    )
}

pub(super) fn filters(keys: &[FilterKey]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    format!(" filters {}", keys.iter().map(|key| key.0.as_str()).collect::<Vec<_>>().join(" "))
}

fn hosts(hosts: &[Host]) -> String {
    hosts.iter().map(Host::as_str).collect::<Vec<_>>().join(" ")
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Tcp => "tcp",
        Protocol::Detect => "detect",
    }
}

fn service(service: &Service) -> String {
    let mut text = format!("service {} namespace {}\n", service.name, service.namespace);
    let _ = writeln!(text, "  domains {}", hosts(&service.domains));
    for port in &service.ports {
        let name = if port.name.is_empty() { "-" } else { &port.name };
        let _ = writeln!(text, "  port {} {name} {} to {}", port.port, protocol(port.protocol), port.backend);
    }
    for one in &service.rules {
        text.push_str(&rule::rule(one));
    }
    text
}

fn backend(backend: &Backend) -> String {
    let balancer = match backend.load_balancer {
        LoadBalancer::LeastRequest => "LEAST_REQUEST",
        LoadBalancer::RoundRobin => "ROUND_ROBIN",
        LoadBalancer::Random => "RANDOM",
        LoadBalancer::Original => "ORIGINAL",
    };
    let connect = duration_text(backend.connect_timeout);
    let idle = backend.idle_timeout.map_or_else(|| "never".into(), duration_text);
    let mut text =
        format!("backend {} namespace {} {balancer} connect {connect} idle {idle}", backend.name, backend.namespace);
    if backend.upgrade == Upgrade::Http2 {
        text.push_str(" upgrade http2");
    }
    let limits = &backend.limits;
    for (word, limit) in [
        ("connections", limits.connections_max),
        ("pending", limits.pending_requests_max),
        ("requests", limits.requests_max),
        ("retries", limits.retries_max),
        ("requests-per-connection", limits.requests_per_connection_max),
    ] {
        if let Some(limit) = limit {
            let _ = write!(text, " {word}<={limit}");
        }
    }
    text.push('\n');
    text
}

fn endpoint(endpoint: &Endpoint) -> String {
    let mut text = match &endpoint.dial {
        Dial::Address(address) => format!("  {address}"),
        Dial::Name { host, port } => format!("  name {host}:{port}"),
    };
    match &endpoint.tls {
        Some(tls) => {
            let _ = write!(text, " tls {} sni {}", tls.identity, tls.sni);
        }
        None => text.push_str(" plain"),
    }
    let _ = writeln!(text, " weight {} {}", endpoint.weight, labels(&endpoint.labels));
    text
}

fn filter(filter: &Filter) -> String {
    let digest = |digest: &Option<weft_snapshot::Digest>| digest.map_or_else(|| "none".into(), |d| d.to_string());
    let failure = match filter.failure_policy {
        FailurePolicy::Closed => "Closed",
        FailurePolicy::Open => "Open",
    };
    let mut text = format!(
        "filter {} component {} artifact {} deadline {} memory {} failurePolicy {failure}",
        filter.key,
        digest(&filter.component),
        digest(&filter.artifact),
        duration_text(filter.deadline),
        filter.memory_max
    );
    if filter.non_utf8 == NonUtf8::Absent {
        text.push_str(" nonUtf8 Absent");
    }
    if filter.isolation == Isolation::Request {
        text.push_str(" isolation Request");
    }
    let _ = writeln!(text, "\n  config {}", filter.config);
    text
}
