//! Istio's labels of one series, in Istio's order, written once when the series begins.
//!
//! It does not count.

use super::ServiceFacts;
use super::facts::Party;
use crate::record::{Kind, Record, Security, Side, Target};
use std::fmt::Write;
use std::sync::LazyLock;

/// The value of every label of the series that takes what exceeds the limit of series.
const OVERFLOW: &str = "overflow";

const UNKNOWN: &str = "unknown";

static NOBODY: LazyLock<Party> = LazyLock::new(Party::unknown);
static NOTHING: LazyLock<ServiceFacts> = LazyLock::new(|| ServiceFacts::passthrough(UNKNOWN));

/// Source, destination and service of an exchange.
pub(super) struct Ends<'r> {
    pub(super) source: &'r Party,
    pub(super) destination: &'r Party,
    pub(super) service: &'r ServiceFacts,
}

impl<'r> Ends<'r> {
    pub(super) fn of(record: &'r Record) -> Self {
        let local = record.plan.workload.as_ref().map_or(&*NOBODY, |workload| &*workload.party);
        let service = match (&record.service, &record.target) {
            (Some(service), _) => service,
            (None, Target::Inbound(port)) => &port.service,
            (None, _) => &*NOTHING,
        };
        match record.side {
            Side::Outbound => {
                let destination = record.upstream.as_ref().map_or(&*NOBODY, |upstream| &*upstream.party);
                Self { source: local, destination, service }
            }
            Side::Inbound => Self { source: &record.peer.party, destination: local, service },
        }
    }
}

/// `reporter="source",…`, without braces.
pub(super) fn labels(record: &Record) -> String {
    let ends = Ends::of(record);
    let mut text = Labels::default();
    let (source, destination) = (ends.source.labels(), ends.destination.labels());
    text.push("reporter", reporter(record.side));
    text.push("source_workload", &source.workload);
    text.push("source_canonical_service", &source.canonical_service);
    text.push("source_canonical_revision", &source.canonical_revision);
    text.push("source_workload_namespace", &source.namespace);
    text.push("source_principal", principal(record, ends.source));
    text.push("source_app", &source.app);
    text.push("source_version", &source.version);
    text.push("source_cluster", &source.cluster);
    text.push("destination_workload", &destination.workload);
    text.push("destination_workload_namespace", &destination.namespace);
    text.push("destination_principal", principal(record, ends.destination));
    text.push("destination_app", &destination.app);
    text.push("destination_version", &destination.version);
    text.push("destination_service", ends.service.host());
    text.push("destination_canonical_service", &destination.canonical_service);
    text.push("destination_canonical_revision", &destination.canonical_revision);
    text.push("destination_service_name", ends.service.name());
    text.push("destination_service_namespace", ends.service.namespace());
    text.push("destination_cluster", &destination.cluster);
    text.push("request_protocol", protocol(record.request.kind));
    if record.request.kind != Kind::Tcp {
        text.number("response_code", record.status.map_or(0, |status| status.as_u16().into()));
        if let Some(status) = record.grpc_status {
            text.number("grpc_response_status", status);
        }
    }
    text.push("response_flags", record.flag);
    text.push("connection_security_policy", security(record));
    text.0
}

/// The labels of what does not fit any more: the protocol and side stay true.
pub(super) fn overflow(side: Side, kind: Kind) -> String {
    let mut text = Labels::default();
    text.push("reporter", reporter(side));
    let names = NAMES.iter().filter(|name| kind != Kind::Tcp || **name != "response_code");
    for name in names {
        text.push(name, if *name == "request_protocol" { protocol(kind) } else { OVERFLOW });
    }
    text.0
}

/// All but the first, and but `grpc_response_status`, which may be left out.
const NAMES: [&str; 23] = [
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
];

fn reporter(side: Side) -> &'static str {
    match side {
        Side::Outbound => "source",
        Side::Inbound => "destination",
    }
}

fn protocol(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "http",
        Kind::Grpc => "grpc",
        Kind::Tcp => "tcp",
    }
}

fn security(record: &Record) -> &'static str {
    match (record.side, record.peer.security) {
        (Side::Outbound, _) => UNKNOWN,
        (Side::Inbound, Security::MutualTls) => "mutual_tls",
        (Side::Inbound, Security::None) => "none",
    }
}

/// A principal is what mutual TLS proved: a plain-text hop has none on either end.
fn principal<'a>(record: &Record, party: &'a Party) -> &'a str {
    let proven = match record.side {
        Side::Inbound => record.peer.security == Security::MutualTls,
        Side::Outbound => record.upstream.as_ref().is_some_and(|upstream| upstream.party.principal().is_some()),
    };
    party.principal().filter(|_| proven).map_or(UNKNOWN, |id| id.as_str())
}

#[derive(Default)]
pub(super) struct Labels(pub(super) String);

impl Labels {
    pub(super) fn push(&mut self, name: &str, value: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(self.0, "{comma}{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                c => self.0.push(c),
            }
        }
        self.0.push('"');
    }

    fn number(&mut self, name: &str, value: u32) {
        let _ = write!(self.0, ",{name}=\"{value}\"");
    }
}
