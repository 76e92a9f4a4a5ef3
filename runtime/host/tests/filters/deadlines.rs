//! Calls that run too long: they end, their neighbours do not, and the policy leaves the workers.

use crate::guest::{Bench, Head, block_on, eventually, settings};
use std::time::{Duration, Instant};
use weft_filter_host::{FailureKind, Place, PolicySettings, Verdict};

const LOOPS_MIN: u32 = 20;
const CALLS_MIN: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(600);

fn hurried(config: &str) -> PolicySettings {
    PolicySettings { deadline: Duration::from_millis(2), ..settings(config) }
}

/// A call that fails; where an instance is not ready yet, again until there is one.
fn failing(bench: &Bench, policy: &weft_filter_host::Policy) -> FailureKind {
    let start = Instant::now();
    loop {
        let failure = bench.request(policy, &Head::default()).unwrap_err();
        let starved = failure.kind == FailureKind::Unavailable && policy.figures().place != Place::Refused;
        if !starved || start.elapsed() > Duration::from_secs(10) {
            return failure.kind;
        }
    }
}

#[test]
fn a_loop_is_stopped_and_leaves_the_workers_after_its_third_miss() {
    let bench = Bench::new();
    let policy = bench.prepare(hurried(r#"{"request": "loop"}"#)).unwrap();
    for (misses_on_workers, misses_in_pool, place) in [
        (1, 0, Place::Worker),
        (2, 0, Place::Worker),
        (3, 0, Place::Pool),
        (3, 1, Place::Pool),
        (3, 2, Place::Pool),
        (3, 3, Place::Refused),
    ] {
        assert_eq!(failing(&bench, &policy), FailureKind::Deadline, "{:?}", policy.figures());
        let figures = policy.figures();
        let found = (figures.misses_on_workers, figures.misses_in_pool, figures.place);
        assert_eq!(found, (misses_on_workers, misses_in_pool, place));
    }
    // Refused: not called at all, until its time is over; then one miss is enough.
    assert_eq!(failing(&bench, &policy), FailureKind::Unavailable);
    assert_eq!(policy.figures().failures_of(FailureKind::Deadline), 6);
    eventually("it is readmitted to the pool", || {
        let _ = bench.request(&policy, &Head::default());
        policy.figures().misses_in_pool == 4
    });
    let figures = policy.figures();
    assert_eq!((figures.place, figures.misses_on_workers), (Place::Refused, 3));
}

#[test]
fn a_million_innocent_calls_beside_a_loop_are_never_interrupted() {
    let bench = Bench::new();
    let innocent = bench.prepare(hurried(r#"{"request": "tag", "note": "ok"}"#)).unwrap();
    let message = Head::new("/", &[("x-user", "a")]);
    let want = bench.request(&innocent, &message);
    assert!(matches!(want, Ok(Verdict::Forward(_))), "{want:?}");
    let (mut loops, mut calls, start) = (0, 0_u64, Instant::now());
    block_on(async {
        // Fresh looping policies again and again, since each one leaves the workers after three misses.
        while loops < LOOPS_MIN || calls < CALLS_MIN {
            assert!(start.elapsed() < PATIENCE, "only {loops} loops ran beside {calls} calls");
            let looping = bench.prepare(hurried(r#"{"request": "loop"}"#)).unwrap();
            while looping.figures().place == Place::Worker && start.elapsed() < PATIENCE {
                // Where its next instance is not ready yet it did not run.
                let failure = bench.runner.on_request(&looping, &message).await.unwrap_err();
                loops += u32::from(failure.kind == FailureKind::Deadline);
                for _ in 0..20_000 {
                    let verdict = bench.runner.on_request(&innocent, &message).await;
                    assert_eq!(verdict, want, "call {calls}");
                    calls += 1;
                }
            }
        }
    });
    let figures = innocent.figures();
    assert_eq!((figures.calls, figures.failures, figures.instances), (calls + 1, [0; 7], 2));
}

#[test]
fn a_slow_policy_works_in_the_pool() {
    let bench = Bench::new();
    let policy = bench.prepare(hurried(r#"{"request": "as-told", "response": "tag", "note": "ok"}"#)).unwrap();
    let told = |behaviour| Head::new("/", &[("x-behave", behaviour), ("x-user", "a"), ("accept", "b")]);
    eventually("three misses", || {
        let _ = bench.request(&policy, &told("loop"));
        policy.figures().misses_on_workers == 3
    });
    eventually("an instance is ready again", || bench.request(&policy, &told("pass")).is_ok());
    let lazily = bench.request(&policy, &told("lazy"));
    assert!(format!("{lazily:?}").contains("x-behave,x-user,accept 1 a"), "{lazily:?}");
    let answer = block_on(bench.runner.on_response(&policy, &told("pass"), Some(b"back".to_vec())));
    assert!(format!("{answer:?}").contains("back"), "{answer:?}");
    let figures = policy.figures();
    assert_eq!((figures.place, figures.misses_in_pool), (Place::Pool, 0));
    assert!(figures.pooled >= 3, "{figures:?}");
}

#[test]
fn the_pool_takes_calls_up_to_its_bound_without_blocking_the_worker() {
    let bench = Bench::new();
    let policy = bench.prepare(hurried(r#"{"request": "as-told"}"#)).unwrap();
    let told = |behaviour| Head::new("/", &[("x-behave", behaviour)]);
    eventually("three misses", || {
        let _ = bench.request(&policy, &told("loop"));
        policy.figures().misses_on_workers == 3
    });
    let slow = told("slow");
    let (answered, refused) = block_on(async {
        let mut calls: Vec<_> = (0..200).map(|_| Box::pin(bench.runner.on_request(&policy, &slow))).collect();
        // All are begun before any is waited for.
        for call in &mut calls {
            std::future::poll_fn(|context| {
                let _ = call.as_mut().poll(context);
                std::task::Poll::Ready(())
            })
            .await;
        }
        (calls.len(), policy.figures().failures_of(FailureKind::Unavailable))
    });
    assert_eq!(answered, 200);
    assert!(refused >= 100, "of 200 calls at once only {refused} were refused");
}
