//! Records in, exposition out: names, labels and their order, sums over workers, the limit of series.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::Lookup;
use crate::record::{Kind, Record, Side, Target, UpstreamFacts};
use crate::samples::{self, Stand, backend_name};
use http::StatusCode;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// As `reviews-v1` answered it.
fn answered(stand: &Stand) -> Record {
    let plan = stand.pin();
    let mut record = samples::record(Side::Outbound, plan.clone());
    let Lookup::Found(service) = plan.lookup("reviews") else { panic!("reviews is not found") };
    record.service = Some(service.facts.clone());
    let backend = plan.backend(&backend_name("v1")).unwrap().clone();
    let endpoint = backend.endpoints().list[0].clone();
    record.target = Target::Backend(backend);
    record.upstream = Some(Rc::new(UpstreamFacts {
        address: ([127, 0, 0, 1], 1).into(),
        endpoint_address: endpoint.address.clone(),
        local: None,
        party: endpoint.party.clone(),
    }));
    record.service_time = Some(Duration::from_millis(12));
    record.status = Some(StatusCode::OK);
    record.details = "via_upstream";
    record.duration = Duration::from_micros(12_345);
    record.bytes_sent = 300;
    record
}

/// Sample lines by name and labels.
fn samples_of(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = samples_of(text);
    let with = |line: &&String| line.starts_with(&format!("{name}{{")) && labels.iter().all(|l| line.contains(l));
    let found: Vec<_> = samples.keys().filter(with).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:#?}");
    samples[found[0]]
}

#[test]
fn names_and_labels_are_istios_in_istios_order() {
    let stand = Stand::with(&samples::snapshot());
    let telemetry = Telemetry::new(1, None).unwrap();
    telemetry.shard(0).close(&answered(&stand));
    let text = telemetry.scraper().text(&stand.pin());
    let line = text.lines().find(|line| line.starts_with("istio_requests_total{")).unwrap();
    let want = "istio_requests_total{reporter=\"source\",source_workload=\"productpage-v1\",\
        source_canonical_service=\"productpage\",source_canonical_revision=\"v1\",source_workload_namespace=\"default\",\
        source_principal=\"spiffe://cluster.local/ns/default/sa/productpage\",source_app=\"productpage\",\
        source_version=\"v1\",source_cluster=\"Kubernetes\",destination_workload=\"reviews-v1\",\
        destination_workload_namespace=\"default\",\
        destination_principal=\"spiffe://cluster.local/ns/default/sa/reviews\",destination_app=\"reviews\",\
        destination_version=\"v1\",destination_service=\"reviews.default.svc.cluster.local\",\
        destination_canonical_service=\"reviews\",destination_canonical_revision=\"v1\",\
        destination_service_name=\"reviews\",destination_service_namespace=\"default\",\
        destination_cluster=\"Kubernetes\",request_protocol=\"http\",response_code=\"200\",response_flags=\"-\",\
        connection_security_policy=\"unknown\"} 1";
    assert_eq!(line, want);
    let bucket = |le: &str| value(&text, "istio_request_duration_milliseconds_bucket", &[&format!("le=\"{le}\"")]);
    assert_eq!((bucket("10"), bucket("25"), bucket("+Inf")), (0.0, 1.0, 1.0));
    let sum = value(&text, "istio_request_duration_milliseconds_sum", &[]);
    assert!((sum - 12.345).abs() < 1e-9, "{sum}");
    assert_eq!(value(&text, "istio_response_bytes_sum", &[]), 300.0);
    assert!(text.contains("istio_build{component=\"proxy\",tag=\"weft-"));
}

#[test]
fn what_the_labels_say_of_other_exchanges() {
    type Change = fn(&mut Record);
    let rows: &[(&str, Side, Change, &[&str])] = &[
        (
            "no upstream",
            Side::Outbound,
            |r| r.upstream = None,
            &["destination_workload=\"unknown\"", "source_principal=\"unknown\""],
        ),
        ("no status", Side::Outbound, |r| r.status = None, &["response_code=\"0\""]),
        ("a refusal", Side::Outbound, |r| r.flag = "UF,SX", &["response_flags=\"UF,SX\""]),
        (
            "gRPC",
            Side::Outbound,
            |r| (r.request.kind, r.grpc_status) = (Kind::Grpc, Some(14)),
            &["request_protocol=\"grpc\",response_code=\"200\",grpc_response_status=\"14\",response_flags"],
        ),
        (
            "passthrough",
            Side::Outbound,
            |r| r.service = Some(Arc::new(ServiceFacts::passthrough("a.example"))),
            &["destination_service=\"a.example\"", "destination_service_name=\"PassthroughCluster\""],
        ),
        (
            "inbound",
            Side::Inbound,
            |r| r.status = Some(StatusCode::FORBIDDEN),
            &[
                "reporter=\"destination\"",
                "source_workload=\"gateway-v7\"",
                "source_principal=\"spiffe://cluster.local/ns/default/sa/gateway\"",
                "destination_principal=\"spiffe://cluster.local/ns/default/sa/productpage\"",
                "destination_workload=\"productpage-v1\"",
                "connection_security_policy=\"mutual_tls\"",
                "response_code=\"403\"",
            ],
        ),
    ];
    let stand = Stand::with(&samples::snapshot());
    for (row, side, change, want) in rows {
        let telemetry = Telemetry::new(1, None).unwrap();
        let mut record = match side {
            Side::Outbound => answered(&stand),
            Side::Inbound => samples::record(Side::Inbound, stand.pin()),
        };
        change(&mut record);
        telemetry.shard(0).close(&record);
        let text = telemetry.scraper().text(&stand.pin());
        let line = text.lines().find(|line| line.starts_with("istio_requests_total{")).unwrap();
        for label in *want {
            assert!(line.contains(label), "{row}: {label} is not in {line}");
        }
    }
}

#[test]
fn workers_are_summed_and_series_go_on_between_scrapes() {
    let stand = Stand::with(&samples::snapshot());
    let telemetry = Telemetry::new(2, None).unwrap();
    let shards = [telemetry.shard(0), telemetry.shard(1)];
    let mut scraper = telemetry.scraper();
    for round in 1..=3 {
        shards.iter().for_each(|shard| shard.close(&answered(&stand)));
        let text = scraper.text(&stand.pin());
        assert_eq!(value(&text, "istio_requests_total", &[]), f64::from(2 * round));
    }
}

#[test]
fn tcp_is_reported_while_it_is_open() {
    let stand = Stand::with(&samples::snapshot());
    let telemetry = Telemetry::new(1, None).unwrap();
    let (shard, mut scraper) = (telemetry.shard(0), telemetry.scraper());
    let mut record = answered(&stand);
    record.request.kind = Kind::Tcp;
    let series = shard.tcp(&record);
    series.opened();
    series.sent(100);
    series.received(7);
    let text = scraper.text(&stand.pin());
    let labels = &["request_protocol=\"tcp\",response_flags=\"-\""];
    let seen = |name: &str| value(&text, name, labels);
    assert_eq!(
        [
            seen("istio_tcp_sent_bytes_total"),
            seen("istio_tcp_received_bytes_total"),
            seen("istio_tcp_connections_opened_total"),
            seen("istio_tcp_connections_closed_total"),
        ],
        [100.0, 7.0, 1.0, 0.0]
    );
    series.closed();
    shard.close(&record);
    let text = scraper.text(&stand.pin());
    assert_eq!(value(&text, "istio_tcp_connections_closed_total", labels), 1.0);
    assert!(!text.contains("istio_requests_total{"), "a connection is no request");
}

#[test]
fn too_many_series_share_one() {
    let stand = Stand::with(&samples::snapshot());
    let telemetry = Telemetry::new(1, None).unwrap();
    let shard = telemetry.shard(0);
    let mut record = answered(&stand);
    for number in 0..SERIES_MAX + 5 {
        record.service = Some(Arc::new(ServiceFacts::passthrough(&format!("host-{number}.example"))));
        shard.close(&record);
    }
    let text = telemetry.scraper().text(&stand.pin());
    let series = text.lines().filter(|line| line.starts_with("istio_requests_total{")).count();
    assert_eq!(series, SERIES_MAX + 1);
    assert_eq!(value(&text, "istio_requests_total", &["destination_service=\"overflow\""]), 5.0);
    assert_eq!(samples_of(&text)["weft_metrics_overflow_total"], 5.0);
}

#[test]
fn values_are_escaped() {
    let stand = Stand::with(&samples::snapshot());
    let telemetry = Telemetry::new(1, None).unwrap();
    let mut record = answered(&stand);
    record.service = Some(Arc::new(ServiceFacts::passthrough("a\"b\\c\nd")));
    telemetry.shard(0).close(&record);
    let text = telemetry.scraper().text(&stand.pin());
    assert!(text.contains(r#"destination_service="a\"b\\c\nd""#));
}

#[test]
fn every_family_is_announced_once_and_before_its_samples() {
    let mut snapshot = samples::snapshot();
    snapshot.add_filter(samples::filter("canary"));
    let stand = Stand::with(&snapshot);
    let telemetry = Telemetry::new(1, None).unwrap();
    let shard = telemetry.shard(0);
    shard.close(&answered(&stand));
    shard.tcp(&answered(&stand)).opened();
    let text = telemetry.scraper().text(&stand.pin());
    let mut announced = Vec::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().unwrap();
            assert!(!announced.contains(&name), "{name} twice");
            announced.push(name);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let known = announced.last().is_some_and(|last| *last == name || *last == plain);
            assert!(known, "{name} under {:?}", announced.last());
        }
    }
    assert!(text.contains("weft_filter_ready{filter=\"default/canary\",component=\"sha256:"), "{text}");
}

#[test]
fn a_service_is_named_as_istio_names_it() {
    let rows = [
        ("reviews.default.svc.cluster.local", "default", "reviews"),
        ("reviews.default.svc", "default", "reviews"),
        ("reviews.other.svc.cluster.local", "default", "reviews.other.svc.cluster.local"),
        ("api.example.com", "default", "api.example.com"),
        ("reviews", "default", "reviews"),
    ];
    for (host, namespace, want) in rows {
        assert_eq!(ServiceFacts::new(host, namespace).name(), want, "{host}");
    }
}
