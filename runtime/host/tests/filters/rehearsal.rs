//! The call that an instance gets before its first request: it makes the instance quick and leaves no trace.

use crate::guest::{Bench, Head, eventually, settings};
use std::time::Duration;
use weft_filter_host::{EngineOptions, FailureKind, Place, PolicySettings, PrepareError, Verdict};

#[test]
fn a_first_call_that_is_slow_is_not_a_requests() {
    let bench = Bench::with(EngineOptions { workers: 1, policies_max: 16, recycle_calls: 3 });
    for phase in ["request", "response"] {
        let config = format!(r#"{{"{phase}": "late"}}"#);
        let late = bench.prepare(PolicySettings { deadline: Duration::from_millis(2), ..settings(&config) }).unwrap();
        // Further instances than the first too.
        for call in 0..30 {
            let (request, response) = bench.exchange(&late, &Head::default());
            assert!(request.is_ok() && response.is_ok(), "{phase} {call}: {request:?}, {response:?}");
        }
        eventually("instances are replaced", || {
            bench.exchange(&late, &Head::default()).0.unwrap();
            late.figures().recycled > 3
        });
        assert_eq!(late.figures().failures, [0; 7], "{phase}");
    }
}

#[test]
fn nobody_sees_it() {
    let bench = Bench::new();
    for behaviour in ["counted", "log", "trap", "loop", "size", "recursion", "memory", "state"] {
        let policy = bench.policy(&format!(r#"{{"request": "{behaviour}", "response": "{behaviour}"}}"#));
        let figures = policy.figures();
        let seen = (figures.calls, figures.failures, figures.misses_on_workers, figures.lines_dropped);
        assert_eq!(seen, (0, [0; 7], 0, 0), "{behaviour}: {figures:?}");
        assert_eq!((figures.instances, figures.place), (2, Place::Worker), "{behaviour}");
        assert_eq!(figures.counters, [0], "{behaviour}");
    }
}

#[test]
fn an_instance_that_fails_in_it_is_replaced_and_serves() {
    let bench = Bench::new();
    // It traps where a header is absent, as in a rehearsal, and is well otherwise.
    let policy = bench.policy(r#"{"request": "as-told-or-trap"}"#);
    let told = Head::new("/", &[("x-behave", "tag")]);
    assert!(matches!(bench.request(&policy, &told), Ok(Verdict::Forward(_))));
    assert_eq!(bench.request(&policy, &Head::default()).unwrap_err().kind, FailureKind::Trap);
    assert_eq!(policy.figures().failures_of(FailureKind::Trap), 1);
}

#[test]
fn policies_are_bounded_and_room_comes_back() {
    let bench = Bench::with(EngineOptions { workers: 1, policies_max: 2, ..EngineOptions::default() });
    let (first, _second) = (bench.policy(""), bench.policy(""));
    let third = bench.prepare(settings(""));
    assert!(matches!(third, Err(PrepareError::TooMany { max: 2, .. })), "{:?}", third.err());
    drop(first);
    assert!(bench.prepare(settings("")).is_ok());
}
