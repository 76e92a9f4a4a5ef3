//! The standard filters as the proxy runs them: built, compiled, prepared by the filter host, and asked.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use weft_filter_build::{BuildOptions, CargoOutput, build};
use weft_filter_host::{
    Attribute, Component, Engine, EngineOptions, Isolation, Message, NonUtf8, OnFailure, Op, Policy, PolicySettings,
    PrepareError, ResponseVerdict, Runner, Verdict, compile,
};

/// Values by the names that manifests use.
#[derive(Default)]
struct Exchange(BTreeMap<String, String>);

impl Exchange {
    fn new(values: &[(&str, &str)]) -> Self {
        Self(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

impl Message for Exchange {
    fn attribute(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>> {
        self.0.get(&attribute.to_string()).map(|value| Cow::Borrowed(value.as_bytes()))
    }

    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.get(name).map(|value| value.clone().into_bytes()).into_iter().collect()
    }

    fn header_names(&self) -> Vec<String> {
        self.0.keys().filter(|name| !name.contains([':', '@'])).cloned().collect()
    }
}

struct Bench {
    engine: Engine,
    component: Component,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(name: &str) -> Self {
        let options = BuildOptions { cargo_output: CargoOutput::Kept, ..BuildOptions::default() };
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name);
        let built = build(&crate_dir, &options).unwrap_or_else(|problem| panic!("{problem}"));
        let dir = tempfile::tempdir().unwrap();
        let artifact = dir.path().join("artifact");
        std::fs::write(&artifact, compile::compile(&built.component).unwrap()).unwrap();
        let engine = Engine::new(EngineOptions { workers: 1, ..EngineOptions::default() }).unwrap();
        let component = Component::load(&engine, &artifact).unwrap();
        Self { engine, component, _dir: dir }
    }

    fn policy(&self, config: &str) -> Result<Policy, PrepareError> {
        let settings = PolicySettings {
            key: "default/test".into(),
            component: "sha256:test".into(),
            config: config.into(),
            deadline: Duration::from_millis(100),
            memory_max: 16 << 20,
            on_failure: OnFailure::Refuse,
            non_utf8: NonUtf8::Refuse,
            isolation: Isolation::Reuse,
        };
        Policy::prepare(&self.engine, &self.component, settings, 1)
    }

    fn runner(&self) -> Runner {
        Runner::new(&self.engine, 0)
    }
}

#[tokio::test]
async fn canary_picks_and_sets_the_cookie() {
    let bench = Bench::new("canary");
    let policy = bench.policy(r#"{"subsets": {"v1": 50, "v3": 50}, "stickyBy": {"cookie": "user"}}"#).unwrap();
    assert_eq!(policy.manifest().upstreams, ["v1", "v3"]);
    let runner = bench.runner();
    let mut seen = [0, 0];
    for user in 0..200 {
        let request = Exchange::new(&[("@cookie:user", &format!("u{user}"))]);
        let mut picks = Vec::new();
        for _ in 0..2 {
            let Verdict::Forward(forward) = runner.on_request(&policy, &request).await.unwrap() else { panic!() };
            assert!(forward.state.is_none(), "he has his cookie");
            picks.push(forward.pick.unwrap() as usize);
        }
        assert_eq!(picks[0], picks[1], "user {user}");
        seen[picks[0]] += 1;
    }
    assert!(seen.iter().all(|count| *count > 60), "{seen:?}");

    let Verdict::Forward(first) = runner.on_request(&policy, &Exchange::default()).await.unwrap() else { panic!() };
    let response = Exchange::new(&[(":status", "200")]);
    let answer = runner.on_response(&policy, &response, first.state).await.unwrap();
    let ResponseVerdict::Edit(edits) = answer else { panic!("{answer:?}") };
    let Op::Append(cookie) = &edits[0].op else { panic!("{edits:?}") };
    let user = cookie.strip_prefix("user=").unwrap().split(';').next().unwrap();
    let again = runner.on_request(&policy, &Exchange::new(&[("@cookie:user", user)])).await.unwrap();
    let Verdict::Forward(again) = again else { panic!() };
    assert_eq!(again.pick, first.pick, "the cookie keeps him where he was");

    let refused = bench.policy(r#"{"subsets": {"v1": "x"}}"#).err().unwrap().to_string();
    assert!(refused.contains("subsets.v1: invalid type: a text, expected u32"), "{refused}");
}

#[tokio::test]
async fn headers_edits_both_ways() {
    let bench = Bench::new("headers");
    let config = r#"{"rewrite": [{"prefix": "/book", "to": "/details"}],
        "request": {"set": {"x-reader": "%{end-user?anonymous}"}, "remove": ["x-secret"]},
        "response": {"set": {"x-served": "%{:status}/%{req:end-user?anonymous}"}}}"#;
    let policy = bench.policy(config).unwrap();
    let runner = bench.runner();
    let request = Exchange::new(&[(":path", "/book/0"), ("end-user", "ann")]);
    let Verdict::Forward(forward) = runner.on_request(&policy, &request).await.unwrap() else { panic!() };
    let edits: Vec<(&str, &Op)> = forward
        .edits
        .iter()
        .map(|edit| (policy.manifest().request_writes[edit.slot as usize].name(), &edit.op))
        .collect();
    let want =
        [(":path", &Op::Set("/details/0".into())), ("x-secret", &Op::Remove), ("x-reader", &Op::Set("ann".into()))];
    assert_eq!(edits, want);
    let response = Exchange::new(&[(":status", "200")]);
    let answer = runner.on_response(&policy, &response, None).await.unwrap();
    let ResponseVerdict::Edit(edits) = answer else { panic!("{answer:?}") };
    assert_eq!(edits[0].op, Op::Set("200/anonymous".into()));
}

#[tokio::test]
async fn authz_denies_with_a_reason() {
    let bench = Bench::new("authz");
    let config = r#"{"allow": [{"principals": "cluster.local/ns/default/sa/web", "methods": "GET", "paths": "/a/*"}]}"#;
    let policy = bench.policy(config).unwrap();
    assert!(policy.manifest().guard);
    let runner = bench.runner();
    let web = ("@source.identity", "spiffe://cluster.local/ns/default/sa/web");
    let cases = [
        (Exchange::new(&[web, (":method", "GET"), (":path", "/a/b?c")]), None),
        (
            Exchange::new(&[web, (":method", "PUT"), (":path", "/a/b")]),
            Some("no allow rule fits PUT /a/b from cluster.local/ns/default/sa/web"),
        ),
        (
            Exchange::new(&[(":method", "GET"), (":path", "/a/b")]),
            Some("no allow rule fits GET /a/b from a caller without identity"),
        ),
    ];
    for (request, want) in cases {
        match (runner.on_request(&policy, &request).await.unwrap(), want) {
            (Verdict::Pass, None) => {}
            (Verdict::Deny(denial), Some(reason)) => {
                assert_eq!((denial.reason.as_str(), denial.reply.status), (reason, 403));
            }
            (verdict, want) => panic!("{verdict:?}, not {want:?}"),
        }
    }
}

/// Not an assertion: run it with `--ignored --nocapture` and `--release` to see what a call costs.
#[tokio::test]
#[ignore = "prints figures"]
async fn what_a_call_costs() {
    let cases = [
        ("canary", r#"{"subsets": {"v1": 90, "v3": 10}, "stickyBy": {"cookie": "user"}}"#),
        ("headers", r#"{"request": {"set": {"x-reader": "%{end-user?anonymous}"}}}"#),
        (
            "authz",
            r#"{"allow": [{"principals": "cluster.local/ns/default/sa/web", "methods": "GET", "paths": "/a/*"}]}"#,
        ),
    ];
    let request = Exchange::new(&[
        ("@source.identity", "spiffe://cluster.local/ns/default/sa/web"),
        (":method", "GET"),
        (":path", "/a/b?c"),
        ("@cookie:user", "3f2a9c0d11223344"),
        ("end-user", "ann"),
    ]);
    for (name, config) in cases {
        let bench = Bench::new(name);
        let policy = bench.policy(config).unwrap();
        let runner = bench.runner();
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let started = std::time::Instant::now();
            for _ in 0..20_000 {
                runner.on_request(&policy, &request).await.unwrap();
            }
            best = best.min(started.elapsed() / 20_000);
        }
        println!("{name}: {best:?}");
    }
}
