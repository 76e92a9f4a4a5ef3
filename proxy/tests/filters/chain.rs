//! Chains of real filters over one exchange: order, edits, picks, denials, failures, and versions.

use crate::components::{Folder, Shipped, shipped};
use crate::mesh::{self, Apps, filter};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, response};
use serde_json::json;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use weft_filter_host::{Engine, EngineOptions, Runner};
use weft_proxy::filters::{Chain, Flow, trace_value};
use weft_proxy::headers::{Authority, Head, Scheme};
use weft_proxy::plan::{Discovery, Lookup, Next, PlanCell, Publisher, Route};
use weft_proxy::record::{Kind, PeerFacts, Record, RequestFacts, Security, Side};
use weft_proxy::refusal::Refusal;
use weft_proxy::telemetry::Party;
use weft_snapshot::{FailurePolicy, Filter, Isolation};

/// A publisher, and a worker's side of it.
struct Bench {
    publisher: Publisher,
    cell: Arc<PlanCell>,
    runner: Runner,
    folder: Folder,
}

impl Bench {
    fn new() -> Self {
        let engine = Engine::new(EngineOptions { workers: 1, policies_max: 32, ..EngineOptions::default() }).unwrap();
        let cell = PlanCell::new(Discovery::Complete);
        let runner = Runner::new(&engine, 0);
        let publisher = Publisher::new(engine, 1, Discovery::Complete, cell.clone());
        Self { publisher, cell, runner, folder: Folder::default() }
    }

    fn with(all: &[&Shipped], filters: Vec<Filter>) -> Self {
        let mut bench = Self::new();
        all.iter().for_each(|shipped| bench.folder.add(shipped));
        bench.publish(filters).unwrap();
        bench
    }

    fn publish(&mut self, filters: Vec<Filter>) -> Result<(), Vec<String>> {
        let nowhere = ([127, 0, 0, 1], 1).into();
        let snapshot = mesh::snapshot(Apps { v1: nowhere, v2: nowhere }, filters);
        let next = Next { snapshot: &snapshot, update: None, revision: "r" };
        let published = self.publisher.publish(&next, &self.folder);
        published.map(|_| ()).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// An exchange before its filters.
    fn exchange(&self, path: &str, headers: &[(&str, &[u8])]) -> Exchange {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        let authority = HeaderValue::from_static("reviews:9080");
        let head = Head {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Authority::from_header(authority.clone()).unwrap(),
            path: path.parse().unwrap(),
            headers: map,
        };
        let plan = self.cell.reader().pin();
        let Lookup::Found(service) = plan.lookup("reviews") else { panic!("reviews is not found") };
        let route = service.route(&head, 9080).unwrap().route.clone();
        let peer = PeerFacts {
            remote: ([127, 0, 0, 1], 40_000).into(),
            local: ([127, 0, 0, 1], 15_001).into(),
            party: Arc::new(Party::new(mesh::labels("client"), Some(mesh::identity("client")))),
            security: Security::None,
            sni: None,
        };
        let request = RequestFacts {
            protocol: Version::HTTP_11,
            kind: Kind::Http,
            method: Method::GET,
            path: head.path.clone(),
            authority,
            request_id: None,
            user_agent: None,
            forwarded_for: None,
        };
        let seen = (Rc::new(peer), request);
        let mut record = Record::new(Side::Outbound, SystemTime::now(), Instant::now(), plan, seen);
        record.route = Some(route.clone());
        Exchange { chain: route.filters.start(), route, head, record }
    }
}

struct Exchange {
    route: Arc<Route>,
    chain: Chain,
    head: Head,
    record: Record,
}

impl Exchange {
    fn request(&mut self, bench: &Bench) -> Result<Flow, Refusal> {
        block_on(self.chain.request(&bench.runner, &mut self.head, &mut self.record))
    }

    /// As an upstream answers, then what the client gets; a body where a filter gave one.
    fn response(&mut self, bench: &Bench, status: u16) -> (response::Parts, Option<bytes::Bytes>) {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(status).unwrap();
        parts.headers.insert("x-upstream", HeaderValue::from_static("yes"));
        let body = block_on(self.chain.response(&bench.runner, &mut parts, &mut self.record)).unwrap();
        (parts, body)
    }

    fn trace(&self) -> String {
        trace_value(&self.record.filters).unwrap().to_str().unwrap().to_owned()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn all(map: &HeaderMap, name: &str) -> Vec<String> {
    map.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[test]
fn requests_go_forwards_and_responses_backwards() {
    let headers = shipped("filters/headers");
    let layer = |name: &str| {
        let config = json!({
            "request": {"add": {"x-way": format!("{name}:%{{x-user?nobody}}")}, "remove": ["x-secret"]},
            "response": {"add": {"x-back": format!("{name}:%{{:status}}")}, "set": {"x-upstream": name}},
        });
        filter(name, Some(&headers), config)
    };
    let bench = Bench::with(&[&headers], vec![layer("outer"), layer("inner")]);
    let mut exchange = bench.exchange("/a", &[("x-user", b"jason"), ("x-secret", b"1")]);
    assert!(matches!(exchange.request(&bench).unwrap(), Flow::Continue));
    assert_eq!(all(&exchange.head.headers, "x-way"), ["outer:jason", "inner:jason"]);
    assert!(!exchange.head.headers.contains_key("x-secret"));
    let (parts, body) = exchange.response(&bench, 200);
    assert_eq!(all(&parts.headers, "x-back"), ["inner:200", "outer:200"]);
    assert_eq!(all(&parts.headers, "x-upstream"), ["outer"]);
    assert!(body.is_none());
    let digest = headers.component;
    assert_eq!(
        exchange.trace(),
        format!("default/outer request={digest} response={digest}, default/inner request={digest} response={digest}")
    );
}

#[test]
fn a_pick_chooses_the_destination_and_the_response_sets_the_cookie() {
    let canary = shipped("filters/canary");
    let config = json!({"subsets": {"v2": 100}, "stickyBy": {"cookie": "who"}});
    let bench = Bench::with(&[&canary], vec![filter("canary", Some(&canary), config)]);
    let mut exchange = bench.exchange("/a", &[]);
    exchange.request(&bench).unwrap();
    assert_eq!(exchange.chain.pick(), Some("v2"));
    let weft_proxy::plan::Action::Forward(forward) = &exchange.route.action else { panic!("it forwards") };
    assert_eq!(forward.subset("v2").unwrap().name.subset, "v2");
    let (parts, _) = exchange.response(&bench, 200);
    assert!(all(&parts.headers, "set-cookie")[0].starts_with("who="), "{:?}", parts.headers);
}

#[test]
fn a_denial_is_a_refusal_with_its_reason() {
    let (authz, headers) = (shipped("filters/authz"), shipped("filters/headers"));
    let before = filter("before", Some(&headers), json!({"request": {"set": {"x-seen": "1"}}}));
    let guard = filter("authz", Some(&authz), json!({"deny": [{"name": "admin", "paths": ["/admin*"]}]}));
    let bench = Bench::with(&[&authz, &headers], vec![before, guard]);
    let mut allowed = bench.exchange("/a", &[]);
    assert!(matches!(allowed.request(&bench).unwrap(), Flow::Continue));
    let mut exchange = bench.exchange("/admin/x", &[]);
    let refusal = exchange.request(&bench).unwrap_err();
    let terms = refusal.terms();
    assert_eq!((terms.status.as_u16(), terms.flag, terms.details), (403, "UAEX", "filter_denied"));
    let text = refusal.to_string();
    assert!(text.starts_with("filter default/authz denied it: ") && text.contains("admin"), "{text}");
    assert_eq!(exchange.record.filters.len(), 2, "the log names both");
}

#[test]
fn a_filter_that_is_not_ready_answers_by_its_failure_policy() {
    let open = Filter { failure_policy: FailurePolicy::Open, ..filter("absent", None, json!({})) };
    let bench = Bench::with(&[], vec![open]);
    let mut exchange = bench.exchange("/a", &[]);
    assert!(matches!(exchange.request(&bench).unwrap(), Flow::Continue));
    assert_eq!(exchange.trace(), "default/absent request=- response=-");

    let bench = Bench::with(&[], vec![filter("absent", None, json!({}))]);
    let mut exchange = bench.exchange("/a", &[]);
    let refusal = exchange.request(&bench).unwrap_err();
    assert_eq!(refusal.terms().status.as_u16(), 503);
    assert_eq!(refusal.to_string(), "filter default/absent failed: it has never been ready");
}

#[test]
fn an_attribute_that_is_no_text_is_the_clients_fault() {
    let headers = shipped("filters/headers");
    let config = json!({"request": {"set": {"x-a": "%{x-user}"}}});
    let open = Filter { failure_policy: FailurePolicy::Open, ..filter("headers", Some(&headers), config) };
    let bench = Bench::with(&[&headers], vec![open]);
    let refusal = bench.exchange("/a", &[("x-user", b"\xff")]).request(&bench).unwrap_err();
    assert_eq!(refusal.terms().status.as_u16(), 400, "even where failures are let through: {refusal}");
}

#[test]
fn an_exchange_ends_on_the_version_on_which_it_started() {
    let headers = shipped("filters/headers");
    let versioned = |version: &str| {
        let config = json!({"request": {"set": {"x-in": version}}, "response": {"set": {"x-out": version}}});
        filter("headers", Some(&headers), config)
    };
    let mut bench = Bench::with(&[&headers], vec![versioned("1")]);
    let mut held = bench.exchange("/a", &[]);
    held.request(&bench).unwrap();
    for version in 2..=6 {
        bench.publish(vec![versioned(&version.to_string())]).unwrap();
    }
    let mut new = bench.exchange("/a", &[]);
    new.request(&bench).unwrap();
    let seen = |exchange: &mut Exchange| {
        let (parts, _) = exchange.response(&bench, 200);
        (all(&exchange.head.headers, "x-in"), all(&parts.headers, "x-out"))
    };
    assert_eq!(seen(&mut held), (vec!["1".to_owned()], vec!["1".to_owned()]));
    assert_eq!(seen(&mut new), (vec!["6".to_owned()], vec!["6".to_owned()]));
}

#[test]
fn what_did_not_change_goes_on_and_what_is_bad_changes_nothing() {
    let (headers, authz) = (shipped("filters/headers"), shipped("filters/authz"));
    let kept = filter("kept", Some(&headers), json!({"request": {"set": {"x-kept": "1"}}}));
    let mut bench = Bench::with(&[&headers, &authz], vec![kept.clone()]);
    bench.exchange("/a", &[]).request(&bench).unwrap();
    let calls = |bench: &Bench| {
        let plan = bench.cell.load();
        let kept = plan.filters().find(|filter| filter.key == mesh::key("kept")).unwrap().clone();
        match &kept.state {
            weft_proxy::filters::State::Ready(ready) => ready.policy.figures().calls,
            weft_proxy::filters::State::Unready { reason } => panic!("{reason}"),
        }
    };
    assert_eq!(calls(&bench), 1);
    let guard = filter("authz", Some(&authz), json!({"deny": [{"paths": ["/x"]}]}));
    bench.publish(vec![kept.clone(), guard]).unwrap();
    assert_eq!(calls(&bench), 1, "the same policy, with what it has counted");

    let bad = filter("authz", Some(&authz), json!({"deny": 7}));
    let problems = bench.publish(vec![kept, bad]).unwrap_err();
    assert!(problems[0].starts_with("filter default/authz: "), "{problems:?}");
    let names: Vec<String> = bench.cell.load().filters().map(|f| f.key.to_string()).collect();
    assert_eq!(names, ["default/authz", "default/kept"], "the old plan stays");
}

#[test]
fn a_hostile_filter_fails_by_its_policy() {
    let hostile = shipped("tests/guests/hostile");
    let rows = [(FailurePolicy::Closed, true), (FailurePolicy::Open, false)];
    for (failure_policy, refuses) in rows {
        let trap = Filter {
            failure_policy,
            deadline: Duration::from_millis(20),
            ..filter("hostile", Some(&hostile), json!({"request": "trap"}))
        };
        let bench = Bench::with(&[&hostile], vec![trap]);
        for attempt in 0..3 {
            let outcome = bench.exchange("/a", &[]).request(&bench);
            match outcome {
                Err(refusal) => {
                    assert!(refuses, "attempt {attempt}: {refusal}");
                    assert_eq!(refusal.terms().status.as_u16(), 503);
                }
                Ok(flow) => assert!(!refuses && matches!(flow, Flow::Continue), "attempt {attempt}: {flow:?}"),
            }
        }
    }
}

#[test]
fn a_fresh_instance_meets_each_request_where_the_filter_asks_for_it() {
    let hostile = shipped("tests/guests/hostile");
    let rows = [(Isolation::Request, ["0", "0", "0"]), (Isolation::Reuse, ["1", "2", "3"])];
    for (isolation, want) in rows {
        let counts = Filter { isolation, ..filter("counts", Some(&hostile), json!({"request": "nth"})) };
        let bench = Bench::with(&[&hostile], vec![counts]);
        // The first of an instance that is reused was its rehearsal.
        let seen = want.map(|_| {
            let mut exchange = bench.exchange("/a", &[]);
            exchange.request(&bench).unwrap();
            all(&exchange.head.headers, "x-hostile").concat()
        });
        assert_eq!(seen, want, "{isolation:?}");
    }
}
