//! Traps, memory and generations: what one policy does stays with it.

use crate::guest::{Bench, Head, block_on, eventually, settings};
use std::time::Duration;
use weft_filter_host::{
    Edit, EngineOptions, FailureKind, Isolation, Op, Place, Policy, PolicySettings, ResponseVerdict, Verdict,
};

/// Calls until it fails of itself, not for want of an instance.
fn failure(bench: &Bench, policy: &Policy) -> (FailureKind, String) {
    let mut found = None;
    eventually("a failure of its own", || {
        let failure = bench.request(policy, &Head::default()).unwrap_err();
        let own = failure.kind != FailureKind::Unavailable;
        found = own.then_some((failure.kind, failure.reason));
        own
    });
    found.unwrap()
}

#[test]
fn traps_are_told_apart_and_survived() {
    let bench = Bench::new();
    let cases = [
        ("trap", FailureKind::Trap, "panicked or aborted"),
        ("panic", FailureKind::Trap, "panicked or aborted"),
        ("recursion", FailureKind::Stack, "used up its stack"),
        ("memory", FailureKind::Memory, "more than its 16777216 bytes"),
        ("count", FailureKind::Trap, "counted on counter 99"),
    ];
    for (behaviour, kind, reason) in cases {
        let policy = bench.policy(&format!(r#"{{"request": "{behaviour}"}}"#));
        let neighbour = bench.policy(r#"{"request": "tag", "note": "ok"}"#);
        for round in 1..=5 {
            let (found, text) = failure(&bench, &policy);
            assert_eq!(found, kind, "{behaviour}: {text}");
            assert!(text.contains(reason), "{behaviour}: {text}");
            assert_eq!(policy.figures().failures_of(kind), round, "{behaviour}");
            assert!(matches!(bench.request(&neighbour, &Head::default()), Ok(Verdict::Forward(_))), "{behaviour}");
        }
        let figures = neighbour.figures();
        assert_eq!((figures.failures, figures.instances, figures.place), ([0; 7], 2, Place::Worker), "{behaviour}");
    }
}

#[test]
fn a_policy_that_sometimes_traps_serves_the_rest() {
    let bench = Bench::new();
    let policy = bench.policy(r#"{"request": "as-told"}"#);
    for round in 0..50 {
        let told = Head::new("/", &[("x-behave", "trap")]);
        let kind = bench.request(&policy, &told).unwrap_err().kind;
        assert_eq!(kind, FailureKind::Trap, "round {round}");
        eventually("a fresh instance", || bench.request(&policy, &Head::default()).is_ok());
    }
    let figures = policy.figures();
    assert_eq!(figures.failures_of(FailureKind::Trap), 50);
    eventually("all are replaced", || policy.figures().instances == 52);
}

#[test]
fn an_instance_that_grows_or_has_served_long_is_replaced_and_no_call_fails() {
    let options = EngineOptions { workers: 1, policies_max: 4, recycle_calls: 1000 };
    let bench = Bench::with(options);
    for (behaviour, calls) in [("leak", 2_000), ("pass", 10_000)] {
        let policy = bench.policy(&format!(r#"{{"request": "{behaviour}"}}"#));
        for call in 0..calls {
            let verdict = bench.request(&policy, &Head::default());
            assert_eq!(verdict, Ok(Verdict::Pass), "{behaviour}, call {call}");
            if call % 50 == 0 {
                let figures = policy.figures();
                eventually("the spare is there", || policy.figures().instances >= 2 + figures.recycled);
            }
        }
        assert!(policy.figures().recycled >= 5, "{behaviour}: {:?}", policy.figures());
    }
}

#[test]
fn a_new_generation_is_prepared_while_the_old_one_serves() {
    let bench = Bench::new();
    let of = |note: &str| bench.policy(&format!(r#"{{"request": "tag", "note": "{note}"}}"#));
    let mut current = of("0");
    for generation in 1..20 {
        let next = of(&generation.to_string());
        for policy in [&current, &next, &current] {
            assert!(bench.request(policy, &Head::default()).is_ok(), "generation {generation}");
        }
        assert_eq!((current.figures().calls, next.figures().calls), (if generation == 1 { 2 } else { 3 }, 1));
        current = next;
    }
}

#[test]
fn many_generations_come_and_go() {
    // Sixteen policies fit; their instances have to be freed as they go.
    let bench = Bench::new();
    for generation in 0..100 {
        let mut last = String::new();
        eventually("there is room again", || match bench.prepare(settings("")) {
            Ok(policy) => bench.request(&policy, &Head::default()).is_ok(),
            Err(error) => {
                last = error.to_string();
                false
            }
        });
        assert!(last.is_empty() || last.contains("instance"), "generation {generation}: {last}");
    }
}

#[test]
fn memory_is_the_policys_own_limit() {
    let bench = Bench::new();
    let small = bench.prepare(PolicySettings { memory_max: 4 << 20, ..settings(r#"{"request": "memory"}"#) }).unwrap();
    let (kind, reason) = failure(&bench, &small);
    assert_eq!(kind, FailureKind::Memory);
    assert!(reason.contains("4194304"), "{reason}");
    let tiny = bench.prepare(PolicySettings { memory_max: 64 << 10, ..settings("") });
    assert!(tiny.is_err_and(|error| error.to_string().contains("65536 bytes")), "it needs more to begin with");
}

/// A policy with an instance for each call, as the hostile filter's config says.
fn apart(bench: &Bench, config: &str) -> Policy {
    bench.prepare(PolicySettings { isolation: Isolation::Request, ..settings(config) }).unwrap()
}

/// What the filter wrote into `x-hostile` of the request and of its response.
fn seen(bench: &Bench, policy: &Policy) -> (String, String) {
    let value = |edits: &[Edit]| match &edits[0].op {
        Op::Set(value) => value.clone(),
        op => panic!("{op:?}"),
    };
    match bench.exchange(policy, &Head::default()) {
        (Ok(Verdict::Forward(forward)), Ok(ResponseVerdict::Edit(edits))) => (value(&forward.edits), value(&edits)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_call_has_an_instance_that_has_served_nothing_where_the_policy_says_so() {
    let bench = Bench::new();
    let counts = r#"{"request": "nth", "response": "nth"}"#;
    let (reused, apart) = (bench.policy(counts), apart(&bench, counts));
    let first = seen(&bench, &reused).0.parse::<u64>().unwrap();
    for turn in 0..200u64 {
        assert_eq!(seen(&bench, &apart), ("0".to_owned(), "0".to_owned()), "turn {turn}: whoever made it, and when");
        let went_on = first + 2 * (turn + 1);
        assert_eq!(seen(&bench, &reused), (went_on.to_string(), (went_on + 1).to_string()), "turn {turn}");
    }
    let figures = apart.figures();
    assert_eq!((figures.calls, figures.failures, figures.place), (400, [0; 7], Place::Worker));
    eventually("what was used is replaced", || apart.figures().instances >= 402);
    assert_eq!(reused.figures().instances, 2);
}

#[test]
fn state_gets_from_the_request_to_its_response_between_instances() {
    let bench = Bench::new();
    let policy = apart(&bench, r#"{"request": "remember", "response": "tag", "note": "kept"}"#);
    let message = Head::default();
    let Ok(Verdict::Forward(forward)) = bench.request(&policy, &message) else { panic!("it leaves state") };
    let verdict = block_on(bench.runner.on_response(&policy, &message, forward.state));
    let want = vec![Edit { slot: 0, op: Op::Set("kept".to_owned()) }];
    assert_eq!(verdict, Ok(ResponseVerdict::Edit(want)));
}

#[test]
fn what_fails_in_an_instance_of_its_own_fails_alone() {
    let bench = Bench::new();
    let policy = apart(&bench, r#"{"request": "as-told"}"#);
    let cases = [("trap", FailureKind::Trap), ("memory", FailureKind::Memory), ("recursion", FailureKind::Stack)];
    for (behaviour, kind) in cases {
        for round in 0..20 {
            let told = Head { headers: vec![("x-behave", behaviour.as_bytes())], ..Head::default() };
            assert_eq!(bench.request(&policy, &told).unwrap_err().kind, kind, "{behaviour}, round {round}");
            // There is no instance to wait for.
            assert_eq!(bench.request(&policy, &Head::default()), Ok(Verdict::Pass), "{behaviour}, round {round}");
        }
    }
    let figures = policy.figures();
    assert_eq!(figures.failures.iter().sum::<u64>(), 60, "{figures:?}");
    let differs = r#"{"configure": "differ"}"#;
    let error = bench.prepare(PolicySettings { isolation: Isolation::Request, ..settings(differs) });
    assert!(error.is_err_and(|error| error.to_string().contains("must be deterministic")));
}

#[test]
fn a_loop_in_an_instance_of_its_own_is_stopped_and_leaves_the_workers() {
    let bench = Bench::new();
    let policy = apart(&bench, r#"{"request": "as-told"}"#);
    let told = Head::new("/", &[("x-behave", "loop")]);
    for round in 0..3 {
        assert_eq!(bench.request(&policy, &told).unwrap_err().kind, FailureKind::Deadline, "round {round}");
    }
    assert_eq!(policy.figures().place, Place::Pool);
    assert_eq!(bench.request(&policy, &Head::default()), Ok(Verdict::Pass), "in the pool too each call has its own");
    let figures = policy.figures();
    assert_eq!((figures.misses_on_workers, figures.pooled), (3, 1), "{figures:?}");
}

#[test]
fn no_worker_waits_for_instances_that_take_longer_than_a_call_may() {
    let bench = Bench::new();
    let slow = PolicySettings {
        isolation: Isolation::Request,
        deadline: Duration::from_micros(100),
        ..settings(r#"{"configure": "slow", "request": "nth"}"#)
    };
    let policy = bench.prepare(slow.clone()).unwrap();
    assert_eq!(policy.figures().place, Place::Pool);
    let patient = bench.prepare(PolicySettings { deadline: Duration::from_secs(1), ..slow }).unwrap();
    assert_eq!(patient.figures().place, Place::Worker);
}
