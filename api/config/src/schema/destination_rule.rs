//! DestinationRule: `spec` as the CRD says it. Its reader is `kind::destination_rule`.

use super::{Schema, boolean, count, duration, export_to, list, object, port, text, text_map, words};

pub(super) fn spec() -> Schema {
    object("Subsets of a service, and how it is spoken to.")
        .requires("host", text("The service: a short name is one of this namespace.", "reviews"))
        .with("exportTo", export_to())
        .with("trafficPolicy", traffic_policy())
        .with("subsets", list("Named parts of the service's workloads.", subset()))
        .unsupported(&["workloadSelector"])
}

fn subset() -> Schema {
    object("One subset.")
        .requires("name", text("Its name in routes.", "v1"))
        .with("labels", text_map("Labels of its workloads, beside those of the service.", "version", "v1"))
        .with("trafficPolicy", traffic_policy().about("Each block replaces the rule's own block whole."))
}

fn traffic_policy() -> Schema {
    let of_port = object("For one port; what it leaves out falls to the defaults.")
        .with("port", object("The port of the service.").with("number", port("Its number.")))
        .with_all(blocks());
    blocks()
        .about("How it is spoken to.")
        .with("portLevelSettings", list("By port, instead of all else here.", of_port))
        .unsupported(&["tunnel", "proxyProtocol"])
}

fn blocks() -> Schema {
    object("")
        .with("loadBalancer", load_balancer())
        .with("connectionPool", connection_pool())
        .with("tls", tls())
        .unsupported(&["outlierDetection", "retryBudget"])
}

fn load_balancer() -> Schema {
    const SIMPLE: &[&str] = &["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "LEAST_CONN", "UNSPECIFIED", "PASSTHROUGH"];
    object("How an endpoint is chosen.")
        .with("simple", words("LEAST_REQUEST by default. PASSTHROUGH is not supported.", SIMPLE))
        .unsupported(&["consistentHash", "localityLbSetting", "warmup", "warmupDurationSecs", "zoneAwareLbSetting"])
}

fn connection_pool() -> Schema {
    let tcp = object("Of every protocol.")
        .with("maxConnections", count("Connections at a time; 0: no limit."))
        .with("connectTimeout", duration("10s by default."))
        .with("idleTimeout", duration("An idle connection is closed after this; 1h by default, 0s: never."))
        .unsupported(&["tcpKeepalive", "maxConnectionDuration"]);
    let http = object("Of HTTP and gRPC.")
        .with("http1MaxPendingRequests", count("Requests that wait for a connection; 0: no limit."))
        .with("http2MaxRequests", count("Requests at a time; 0: no limit."))
        .with("maxRetries", count("Retries at a time; 0: no limit."))
        .with("maxRequestsPerConnection", count("0: no limit; 1: no keep-alive."))
        .with("idleTimeout", duration("As tcp.idleTimeout, and before it."))
        .with("h2UpgradePolicy", words("Whether HTTP/1.1 becomes HTTP/2.", &["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]))
        .with("useClientProtocol", boolean("Keeps the version that the app spoke, whatever h2UpgradePolicy says."))
        .unsupported(&["maxConcurrentStreams", "http2KeepAlive"]);
    object("Limits and times of connections.").with("tcp", tcp).with("http", http)
}

fn tls() -> Schema {
    const MODES: &[&str] = &["ISTIO_MUTUAL", "DISABLE", "SIMPLE", "MUTUAL"];
    object("Absent: mutual TLS wherever the endpoint has a sidecar.")
        .with("mode", words("DISABLE or ISTIO_MUTUAL. SIMPLE and MUTUAL are not supported.", MODES))
        .unsupported(&["clientCertificate", "privateKey", "caCertificates", "caCrl", "credentialName"])
        .unsupported(&["subjectAltNames", "sni", "insecureSkipVerify"])
}
