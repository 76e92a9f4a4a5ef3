//! Lines as people and tools read them, and their way into a file.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::filters::{Filter, FilterRun, Ran, State};
use crate::plan::Lookup;
use crate::record::{Kind, Side, Target, UpstreamFacts};
use crate::samples::{self, Stand, backend_name};
use crate::telemetry::Telemetry;
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use std::rc::Rc;
use weft_filter_host::OnFailure;

fn full(stand: &Stand) -> Record {
    let plan = stand.pin();
    let mut record = samples::record(Side::Outbound, plan.clone());
    let backend = plan.backend(&backend_name("v1")).unwrap().clone();
    let endpoint = backend.endpoints().list[0].clone();
    record.target = Target::Backend(backend);
    record.upstream = Some(Rc::new(UpstreamFacts {
        address: ([10, 0, 0, 7], 15006).into(),
        endpoint_address: endpoint.address.clone(),
        local: Some(([10, 0, 0, 1], 50_000).into()),
        party: endpoint.party.clone(),
    }));
    record.service_time = Some(Duration::from_millis(12));
    let Lookup::Found(service) = plan.lookup("reviews") else { panic!("reviews is not found") };
    let head = crate::headers::Head {
        method: record.request.method.clone(),
        scheme: crate::headers::Scheme::Http,
        authority: crate::headers::Authority::from_header(record.request.authority.clone()).unwrap(),
        path: record.request.path.clone(),
        headers: http::HeaderMap::new(),
    };
    record.route = service.route(&head, 9080).map(|chosen| chosen.route.clone());
    record.status = Some(StatusCode::OK);
    record.details = "via_upstream";
    (record.bytes_received, record.bytes_sent) = (5, 300);
    record.duration = Duration::from_micros(13_900);
    record
}

fn bare(stand: &Stand) -> Record {
    let mut record = samples::record(Side::Outbound, stand.pin());
    let request = &mut record.request;
    (request.request_id, request.user_agent, request.authority) = (None, None, HeaderValue::from_static(""));
    record
}

fn filtered(stand: &Stand) -> Record {
    let key = weft_snapshot::FilterKey("default/authz".to_owned());
    let state = State::Unready { reason: String::new() };
    let filter = Filter::new(key, Some(weft_snapshot::Digest([0xab; 32])), OnFailure::Refuse, state);
    let run = FilterRun { filter: Arc::new(filter), request: Ran::Yes, response: Ran::No };
    let mut record = full(stand);
    record.filters = vec![run.clone(), run];
    record.reason = Some("only \"admins\"\nmay".to_owned());
    record
}

fn line(format: LogFormat, record: &Record) -> String {
    String::from_utf8(Line::new(format).format(record).to_vec()).unwrap()
}

#[test]
fn text_lines() {
    let stand = Stand::with(&samples::snapshot());
    let digest = format!("sha256:{}", "ab".repeat(32));
    let id = "4f1ae6a2-0000-4000-8000-000000000000";
    let common = format!(
        "[2024-02-29T23:59:59.999Z] \"GET /reviews/1?a=b HTTP/1.1\" 200 - via_upstream - \"-\" 5 300 13 12 \"-\" \"curl/8\" \"{id}\" \
         \"reviews:9080\" \"10.0.0.7:15006\" outbound|9080|v1|reviews.default.svc.cluster.local 10.0.0.1:50000 127.0.0.1:15001 \
         127.0.0.1:40000 - split"
    );
    let tcp = |mut record: Record| {
        record.request.kind = Kind::Tcp;
        record
    };
    let rows = [
        ("full", full(&stand), format!("{common}\n")),
        (
            "nothing known",
            bare(&stand),
            "[2024-02-29T23:59:59.999Z] \"GET /reviews/1?a=b HTTP/1.1\" 0 - - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - \
             127.0.0.1:15001 127.0.0.1:40000 - -\n"
                .to_owned(),
        ),
        (
            "tcp",
            tcp(bare(&stand)),
            "[2024-02-29T23:59:59.999Z] \"- - -\" 0 - - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - \
             127.0.0.1:15001 127.0.0.1:40000 - -\n"
                .to_owned(),
        ),
        (
            "filters and a reason",
            filtered(&stand),
            format!(
                "{common} filters=\"default/authz@{digest},default/authz@{digest}\" reason=\"only \\\"admins\\\"\\nmay\"\n"
            ),
        ),
    ];
    for (row, record, want) in rows {
        assert_eq!(line(LogFormat::Text, &record), want, "{row}");
    }
}

/// Istio's keys in Istio's order.
const KEYS: [&str; 23] = [
    "start_time",
    "route_name",
    "method",
    "path",
    "protocol",
    "response_code",
    "response_flags",
    "response_code_details",
    "connection_termination_details",
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
];

#[test]
fn json_lines() {
    let stand = Stand::with(&samples::snapshot());
    for (row, record) in [("full", full(&stand)), ("bare", bare(&stand)), ("filtered", filtered(&stand))] {
        let parsed: Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
        let keys: Vec<&str> = parsed.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys[..23], KEYS, "{row}");
        assert_eq!(keys[23], "upstream_transport_failure_reason", "{row}");
        let more: &[&str] = if row == "filtered" { &["filters", "reason"] } else { &[] };
        assert_eq!(&keys[24..], more, "{row}");
    }
    let parsed: Value = serde_json::from_str(&line(LogFormat::Json, &filtered(&stand))).unwrap();
    let values = [
        ("start_time", Value::from("2024-02-29T23:59:59.999Z")),
        ("response_code", Value::from(200)),
        ("duration", Value::from(13)),
        ("upstream_service_time", Value::from("12")),
        ("upstream_host", Value::from("10.0.0.7:15006")),
        ("x_forwarded_for", Value::Null),
        ("reason", Value::from("only \"admins\"\nmay")),
    ];
    for (key, want) in values {
        assert_eq!(parsed[key], want, "{key}");
    }
}

#[test]
fn nobody_can_write_a_line_of_their_own() {
    let stand = Stand::with(&samples::snapshot());
    let mut record = full(&stand);
    let hostile = b"a\" 200 \xff\x85\t\\";
    record.request.user_agent = Some(HeaderValue::from_bytes(hostile).unwrap());
    record.upstream_failure = Some("two\nlines\u{7f}\u{1}".to_owned());
    let text = line(LogFormat::Text, &record);
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(text.contains(r#""a\" 200 "#) && text.contains(r"two\nlines\u007f\u0001"), "{text}");
    let json: Value = serde_json::from_str(&line(LogFormat::Json, &record)).unwrap();
    assert_eq!(json["user_agent"], Value::from(String::from_utf8_lossy(hostile)));
}

#[test]
fn lines_of_all_workers_reach_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let stand = Stand::with(&samples::snapshot());
    let options = LogOptions { target: LogTarget::File(path.clone()), format: LogFormat::Json };
    let telemetry = Telemetry::new(2, Some(options)).unwrap();
    let shards = [telemetry.shard(0), telemetry.shard(1)];
    for round in 0..200 {
        shards[round % 2].close(&full(&stand));
    }
    telemetry.flush();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 200);
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    // Without being asked too, soon.
    shards[0].close(&full(&stand));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::fs::read_to_string(&path).unwrap().lines().count() < 201 {
        assert!(std::time::Instant::now() < deadline, "the line did not come");
        std::thread::yield_now();
    }
}

#[test]
fn a_log_that_cannot_be_opened_says_which() {
    let options = LogOptions { target: LogTarget::File("/no/such/folder/log".into()), format: LogFormat::Text };
    let error = Telemetry::new(1, Some(options)).unwrap_err();
    assert!(error.to_string().starts_with("access log /no/such/folder/log: "), "{error}");
}
