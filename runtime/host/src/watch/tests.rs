//! The watchdog with real threads: a call that burns its time is condemned, short ones never are.

use super::*;
use std::sync::atomic::AtomicUsize;

fn watch(slots: usize) -> (Arc<Watch>, Arc<AtomicUsize>) {
    let condemnations = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&condemnations);
    let watch = Watch::start(slots, move || {
        counted.fetch_add(1, Ordering::SeqCst);
    })
    .expect("a watchdog");
    (watch, condemnations)
}

/// Burns CPU until the call is condemned; false after ten seconds.
fn burn(watch: &Watch, slot: usize, seq: u64) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        if watch.ends(slot, seq) {
            return true;
        }
    }
    false
}

#[test]
fn a_call_that_burns_its_time_ends_each_time() {
    let (watch, condemnations) = watch(1);
    watch.claim(0);
    for round in 0..20 {
        let running = watch.enter(0, Duration::from_millis(2));
        assert!(burn(&watch, 0, running.seq()), "round {round}");
        drop(running);
    }
    assert!(condemnations.load(Ordering::SeqCst) >= 20);
    watch.stop();
}

#[test]
fn short_calls_are_never_condemned_beside_a_loop() {
    let (watch, _) = watch(2);
    let looping = {
        let watch = Arc::clone(&watch);
        std::thread::spawn(move || {
            watch.claim(1);
            for _ in 0..50 {
                let running = watch.enter(1, Duration::from_millis(1));
                assert!(burn(&watch, 1, running.seq()));
            }
        })
    };
    watch.claim(0);
    let mut calls = 0u64;
    while !looping.is_finished() || calls < 1_000_000 {
        let running = watch.enter(0, Duration::from_millis(1));
        assert!(!watch.ends(0, running.seq()), "call {calls}");
        drop(running);
        calls += 1;
    }
    looping.join().expect("the loop ends");
    watch.stop();
}

#[test]
fn a_thread_that_sleeps_in_a_call_is_not_condemned() {
    let (watch, condemnations) = watch(1);
    watch.claim(0);
    let running = watch.enter(0, Duration::from_millis(1));
    // Stands for a preempted thread: old by the clock, no CPU time used.
    std::thread::park_timeout(Duration::from_millis(30));
    assert!(!watch.ends(0, running.seq()));
    assert_eq!(condemnations.load(Ordering::SeqCst), 0);
    watch.stop();
}

/// What a thread sees whose virtual processor was taken away: its CPU time went on without it.
#[test]
fn a_condemned_call_that_returns_at_once_is_only_warned() {
    let (watch, condemnations) = watch(1);
    watch.claim(0);
    for round in 0..20 {
        let running = watch.enter(0, Duration::from_millis(1));
        let (start, before) = (Instant::now(), condemnations.load(Ordering::SeqCst));
        // Uses CPU time without asking, so that the watchdog condemns it.
        while condemnations.load(Ordering::SeqCst) == before {
            assert!(start.elapsed() < Duration::from_secs(10), "round {round}: not condemned");
        }
        assert!(!watch.ends(0, running.seq()), "round {round}: stopped without a warning");
        drop(running);
    }
    let running = watch.enter(0, Duration::from_millis(1));
    assert!(burn(&watch, 0, running.seq()), "one that runs on is stopped");
    drop(running);
    watch.stop();
}
