//! DestinationRule (networking.istio.io): subsets of a service, and how each of its ports is spoken to.
//!
//! It does not know which service its host is, nor which of several rules applies.

use super::route::service_name;
use super::virtual_service::export_to;
use crate::fields::{Cursor, Fields, Place};
use crate::names::{ExportTo, LabelSet};
use crate::problem::Code;
use std::time::Duration;
use weft_snapshot::{Host, LoadBalancer, PoolLimits, Upgrade};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DestinationRule {
    pub(crate) host: (Host, Place),
    pub(crate) export_to: ExportTo,
    pub(crate) policy: TrafficPolicy,
    pub(crate) subsets: Vec<Subset>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) labels: LabelSet,
    pub(crate) policy: TrafficPolicy,
    pub(crate) place: Place,
}

/// Blocks that replace each other whole: a subset's over the rule's, a port's over all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TrafficPolicy {
    pub(crate) blocks: Blocks,
    /// Replaces every block; what it leaves out falls to the defaults.
    pub(crate) ports: Vec<(u16, Blocks)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Blocks {
    pub(crate) load_balancer: Option<LoadBalancer>,
    pub(crate) pool: Option<Pool>,
    pub(crate) tls: Option<Tls>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pool {
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) idle: Idle,
    pub(crate) limits: PoolLimits,
    pub(crate) upgrade: Option<Upgrade>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Idle {
    #[default]
    Default,
    Never,
    After(Duration),
}

/// `tls.mode`. Absent: mutual TLS wherever the endpoint has a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tls {
    Disable,
    Mutual,
}

pub(crate) fn read(fields: &mut Fields<'_>, namespace: &str) -> Option<DestinationRule> {
    fields.required("spec")?.object(|fields| {
        let host = fields.required("host").and_then(|c| Some((service_name(&c, namespace)?, c.place())));
        let export_to = export_to(fields, namespace);
        let policy = fields.get("trafficPolicy").map(|c| traffic_policy(&c)).unwrap_or_default();
        let subsets: Vec<_> = fields.list("subsets").iter().filter_map(subset).collect();
        fields.not_supported("workloadSelector", "a DestinationRule for some callers only");
        Some(DestinationRule { host: host?, export_to, policy, subsets })
    })?
}

fn subset(cursor: &Cursor<'_>) -> Option<Subset> {
    cursor.object(|fields| {
        let name = fields.required("name").and_then(|c| subset_name(&c));
        let labels = fields.get("labels").map(|c| c.text_map()).unwrap_or_default();
        let policy = fields.get("trafficPolicy").map(|c| traffic_policy(&c)).unwrap_or_default();
        Some(Subset { name: name?, labels, policy, place: cursor.place() })
    })?
}

/// It becomes a part of backend names and of SNI.
fn subset_name(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if text.len() > 63 || !text.chars().all(allowed) {
        cursor.error(Code::BadName, format!("{text:?} is no subset name"), "use letters, digits, - and .");
        return None;
    }
    Some(text.to_owned())
}

fn traffic_policy(cursor: &Cursor<'_>) -> TrafficPolicy {
    let read = |fields: &mut Fields<'_>| {
        let blocks = blocks(fields);
        let mut ports: Vec<(u16, Blocks)> = Vec::new();
        for entry in fields.list("portLevelSettings") {
            let Some((port, blocks)) = port_level(&entry) else { continue };
            if ports.iter().any(|(other, _)| *other == port) {
                entry.error(Code::Conflict, format!("port {port} is set twice"), "keep one of the two");
                continue;
            }
            ports.push((port, blocks));
        }
        fields.not_supported("tunnel", "tunnelling through CONNECT");
        fields.not_supported("proxyProtocol", "the PROXY protocol");
        TrafficPolicy { blocks, ports }
    };
    cursor.object(read).unwrap_or_default()
}

fn port_level(cursor: &Cursor<'_>) -> Option<(u16, Blocks)> {
    cursor.object(|fields| {
        let port = fields.required("port").and_then(|c| c.object(|fields| fields.required("number")?.port())?);
        let blocks = blocks(fields);
        Some((port?, blocks))
    })?
}

fn blocks(fields: &mut Fields<'_>) -> Blocks {
    fields.not_supported("outlierDetection", "ejection of failing endpoints");
    fields.not_supported("retryBudget", "a budget of retries");
    Blocks {
        load_balancer: fields.get("loadBalancer").and_then(|c| load_balancer(&c)),
        pool: fields.get("connectionPool").and_then(|c| pool(&c)),
        tls: fields.get("tls").and_then(|c| tls(&c)),
    }
}

fn load_balancer(cursor: &Cursor<'_>) -> Option<LoadBalancer> {
    cursor.object(|fields| {
        for (name, what) in [
            ("consistentHash", "consistent hashing"),
            ("localityLbSetting", "balancing by locality"),
            ("warmup", "warm-up of new endpoints"),
            ("warmupDurationSecs", "warm-up of new endpoints"),
            ("zoneAwareLbSetting", "balancing by zone"),
        ] {
            fields.not_supported(name, what);
        }
        let simple = fields.get("simple")?;
        if simple.is_exactly("PASSTHROUGH") {
            simple.not_supported(
                "PASSTHROUGH (to the address that the app dialled) is not supported by this version of Weft",
                "use LEAST_REQUEST, ROUND_ROBIN or RANDOM",
            );
            return None;
        }
        simple.one_of(&[
            ("LEAST_REQUEST", LoadBalancer::LeastRequest),
            ("LEAST_CONN", LoadBalancer::LeastRequest),
            ("UNSPECIFIED", LoadBalancer::LeastRequest),
            ("ROUND_ROBIN", LoadBalancer::RoundRobin),
            ("RANDOM", LoadBalancer::Random),
        ])
    })?
}

fn pool(cursor: &Cursor<'_>) -> Option<Pool> {
    cursor.object(|fields| {
        let mut pool = Pool::default();
        if let Some(tcp) = fields.get("tcp") {
            tcp.object(|fields| tcp_pool(fields, &mut pool));
        }
        if let Some(http) = fields.get("http") {
            http.object(|fields| http_pool(fields, &mut pool));
        }
        pool
    })
}

fn tcp_pool(fields: &mut Fields<'_>, pool: &mut Pool) {
    pool.limits.connections_max = limit(fields, "maxConnections");
    pool.connect_timeout = fields.get("connectTimeout").and_then(|c| super::retry::positive(&c));
    pool.idle = fields.get("idleTimeout").map(|c| idle(&c)).unwrap_or_default();
    fields.not_supported("tcpKeepalive", "TCP keepalive");
    fields.not_supported("maxConnectionDuration", "a bound on the life of connections");
}

fn http_pool(fields: &mut Fields<'_>, pool: &mut Pool) {
    pool.limits.pending_requests_max = limit(fields, "http1MaxPendingRequests");
    pool.limits.requests_max = limit(fields, "http2MaxRequests");
    pool.limits.retries_max = limit(fields, "maxRetries");
    pool.limits.requests_per_connection_max = limit(fields, "maxRequestsPerConnection");
    // The one for HTTP takes precedence over the one for TCP.
    if let Some(idle) = fields.get("idleTimeout") {
        pool.idle = self::idle(&idle);
    }
    let upgrade = fields.get("h2UpgradePolicy").and_then(|c| {
        c.one_of(&[("DEFAULT", Upgrade::Keep), ("DO_NOT_UPGRADE", Upgrade::Keep), ("UPGRADE", Upgrade::Http2)])
    });
    let client_protocol = fields.get("useClientProtocol").and_then(|c| c.boolean()).unwrap_or_default();
    pool.upgrade = if client_protocol { Some(Upgrade::Keep) } else { upgrade };
    fields.not_supported("maxConcurrentStreams", "a bound on streams per connection");
    fields.not_supported("http2KeepAlive", "HTTP/2 keepalive");
}

/// 0 counts as unset.
fn limit(fields: &mut Fields<'_>, name: &'static str) -> Option<u32> {
    fields.get(name).and_then(|c| c.count()).filter(|n| *n > 0)
}

fn idle(cursor: &Cursor<'_>) -> Idle {
    match cursor.duration() {
        Some(Duration::ZERO) => Idle::Never,
        Some(duration) => Idle::After(duration),
        None => Idle::Default,
    }
}

fn tls(cursor: &Cursor<'_>) -> Option<Tls> {
    cursor.object(|fields| {
        for name in [
            "clientCertificate",
            "privateKey",
            "caCertificates",
            "caCrl",
            "credentialName",
            "subjectAltNames",
            "sni",
            "insecureSkipVerify",
        ] {
            fields.not_supported(name, "TLS of the user's own");
        }
        let mode = fields.required("mode")?;
        if mode.is_exactly("SIMPLE") || mode.is_exactly("MUTUAL") {
            mode.not_supported(
                "TLS to services outside the mesh is not supported by this version of Weft",
                "remove tls: between sidecars TLS is mutual without it",
            );
            return None;
        }
        mode.one_of(&[("DISABLE", Tls::Disable), ("ISTIO_MUTUAL", Tls::Mutual)])
    })?
}
