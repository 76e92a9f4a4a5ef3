//! Plans built from snapshots through the publisher: what is resolved, what is refused, what stays the same.

#![allow(clippy::unwrap_used, clippy::type_complexity)]

use super::*;
use crate::samples::{self, Stand, backend, backend_name, destination, endpoint, forward_rule, host};
use std::time::Duration;
use weft_snapshot::{Answer, Match, RetryOn, Snapshot, Update};

fn lookup(plan: &Plan, host: &str) -> &'static str {
    match plan.lookup(host) {
        Lookup::Found(_) => "found",
        Lookup::Absent => "absent",
        Lookup::Unknown => "unknown",
    }
}

fn update(before: &Snapshot, change: impl FnOnce(&mut Snapshot)) -> (Snapshot, Update) {
    let mut after = before.clone();
    change(&mut after);
    let update = before.diff(&after);
    (after, update)
}

#[test]
fn hosts_by_answers_and_by_domains() {
    let mut snapshot = samples::snapshot();
    let wildcard = |name: &str| weft_snapshot::Service {
        name: host(name),
        domains: vec![host(name)],
        ..snapshot.services().next().unwrap().clone()
    };
    let (narrow, wide) = (wildcard("*.a.example"), wildcard("*.example"));
    snapshot.add_service(narrow);
    snapshot.add_service(wide);
    let (mut on_demand, mut complete) = (Stand::new(Discovery::OnDemand), Stand::new(Discovery::Complete));
    assert_eq!(lookup(&on_demand.pin(), "reviews"), "unknown", "before the first plan");
    on_demand.publish(&snapshot, None).unwrap();
    complete.publish(&snapshot, None).unwrap();
    let rows = [
        ("reviews", "found", "found"),
        ("nowhere.example", "absent", "found"),
        ("reviews.default", "unknown", "found"),
        ("other", "unknown", "absent"),
        ("example", "unknown", "absent"),
    ];
    for (asked, by_answer, by_domain) in rows {
        assert_eq!(lookup(&on_demand.pin(), asked), by_answer, "{asked} by answer");
        assert_eq!(lookup(&complete.pin(), asked), by_domain, "{asked} by domain");
    }
    let suffixes = [("x.a.example", "*.a.example"), ("x.y.a.example", "*.a.example"), ("b.example", "*.example")];
    let plan = complete.pin();
    for (asked, want) in suffixes {
        let Lookup::Found(service) = plan.lookup(asked) else { panic!("{asked} is not found") };
        assert_eq!(service.name.as_str(), want, "{asked}");
    }
}

#[test]
fn an_answer_without_its_service_is_no_answer() {
    let mut snapshot = samples::snapshot();
    snapshot.add_answer(Answer { asked: host("half"), service: Some(host("half.default.svc.cluster.local")) });
    let mut stand = Stand::new(Discovery::OnDemand);
    stand.publish(&snapshot, None).unwrap();
    assert_eq!(lookup(&stand.pin(), "half"), "unknown");
}

#[test]
fn destinations_are_drawn_by_weight_and_picked_by_subset() {
    let forward = |weights: &[(&str, u32)]| {
        Forward::new(
            weights
                .iter()
                .map(|(subset, weight)| Destination {
                    name: backend_name(subset),
                    backend: None,
                    weight: *weight,
                    request_headers: crate::headers::HeaderOps::default(),
                    response_headers: crate::headers::HeaderOps::default(),
                    filters: crate::filters::Filters::default(),
                })
                .collect(),
        )
    };
    let rows: &[(&str, &[(&str, u32)], u32, &str)] = &[
        ("one takes all", &[("a", 0)], 0, "a"),
        ("first", &[("a", 90), ("b", 10)], 89, "a"),
        ("second", &[("a", 90), ("b", 10)], 90, "b"),
        ("weight 0 is never drawn", &[("z", 0), ("a", 1)], 0, "a"),
        ("last", &[("a", 1), ("b", 1), ("z", 0)], 1, "b"),
    ];
    for (row, weights, drawn, want) in rows {
        let forward = forward(weights);
        let draw = |bound| {
            assert!(*drawn < bound, "{row}");
            *drawn
        };
        assert_eq!(forward.draw(draw).unwrap().name.subset, *want, "{row}");
    }
    let forward = forward(&[("v1", 100), ("v3", 0)]);
    assert_eq!(forward.subset("v3").unwrap().name.subset, "v3");
    assert!(forward.subset("v9").is_none());
}

#[test]
fn what_a_rule_names_is_resolved_or_a_problem() {
    let mut snapshot = samples::snapshot();
    let mut service = snapshot.services().next().unwrap().clone();
    let header = |value: &str| weft_snapshot::HeaderOps {
        set: vec![("x-a".to_owned(), value.to_owned())],
        ..weft_snapshot::HeaderOps::default()
    };
    service.rules = vec![
        forward_rule("no such subset", Vec::new(), vec![destination("v9", 1)]),
        forward_rule("bad header", Vec::new(), vec![destination("v1", 1)]),
        forward_rule("no filter", Vec::new(), vec![destination("v1", 1)]),
        forward_rule(
            "bad pattern",
            vec![Match { uri: Some(regex("(")), ..Match::default() }],
            vec![destination("v1", 1)],
        ),
        forward_rule("nowhere", Vec::new(), Vec::new()),
    ];
    service.rules[1].headers.request = header("a\nb");
    service.rules[2].filters = vec![FilterKey("default/gone".to_owned())];
    snapshot.add_service(service);
    let mut stand = Stand::with(&samples::snapshot());
    let problems: Vec<String> = stand.publish(&snapshot, None).unwrap_err().iter().map(ToString::to_string).collect();
    let says = |text: &str| assert!(problems.iter().any(|p| p.contains(text)), "{text} is not in {problems:#?}");
    says("rule 2 (bad header)");
    says("rule 3 (no filter): filter default/gone is attached");
    says("rule 4");
    says("rule 5 (nowhere): it forwards to no destination");
    assert_eq!(problems.len(), 4, "an unknown subset is no problem but a 503: {problems:#?}");
    assert_eq!(stand.pin().generation, 1, "the old plan stays");
}

fn regex(pattern: &str) -> weft_snapshot::StringMatch {
    weft_snapshot::StringMatch::Regex(pattern.to_owned())
}

#[test]
fn endpoints_are_swapped_without_a_new_plan() {
    let before = samples::snapshot();
    let mut stand = Stand::with(&before);
    let plan = stand.pin();
    let backend = plan.backend(&backend_name("v1")).unwrap();
    let old = backend.endpoints().list.clone();
    let changes = stand.cell.changes();
    let (after, change) = update(&before, |snapshot| {
        snapshot.set_endpoints(backend_name("v1"), vec![endpoint(1, "v1"), endpoint(7, "v1")]);
    });
    assert_eq!(stand.publish(&after, Some(&change)).unwrap(), Published::Endpoints);
    let endpoints = backend.endpoints();
    assert_eq!(endpoints.list.len(), 2, "the old plan sees it too");
    assert!(Arc::ptr_eq(&endpoints.list[0], &old[0]), "an endpoint that stays is the same");
    assert!(changes.has_changed().unwrap(), "whoever waits is told");
    assert_eq!(stand.pin().generation, plan.generation);
    assert_eq!(*plan.revision(), "r2");
}

#[test]
fn endpoints_that_change_with_a_rule_are_seen_with_it() {
    let before = samples::snapshot();
    let mut stand = Stand::with(&before);
    let old = stand.pin();
    let (after, change) = update(&before, |snapshot| {
        let mut service = snapshot.services().next().unwrap().clone();
        service.rules = vec![forward_rule("v2 only", Vec::new(), vec![destination("v2", 1)])];
        snapshot.add_service(service);
        snapshot.set_endpoints(backend_name("v1"), Vec::new());
    });
    stand.publish(&after, Some(&change)).unwrap();
    let count = |plan: &Plan| plan.backend(&backend_name("v1")).unwrap().endpoints().list.len();
    assert_eq!((count(&old), count(&stand.pin())), (1, 0), "an exchange of the old plan still finds its endpoint");
}

#[test]
fn slots_stay_with_their_names() {
    let before = samples::snapshot();
    let mut stand = Stand::with(&before);
    let slot = |stand: &Stand, subset: &str| stand.pin().backend(&backend_name(subset)).map(|b| b.slot);
    let (v1, v2) = (slot(&stand, "v1").unwrap(), slot(&stand, "v2").unwrap());
    let (changed, change) = update(&before, |snapshot| {
        let mut policy = backend("v1");
        policy.connect_timeout = Duration::from_secs(1);
        policy.limits.requests_max = Some(7);
        snapshot.add_backend(policy);
    });
    stand.publish(&changed, Some(&change)).unwrap();
    assert_eq!(slot(&stand, "v1"), Some(v1), "another policy, the same slot");
    assert_eq!(stand.pin().backend(&backend_name("v1")).unwrap().endpoints().list.len(), 1, "and its endpoints");
    let limits = stand.pin().backend(&backend_name("v1")).unwrap().limits.clone().unwrap();

    let mut gone = Snapshot::default();
    gone.set_workload(changed.workload().unwrap().clone());
    gone.add_backend(changed.backends().find(|b| b.name.subset == "v1").unwrap().clone());
    stand.publish(&gone, None).unwrap();
    assert_eq!((slot(&stand, "v1"), slot(&stand, "v2")), (Some(v1), None));
    let kept = stand.pin().backend(&backend_name("v1")).unwrap().limits.clone().unwrap();
    assert!(Arc::ptr_eq(&limits, &kept), "counts of a limit go on");

    stand.publish(&before, None).unwrap();
    let again = slot(&stand, "v2").unwrap();
    assert!(again.index <= v2.index.max(2), "places are used again: {again:?}");
    assert_ne!(again.lease, v2.lease, "and say that they have another owner");
}

#[test]
fn a_filter_that_has_never_been_ready_is_part_of_the_plan() {
    let mut snapshot = samples::snapshot();
    snapshot.add_filter(samples::filter("canary"));
    let stand = Stand::with(&snapshot);
    let plan = stand.pin();
    let states: Vec<String> = plan.filters().map(|f| format!("{} {:?}", f.key, f.state)).collect();
    assert_eq!(states, ["default/canary Unready(it has never been ready)"]);
}

#[test]
fn an_artifact_that_is_not_here_refuses_the_update() {
    let mut snapshot = samples::snapshot();
    snapshot.add_filter(weft_snapshot::Filter {
        artifact: Some(weft_snapshot::Digest([2; 32])),
        ..samples::filter("canary")
    });
    let mut stand = Stand::new(Discovery::Complete);
    let problems = stand.publish(&snapshot, None).unwrap_err();
    assert!(problems[0].to_string().starts_with("filter default/canary: its artifact sha256:0202"), "{}", problems[0]);
    assert_eq!(stand.pin().generation, 0);
}

#[test]
fn inbound_ports_and_the_hosts_that_mean_them() {
    let stand = Stand::with(&samples::snapshot());
    let plan = stand.pin();
    let rows = [
        ("productpage", None, Some(9080)),
        ("productpage", Some(80), Some(9080)),
        ("productpage.default.svc.cluster.local", Some(80), Some(9080)),
        ("productpage", Some(81), None),
        ("reviews", None, None),
    ];
    for (asked, port, want) in rows {
        assert_eq!(plan.inbound_service(asked, port).map(|s| s.target), want, "{asked} {port:?}");
    }
    assert_eq!(&*plan.inbound_port(9080).unwrap().cluster, "inbound|9080||");
    assert!(plan.inbound_port(80).is_none());
}

#[test]
fn pinned_plans_stay_and_are_shared() {
    let mut stand = Stand::with(&samples::snapshot());
    let reader = stand.cell.reader();
    let (first, again) = (reader.pin(), reader.pin());
    assert!(std::ptr::eq(&*first, &*again));
    stand.publish(&samples::snapshot(), None).unwrap();
    assert_eq!((first.generation, reader.pin().generation), (1, 2));
}

#[test]
fn retry_conditions_are_a_set() {
    let on: RetryConditions = [RetryOn::ConnectFailure, RetryOn::GrpcUnavailable].into_iter().collect();
    let rows = [(RetryOn::ConnectFailure, true), (RetryOn::GrpcUnavailable, true), (RetryOn::FiveXx, false)];
    for (condition, want) in rows {
        assert_eq!(on.contains(condition), want, "{condition:?}");
    }
}
