//! What goes out to one proxy, whatever it answers and however worlds change meanwhile.
#![allow(clippy::unwrap_used)]

use super::*;
use tokio::sync::{mpsc, oneshot};
use weft_snapshot::{Answer as HostAnswer, Snapshot};
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
    let (outbox, _) = mpsc::channel(1);
    Proxy::new(Joining {
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
        line: Line { outbox, ends: oneshot::channel().0 },
    })
}

/// Sets and removes of the update that goes out, if one does.
fn sent(proxy: &mut Proxy, now: Instant) -> Option<(usize, usize)> {
    proxy.next_update(now).map(|update| (update.set.len(), update.removed.len()))
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
    let update = proxy.next_update(now).unwrap();
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
