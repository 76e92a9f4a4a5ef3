//! What the proxy was told, and its filters, as JSON for people and tools.
//!
//! Names of fields are those of weft-snapshot. Private keys are not part of a snapshot; roots are shown by their hash.

use crate::filters::{Filter, State};
use crate::plan::Plan;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use weft_filter_host::{FailureKind, OnFailure, Place};
use weft_snapshot as snapshot;
use weft_snapshot::{Action, Dial, HeaderOps, Match, RedirectPath, Resource, RewritePath, StringMatch};

pub(super) fn config(plan: &Plan) -> Value {
    let (mut services, mut backends, mut answers, mut filters) = (vec![], vec![], vec![], vec![]);
    let (mut trust, mut workload) = (Value::Null, Value::Null);
    for (_, resource) in plan.source().iter() {
        match resource {
            Resource::Trust(told) => trust = trusted(told),
            Resource::Workload(told) => workload = self_(told),
            Resource::Answer(told) => {
                answers
                    .push(json!({"asked": told.asked.as_str(), "service": told.service.as_ref().map(|s| s.as_str())}));
            }
            Resource::Service(told) => services.push(service(told)),
            Resource::Backend(told) => backends.push(backend(plan, told)),
            // Shown with their backend, as they are now.
            Resource::Endpoints(_) => {}
            Resource::Filter(told) => filters.push(filter(told)),
        }
    }
    json!({
        "revision": &*plan.revision(),
        "generation": plan.generation,
        "workload": workload,
        "trust": trust,
        "answers": answers,
        "services": services,
        "backends": backends,
        "filters": filters,
    })
}

fn trusted(trust: &snapshot::Trust) -> Value {
    let hash = |der: &Vec<u8>| format!("sha256:{}", hex(&Sha256::digest(der)));
    json!({
        "trust_domain": trust.trust_domain,
        "roots": trust.roots.iter().map(hash).collect::<Vec<_>>(),
        "signers": trust.signers.iter().map(|key| hex(key)).collect::<Vec<_>>(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn self_(workload: &snapshot::Workload) -> Value {
    let ports = workload.inbound.ports.iter().map(|port| {
        json!({
            "port": port.port,
            "app": port.app.to_string(),
            "protocol": format!("{:?}", port.protocol),
            "mtls": format!("{:?}", port.mtls),
            "filters": keys(&port.filters),
        })
    });
    let services = workload.inbound.services.iter().map(|service| {
        json!({
            "host": service.host.as_str(),
            "port": service.port,
            "target": service.target,
            "domains": service.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": workload.name.to_string(),
        "identity": workload.identity.as_str(),
        "labels": labels(&workload.labels),
        "inbound": {"ports": ports.collect::<Vec<_>>(), "services": services.collect::<Vec<_>>()},
        "outbound": format!("{:?}", workload.outbound),
    })
}

fn labels(labels: &snapshot::Labels) -> Value {
    json!({
        "workload": labels.workload,
        "namespace": labels.namespace,
        "canonical_service": labels.canonical_service,
        "canonical_revision": labels.canonical_revision,
        "app": labels.app,
        "version": labels.version,
        "cluster": labels.cluster,
    })
}

fn service(service: &snapshot::Service) -> Value {
    let ports = service.ports.iter().map(|port| {
        json!({
            "port": port.port,
            "name": port.name,
            "protocol": format!("{:?}", port.protocol),
            "backend": port.backend.to_string(),
        })
    });
    json!({
        "name": service.name.as_str(),
        "namespace": service.namespace,
        "domains": service.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>(),
        "ports": ports.collect::<Vec<_>>(),
        "rules": service.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn rule(rule: &snapshot::Rule) -> Value {
    let mut shown = object(json!({"name": rule.name, "origin": rule.origin}));
    put(&mut shown, "matches", rule.matches.iter().map(matching).collect::<Vec<_>>());
    headers(&mut shown, &rule.headers);
    put(&mut shown, "filters", keys(&rule.filters));
    match &rule.action {
        Action::Forward(to) => shown.insert("forward".to_owned(), forward(to)),
        Action::Redirect(to) => shown.insert("redirect".to_owned(), redirect(to)),
        Action::Direct(with) => {
            let body = String::from_utf8_lossy(&with.body);
            shown.insert("direct".to_owned(), json!({"status": with.status, "body": body}))
        }
    };
    Value::Object(shown)
}

fn matching(block: &Match) -> Value {
    let mut shown = Map::new();
    let single = [("scheme", &block.scheme), ("method", &block.method), ("authority", &block.authority)];
    if let Some(uri) = &block.uri {
        shown.insert("uri".to_owned(), text_match(uri));
    }
    if block.ignore_uri_case {
        shown.insert("ignore_uri_case".to_owned(), json!(true));
    }
    for (name, wanted) in single {
        if let Some(wanted) = wanted {
            shown.insert(name.to_owned(), text_match(wanted));
        }
    }
    let several = [("headers", &block.headers), ("without_headers", &block.without_headers), ("query", &block.query)];
    for (name, wanted) in several {
        let pairs: Map<_, _> = wanted.iter().map(|(key, value)| (key.clone(), text_match(value))).collect();
        if !pairs.is_empty() {
            shown.insert(name.to_owned(), Value::Object(pairs));
        }
    }
    if let Some(port) = block.port {
        shown.insert("port".to_owned(), json!(port));
    }
    Value::Object(shown)
}

fn text_match(wanted: &StringMatch) -> Value {
    match wanted {
        StringMatch::Exact(text) => json!({"exact": text}),
        StringMatch::Prefix(text) => json!({"prefix": text}),
        StringMatch::Regex(text) => json!({"regex": text}),
        StringMatch::Present => json!("present"),
    }
}

fn forward(forward: &snapshot::Forward) -> Value {
    let destinations = forward.destinations.iter().map(|destination| {
        let mut shown = object(json!({"backend": destination.backend.to_string(), "weight": destination.weight}));
        headers(&mut shown, &destination.headers);
        put(&mut shown, "filters", keys(&destination.filters));
        Value::Object(shown)
    });
    let mut shown = object(json!({"destinations": destinations.collect::<Vec<_>>()}));
    if let Some(rewrite) = &forward.rewrite {
        let path = rewrite.path.as_ref().map(|path| match path {
            RewritePath::Replace(text) => json!({"replace": text}),
            RewritePath::Regex { pattern, with } => json!({"regex": pattern, "with": with}),
        });
        shown.insert("rewrite".to_owned(), json!({"path": path, "authority": rewrite.authority}));
    }
    if let Some(timeout) = forward.timeout {
        shown.insert("timeout".to_owned(), duration(timeout));
    }
    if let Some(retry) = &forward.retry {
        let policy = json!({
            "attempts": retry.attempts,
            "per_try_timeout": retry.per_try_timeout.map(duration),
            "on": retry.on.iter().map(|on| format!("{on:?}")).collect::<Vec<_>>(),
            "status_codes": retry.status_codes,
            "backoff": duration(retry.backoff),
            "ignore_previous_hosts": retry.ignore_previous_hosts,
        });
        shown.insert("retry".to_owned(), policy);
    }
    Value::Object(shown)
}

fn redirect(redirect: &snapshot::Redirect) -> Value {
    let path = redirect.path.as_ref().map(|path| match path {
        RedirectPath::Replace(text) => json!({"replace": text}),
        RedirectPath::Prefix(text) => json!({"prefix": text}),
    });
    json!({
        "status": redirect.status,
        "scheme": redirect.scheme,
        "authority": redirect.authority,
        "port": redirect.port.map(|port| format!("{port:?}")),
        "path": path,
    })
}

fn headers(shown: &mut Map<String, Value>, headers: &snapshot::Headers) {
    let ops = |ops: &HeaderOps| {
        let mut shown = Map::new();
        put(&mut shown, "remove", ops.remove.iter().map(|name| json!(name)).collect());
        for (name, pairs) in [("set", &ops.set), ("add", &ops.add)] {
            put(&mut shown, name, pairs.iter().map(|(name, value)| json!([name, value])).collect());
        }
        Value::Object(shown)
    };
    for (name, side) in [("request_headers", &headers.request), ("response_headers", &headers.response)] {
        if !side.is_empty() {
            shown.insert(name.to_owned(), ops(side));
        }
    }
}

fn backend(plan: &Plan, backend: &snapshot::Backend) -> Value {
    let limits = &backend.limits;
    let endpoints = plan.backend(&backend.name).map(|backend| backend.endpoints().list.clone()).unwrap_or_default();
    let endpoints = endpoints.iter().map(|endpoint| {
        json!({
            "address": &*endpoint.address,
            "resolved_by_name": matches!(endpoint.dial, Dial::Name { .. }),
            "identity": endpoint.tls.as_ref().map(|tls| tls.identity.as_str()),
            "sni": endpoint.tls.as_ref().map(|tls| &tls.sni),
            "weight": endpoint.weight,
            "labels": labels(endpoint.party.labels()),
        })
    });
    json!({
        "name": backend.name.to_string(),
        "namespace": backend.namespace,
        "load_balancer": format!("{:?}", backend.load_balancer),
        "connect_timeout": duration(backend.connect_timeout),
        "idle_timeout": backend.idle_timeout.map(duration),
        "limits": {
            "connections": limits.connections_max,
            "pending_requests": limits.pending_requests_max,
            "requests": limits.requests_max,
            "retries": limits.retries_max,
            "requests_per_connection": limits.requests_per_connection_max,
        },
        "upgrade": format!("{:?}", backend.upgrade),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn filter(filter: &snapshot::Filter) -> Value {
    // The config is shown as what it is where it is JSON.
    let config = serde_json::from_str(&filter.config).unwrap_or_else(|_| Value::String(filter.config.clone()));
    json!({
        "key": filter.key.0,
        "component": filter.component.map(|digest| digest.to_string()),
        "artifact": filter.artifact.map(|digest| digest.to_string()),
        "config": config,
        "deadline": duration(filter.deadline),
        "memory_max": filter.memory_max,
        "failure_policy": format!("{:?}", filter.failure_policy),
        "non_utf8": format!("{:?}", filter.non_utf8),
        "isolation": format!("{:?}", filter.isolation),
    })
}

/// The filters of the plan as they run.
pub(super) fn filters(plan: &Plan) -> Value {
    json!({"generation": plan.generation, "filters": plan.filters().map(|filter| running(filter)).collect::<Vec<_>>()})
}

fn running(filter: &Filter) -> Value {
    let mut shown = object(json!({
        "key": filter.key.0,
        "component": filter.component.map(|digest| digest.to_string()),
        "failure_policy": match filter.on_failure { OnFailure::Refuse => "Closed", OnFailure::Skip => "Open" },
    }));
    match &filter.state {
        State::Unready { reason } => {
            shown.insert("state".to_owned(), json!("unready"));
            shown.insert("reason".to_owned(), json!(reason));
        }
        State::Ready(ready) => {
            let figures = ready.policy.figures();
            let place = match figures.place {
                Place::Worker => "worker",
                Place::Pool => "pool",
                Place::Refused => "refused",
            };
            let failures: Map<_, _> =
                FailureKind::ALL.iter().map(|kind| (kind.to_string(), json!(figures.failures_of(*kind)))).collect();
            let names = &ready.policy.manifest().counters;
            let counters: Map<_, _> =
                names.iter().cloned().zip(figures.counters.iter().map(|value| json!(value))).collect();
            shown.insert("state".to_owned(), json!("ready"));
            shown.insert("place".to_owned(), json!(place));
            shown.insert("calls".to_owned(), json!(figures.calls));
            shown.insert("failures".to_owned(), Value::Object(failures));
            shown.insert("misses_on_workers".to_owned(), json!(figures.misses_on_workers));
            shown.insert("misses_in_pool".to_owned(), json!(figures.misses_in_pool));
            shown.insert("pooled".to_owned(), json!(figures.pooled));
            shown.insert("instances".to_owned(), json!(figures.instances));
            shown.insert("recycled".to_owned(), json!(figures.recycled));
            shown.insert("counters".to_owned(), Value::Object(counters));
        }
    }
    Value::Object(shown)
}

fn keys(keys: &[snapshot::FilterKey]) -> Vec<Value> {
    keys.iter().map(|key| json!(key.0)).collect()
}

/// As Kubernetes and Istio write durations.
fn duration(duration: Duration) -> Value {
    match duration.subsec_nanos() {
        0 => json!(format!("{}s", duration.as_secs())),
        nanos if nanos % 1_000_000 == 0 => json!(format!("{}ms", duration.as_millis())),
        _ => json!(format!("{}us", duration.as_micros())),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn put(shown: &mut Map<String, Value>, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        shown.insert(name.to_owned(), Value::Array(list));
    }
}
