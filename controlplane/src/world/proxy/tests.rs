//! What goes out to one proxy, whatever it answers and however worlds change meanwhile.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::artifacts::{FilterStatus, Progress};
use tokio::sync::{mpsc, oneshot};
use weft_snapshot::{Answer as HostAnswer, Digest, Snapshot};
use weft_wire::Ledger;

fn snapshot(hosts: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for host in hosts {
        snapshot.add_answer(HostAnswer { asked: host.parse().unwrap(), service: None });
    }
    snapshot
}

fn telling(hosts: &[&str]) -> Arc<Telling> {
    Arc::new(Telling::of_snapshot(&snapshot(hosts)))
}

fn proxy(held: &[&str]) -> Proxy {
    Proxy::new(joining(held), Instant::now())
}

fn joining(held: &[&str]) -> Joining {
    let (outbox, _) = mpsc::channel(1);
    Joining {
        stream: StreamId(1),
        workload: "default/a".parse().unwrap(),
        identity: "spiffe://cluster.local/ns/default/sa/a".parse().unwrap(),
        svid_expires: 0,
        remote: "127.0.0.1:1".parse().unwrap(),
        version: String::new(),
        level: 1,
        artifact_key: String::new(),
        inbound: None,
        asked: BTreeSet::new(),
        held: Ledger::of(&snapshot(held)).holding(),
        running: BTreeMap::new(),
        seen: Seen::new(),
        line: Line { outbox, ends: oneshot::channel().0 },
    }
}

/// Sets and removes of the update that goes out, if one does.
fn sent(proxy: &mut Proxy, now: Instant) -> Option<(usize, usize)> {
    proxy.next_update(&Seen::new(), now).map(|update| (update.set.len(), update.removed.len()))
}

#[test]
fn only_the_difference_goes_out_and_one_at_a_time() {
    let now = Instant::now();
    let mut proxy = proxy(&["a"]);
    assert_eq!(sent(&mut proxy, now), None, "nothing to tell yet");
    let (first, second, third) = (telling(&["a", "b"]), telling(&["a", "b", "c"]), telling(&["b", "d"]));
    proxy.aim(first.clone(), now);
    assert_eq!(sent(&mut proxy, now), Some((1, 0)));
    proxy.aim(second, now);
    proxy.aim(third.clone(), now);
    assert_eq!(sent(&mut proxy, now), None, "one is under way");
    assert_eq!(proxy.ack(&first.revision, now), Answer::Expected(Duration::ZERO));
    assert_eq!(sent(&mut proxy, now), Some((1, 1)), "the second world was never sent");
    assert_eq!(proxy.ack(&third.revision, now), Answer::Expected(Duration::ZERO));
    assert_eq!(sent(&mut proxy, now), None);
    proxy.aim(third, now);
    assert_eq!(sent(&mut proxy, now), None, "an equal world is no news");
}

#[test]
fn the_first_update_goes_out_even_if_it_says_nothing() {
    let now = Instant::now();
    let mut proxy = proxy(&["a"]);
    let same = telling(&["a"]);
    proxy.aim(same.clone(), now);
    let update = proxy.next_update(&Seen::new(), now).unwrap();
    assert_eq!((update.base, update.revision), (same.revision.clone(), same.revision.clone()));
    assert_eq!((update.set.len(), update.removed.len()), (0, 0));
    proxy.ack(&same.revision, now);
    assert_eq!(sent(&mut proxy, now), None);
}

#[test]
fn a_refused_revision_waits_and_another_does_not() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut proxy = proxy(&["a"]);
    let (bad, good) = (telling(&["a", "bad"]), telling(&["a", "good"]));
    proxy.aim(bad.clone(), start);
    assert_eq!(sent(&mut proxy, start), Some((1, 0)));
    assert_eq!(
        proxy.nack(bad.revision.clone(), vec!["no".to_owned()], at(1)),
        Answer::Expected(Duration::from_secs(1))
    );
    for (seconds, want) in [(1, None), (10, None), (11, Some((2, 0)))] {
        assert_eq!(sent(&mut proxy, at(seconds)), want, "after {seconds} s");
    }
    proxy.nack(bad.revision.clone(), vec!["no".to_owned()], at(12));
    assert_eq!(sent(&mut proxy, at(31)), None, "it waits twice as long");
    proxy.aim(good.clone(), at(13));
    assert_eq!(sent(&mut proxy, at(13)), Some((1, 0)), "from what it had, since the bad one was never applied");
    proxy.ack(&good.revision, at(13));
    assert!(proxy.refused.is_none());
}

#[test]
fn an_answer_to_something_else_is_noticed() {
    let now = Instant::now();
    let mut proxy = proxy(&[]);
    assert_eq!(proxy.ack("x", now), Answer::Unexpected);
    let next = telling(&["a"]);
    proxy.aim(next.clone(), now);
    sent(&mut proxy, now);
    assert_eq!(proxy.ack("x", now), Answer::Unexpected);
    assert_eq!(proxy.nack("x".to_owned(), vec![], now), Answer::Unexpected);
    assert!(!proxy.is_silent(now + Duration::from_secs(119)));
    assert!(proxy.is_silent(now + Duration::from_secs(121)));
    assert_eq!(proxy.ack(&next.revision, now), Answer::Expected(Duration::ZERO));
}

#[test]
fn who_was_told_something_newer_elsewhere_is_not_told_something_older() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let seen = |pods, services| Seen::from([("Pod".to_owned(), pods), ("Service".to_owned(), services)]);
    // what it was told, how far we are, when, and whether it is served
    let rows = [
        ("a new proxy", Seen::new(), seen(1, 1), 0, true),
        ("up to date", seen(7, 7), seen(7, 8), 0, true),
        ("behind in one kind", seen(7, 7), seen(9, 6), 0, false),
        ("a kind that is not known here", Seen::from([("Mesh".to_owned(), 1)]), seen(9, 9), 0, false),
        ("behind for long", seen(7, 7), seen(7, 6), 29, false),
        ("behind for too long", seen(7, 7), seen(7, 6), 30, true),
    ];
    for (row, told, here, seconds, want) in rows {
        let mut proxy = Proxy::new(Joining { seen: told, ..joining(&[]) }, start);
        proxy.aim(telling(&["a"]), start);
        let update = proxy.next_update(&here, at(seconds));
        assert_eq!(update.is_some(), want, "{row}");
        if let Some(update) = update {
            assert_eq!(weft_wire::decode_seen(&update.seen), here, "{row}");
        }
    }
    let mut proxy = Proxy::new(Joining { seen: seen(7, 7), ..joining(&[]) }, start);
    proxy.aim(telling(&["a"]), start);
    assert!(proxy.next_update(&seen(6, 7), start).is_none());
    assert!(proxy.next_update(&seen(7, 7), at(1)).is_some(), "caught up");
}

#[test]
fn what_runs_goes_on_where_nothing_else_can_be_loaded() {
    let digest = |n| Digest([n; 32]);
    let fact = |artifact| FilterFact {
        component: Some(digest(9)),
        artifact,
        config: Some("new".to_owned()),
        ..FilterFact::default()
    };
    let key = |name: &str| FilterKey(name.to_owned());
    let facts =
        [(key("shop/served"), fact(Some(digest(8)))), (key("shop/on"), fact(None)), (key("shop/out"), fact(None))];
    let facts = Arc::new(FilterFacts::from_iter(facts));
    let running = |n| Running { component: digest(n), artifact: digest(n + 1), config: "old".to_owned() };
    let runs = BTreeMap::from([(key("shop/served"), running(1)), (key("shop/on"), running(3))]);
    let proxy = Proxy::new(Joining { running: runs, ..joining(&[]) }, Instant::now());
    let own = proxy.with_running(&facts);
    let told = |name: &str| own.get(&key(name)).map(|fact| (fact.component, fact.artifact, fact.config.clone()));
    let new = |artifact| Some((Some(digest(9)), artifact, Some("new".to_owned())));
    assert_eq!(told("shop/served"), new(Some(digest(8))), "what can be loaded is");
    assert_eq!(told("shop/on"), Some((Some(digest(3)), Some(digest(4)), Some("old".to_owned()))));
    assert_eq!(told("shop/out"), new(None), "what never ran there does not begin to");
}

#[test]
fn a_first_answer_waits_for_filters_that_are_being_compiled_for_its_machine() {
    let start = Instant::now();
    let filter = |progress| FilterStatus { image: String::new(), running: None, progress, problems: Vec::new() };
    let facts = |keys: &[&str], progress| Facts {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        filters: BTreeMap::from([("shop/guard".to_owned(), filter(progress))]),
        ..Facts::default()
    };
    let without = telling(&["a"]);
    let mut with = Telling::of_snapshot(&snapshot(&["a"]));
    with.lacking.insert(FilterKey("shop/guard#1".to_owned()));
    let with = Arc::new(with);
    let (settled, working) = (Progress::Settled, Progress::Working);
    let rows = [
        ("nothing lacks", &without, facts(&[], working), 0, false),
        ("its key is not known there yet", &with, facts(&["own"], settled), 0, true),
        ("it is being compiled", &with, facts(&["own", "other"], working), 9, true),
        ("too long", &with, facts(&["own", "other"], working), 10, false),
        ("it was tried and failed", &with, facts(&["own", "other"], settled), 0, false),
    ];
    for (row, target, facts, seconds, want) in rows {
        let mut proxy = Proxy::new(Joining { artifact_key: "other".to_owned(), ..joining(&[]) }, start);
        let now = start + Duration::from_secs(seconds);
        proxy.aim(Arc::clone(target), now);
        assert_eq!(proxy.is_early(&facts, now), want, "{row}");
        sent(&mut proxy, now).unwrap();
        assert!(!proxy.is_early(&facts, now), "{row}: once it has been told something, it is told everything");
    }
}

#[test]
fn a_sidecar_that_is_too_old_keeps_what_it_has() {
    let now = Instant::now();
    for (support, want) in [(Support::Served, Some((1, 0))), (Support::Unsupported, None)] {
        let mut proxy = Proxy { support, ..proxy(&["a"]) };
        proxy.aim(telling(&["a", "b"]), now);
        assert_eq!(proxy.is_due(), want.is_some(), "{support:?}");
        assert_eq!(sent(&mut proxy, now), want, "{support:?}");
    }
}
