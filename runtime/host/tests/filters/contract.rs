//! Verdicts and data across the boundary, both ways.

use crate::guest::{Bench, Head, block_on, settings};
use weft_filter_host::{
    Attribute, Denial, Edit, FailureKind, Forward, NonUtf8, Op, PolicySettings, Reply, ResponseVerdict, Verdict,
    Writable,
};

fn tag(value: &str) -> Edit {
    Edit { slot: 0, op: Op::Set(value.to_owned()) }
}

fn edit(value: &str) -> Verdict {
    Verdict::Forward(Forward { edits: vec![tag(value)], ..Forward::default() })
}

#[test]
fn the_manifest_is_typed() {
    let bench = Bench::new();
    let manifest = bench.policy(r#"{"response": "tag"}"#).manifest().clone();
    let header = |name: &str| Attribute::Header(name.to_owned());
    assert_eq!(manifest.request, [Attribute::Path, header("x-user"), header("x-behave")]);
    assert_eq!(manifest.response, [Attribute::Status, header("x-hostile")]);
    assert_eq!(manifest.request_writes, [Writable::Header("x-hostile".to_owned())]);
    assert_eq!((manifest.upstreams, manifest.counters), (vec!["v1".to_owned()], vec!["hostilities".to_owned()]));
}

#[test]
fn verdicts_and_attributes_cross_the_boundary() {
    let bench = Bench::new();
    let reply = |status| Reply {
        status,
        headers: vec![("x-hostile".to_owned(), "yes".to_owned())],
        body: b"hostile\n".to_vec(),
    };
    let denied = Verdict::Deny(Denial { reply: reply(403), reason: "no".to_owned() });
    let remembered = Verdict::Forward(Forward { state: Some(b"no".to_vec()), ..Forward::default() });
    let cases = [
        ("pass", Verdict::Pass),
        ("tag", edit("no")),
        ("echo", edit("/a?b müller")),
        ("respond", Verdict::Respond(reply(418))),
        ("deny", denied),
        ("remember", remembered),
        ("lazy", edit("x-user,accept 2 müller")),
        ("slow", Verdict::Pass),
        ("log", Verdict::Pass),
        ("counted", Verdict::Pass),
    ];
    let message = Head::new("/a?b", &[("x-user", "müller"), ("x-user", "meier"), ("accept", "*/*")]);
    for (behaviour, want) in cases {
        let policy = bench.policy(&format!(r#"{{"request": "{behaviour}", "note": "no"}}"#));
        for round in 0..3 {
            let verdict = bench.request(&policy, &message);
            assert_eq!(verdict.as_ref(), Ok(&want), "{behaviour}, round {round}");
        }
        let figures = policy.figures();
        assert_eq!((figures.calls, figures.failures), (3, [0; 7]), "{behaviour}");
        let counted = if behaviour == "counted" { 3 } else { 0 };
        assert_eq!(figures.counters, [counted], "{behaviour}");
        // Ten lines a second: three rounds fall into one second, or into two.
        let dropped = if behaviour == "log" { 280..=290 } else { 0..=0 };
        assert!(dropped.contains(&figures.lines_dropped), "{behaviour}: {}", figures.lines_dropped);
    }
}

#[test]
fn state_comes_back_with_the_response() {
    let bench = Bench::new();
    let policy = bench.policy(r#"{"request": "remember", "response": "tag", "note": "seen"}"#);
    let message = Head::default();
    let Ok(Verdict::Forward(Forward { state, .. })) = bench.request(&policy, &message) else {
        panic!("it leaves state");
    };
    let answer = |state| block_on(bench.runner.on_response(&policy, &message, state));
    assert_eq!(answer(state), Ok(ResponseVerdict::Edit(vec![tag("seen")])));
    assert_eq!(answer(Some(b"other".to_vec())), Ok(ResponseVerdict::Edit(vec![tag("other")])));
}

#[test]
fn a_response_phase_without_attributes_is_never_called() {
    let bench = Bench::new();
    let policy = bench.policy("");
    let verdict = block_on(bench.runner.on_response(&policy, &Head::default(), None));
    assert_eq!(verdict, Ok(ResponseVerdict::Pass));
    assert_eq!(policy.figures().calls, 0);
}

#[test]
fn text_that_is_not_utf8_is_refused_or_absent() {
    let bench = Bench::new();
    let message = Head { path: "/", headers: vec![("x-user", b"\xff")] };
    let with = |non_utf8| PolicySettings { non_utf8, ..settings(r#"{"request": "echo", "response": "tag"}"#) };
    let strict = bench.prepare(with(NonUtf8::Refuse)).unwrap();
    let failure = bench.request(&strict, &message).unwrap_err();
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::NotUtf8, "x-user is not UTF-8"));
    assert_eq!(strict.figures().failures_of(FailureKind::NotUtf8), 1);

    let lenient = bench.prepare(with(NonUtf8::Absent)).unwrap();
    assert_eq!(bench.request(&lenient, &message), Ok(edit("/")));

    // A response is the upstream's, and no reason to refuse the client.
    let message = Head { path: "/", headers: vec![("x-hostile", b"\xff")] };
    assert!(block_on(bench.runner.on_response(&strict, &message, None)).is_ok());
    assert_eq!(strict.figures().not_utf8, 1);
}

#[test]
fn nonsense_is_a_failure_and_the_instance_lives_on() {
    let bench = Bench::new();
    let cases = [
        ("slot", "slot 42"),
        ("value", "no valid field value"),
        ("status", "status 99"),
        ("pick", "upstream 7"),
        ("state", "71680 bytes of state"),
        ("callout", "not supported yet"),
    ];
    for (behaviour, want) in cases {
        let policy = bench.policy(&format!(r#"{{"request": "{behaviour}"}}"#));
        for _ in 0..3 {
            let failure = bench.request(&policy, &Head::default()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Output, "{behaviour}: {failure}");
            assert!(failure.to_string().starts_with("filter default/hostile: "), "{failure}");
            assert!(failure.reason.contains(want), "{behaviour}: {failure}");
        }
        let figures = policy.figures();
        assert_eq!((figures.failures_of(FailureKind::Output), figures.instances), (3, 2), "{behaviour}");
    }
}

#[test]
fn more_than_the_host_copies_is_refused() {
    let bench = Bench::new();
    let policy = bench.policy(r#"{"request": "size"}"#);
    let failure = bench.request(&policy, &Head::default()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Output, "{failure}");
}

#[test]
fn a_call_that_does_not_suspend_costs_its_caller_little_room() {
    let bench = Bench::new();
    let policy = bench.policy("");
    let message = Head::default();
    let request = size_of_val(&bench.runner.on_request(&policy, &message));
    let response = size_of_val(&bench.runner.on_response(&policy, &message, None));
    assert!(request <= 320 && response <= 320, "{request} and {response} bytes of future");
}
