//! Updates: applied whole or not at all, with their artifacts, and answered.

use super::plane::{Authority, Plane};
use super::proxy::wait;
use super::{filter, joined, snapshot};
use std::os::unix::fs::PermissionsExt;
use weft_proxy::plan::Problem;
use weft_snapshot::{BackendName, Key, Snapshot};
use weft_wire::{Holding, Ledger, proto};

#[test]
fn only_the_difference_is_applied() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let first = snapshot(&plane.authority, &["a"]);
    let proxy = joined(state.path(), &plane, &first);
    let second = snapshot(&plane.authority, &["a", "b"]);
    let update = plane.publish(&first, &second);
    wait("the ack", || plane.acks().contains(&update.revision));
    let last = proxy.last().unwrap();
    assert_eq!((last.snapshot, last.set), (second.clone(), Some(vec![Key::Answer("b".parse().unwrap())])));

    let backend: BackendName = "outbound|80||b.example".parse().unwrap();
    let mut third = second.clone();
    third.set_endpoints(backend.clone(), vec![]);
    let update = plane.publish(&second, &third);
    wait("the ack", || plane.acks().contains(&update.revision));
    assert_eq!(proxy.last().unwrap().set, Some(vec![Key::Endpoints(backend)]), "the fast path sees endpoints alone");

    let published = proxy.published().len();
    plane.push(plane.authority.update(&Ledger::of(&third).holding(), &third));
    wait("an update without news is acknowledged", || plane.acks().len() == 4);
    assert_eq!(proxy.published().len(), published, "and published nothing");
}

#[test]
fn what_must_not_be_applied_is_refused_and_the_old_plan_stays() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let authority = plane.authority.clone();
    let first = snapshot(&authority, &["a"]);
    let held = Ledger::of(&first).holding();
    let proxy = joined(state.path(), &plane, &first);
    let good = authority.update(&held, &snapshot(&authority, &["a", "b"]));
    let signed = |next: &Snapshot| authority.update(&held, next);
    let with_trust = |change: fn(&mut weft_snapshot::Trust)| {
        let mut next = first.clone();
        let mut trust = next.trust().unwrap().clone();
        change(&mut trust);
        next.set_trust(trust);
        signed(&next)
    };
    let mut other_workload = first.clone();
    let mut workload = first.workload().unwrap().clone();
    workload.name = "default/other".parse().unwrap();
    other_workload.set_workload(workload);
    let cases = [
        (
            "another's signature",
            proto::Update {
                signature: Authority::new().sign_snapshot(super::WORKLOAD, &good.revision),
                ..good.clone()
            },
            "not signed",
        ),
        (
            "another workload's signature",
            proto::Update { signature: authority.sign_snapshot("default/x", &good.revision), ..good.clone() },
            "not signed",
        ),
        ("another base", proto::Update { base: "0".repeat(64), ..good.clone() }, "builds on revision"),
        ("a level too high", proto::Update { level_min: weft_wire::LEVEL + 1, ..good.clone() }, "upgrade the proxy"),
        ("less than was signed", proto::Update { set: vec![], ..good.clone() }, "as it says"),
        ("another workload's snapshot", signed(&other_workload), "is for workload default/other"),
        ("another trust domain", with_trust(|trust| trust.trust_domain = "other".to_owned()), "trust domain \"other\""),
        ("no root", with_trust(|trust| trust.roots.clear()), "without a root"),
        ("no signer", with_trust(|trust| trust.signers.clear()), "without a signer"),
    ];
    for (row, update, want) in cases {
        let before = plane.nacks().len();
        plane.push(update.clone());
        wait(row, || plane.nacks().len() > before);
        let nack = plane.nacks().pop().unwrap();
        assert_eq!(nack.revision, update.revision, "{row}");
        assert!(nack.problems[0].contains(want), "{row}: {:?}", nack.problems);
        assert_eq!(proxy.published().len(), 1, "{row}");
    }
    *proxy.recorder.refusal.lock().unwrap() =
        Some(Problem { resource: None, part: String::new(), reason: "no such thing".to_owned() });
    plane.push(good.clone());
    wait("what the plan refuses is a nack", || plane.nacks().last().is_some_and(|n| n.problems == ["no such thing"]));
    let facts = proxy.facts();
    assert_eq!((facts.updates_refused, facts.revision.clone()), (10, weft_wire::revision(&first)));
    assert_eq!(facts.nack.as_ref().map(|nack| nack.revision.clone()), Some(good.revision.clone()));

    *proxy.recorder.refusal.lock().unwrap() = None;
    plane.push(good.clone());
    wait("the same update fits after all", || plane.acks().contains(&good.revision));
    assert!(proxy.facts().nack.is_none());
    let whole = authority.update(&Holding::default(), &first);
    plane.push(whole.clone());
    wait("an update on nothing replaces everything", || {
        plane.acks().iter().filter(|ack| **ack == whole.revision).count() == 2
    });
    assert_eq!(proxy.last().unwrap().snapshot, first);
}

#[test]
fn roots_and_signers_rotate() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let (old, new) = (plane.authority.clone(), Authority::new());
    let first = snapshot(&old, &[]);
    let proxy = joined(state.path(), &plane, &first);
    let generation = proxy.generation();
    let mut both = first.clone();
    let mut trust = first.trust().unwrap().clone();
    trust.roots.push(new.root.to_vec());
    trust.signers = vec![new.signer_key()];
    both.set_trust(trust);
    let update = plane.publish(&first, &both);
    wait("the ack", || plane.acks().contains(&update.revision));
    wait("handshakes believe the new root", || proxy.generation() > generation);
    let next = {
        let mut next = both.clone();
        next.add_answer(weft_snapshot::Answer { asked: "a".parse().unwrap(), service: None });
        next
    };
    let held = Ledger::of(&both).holding();
    plane.push(old.update(&held, &next));
    wait("the old signer counts no more", || plane.nacks().len() == 1);
    let update = new.update(&held, &next);
    plane.push(update.clone());
    wait("the new one does", || plane.acks().contains(&update.revision));
}

#[test]
fn artifacts_are_fetched_verified_and_kept() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let authority = plane.authority.clone();
    let bytes = b"native code ".repeat(500);
    let (digest, signature) = authority.artifact(&bytes);
    let first = snapshot(&authority, &[]);
    let proxy = joined(state.path(), &plane, &first);
    let mut second = first.clone();
    second.add_filter(filter("canary", digest));
    let foreign = Authority::new().artifact(&bytes).1;
    let mut flipped = bytes.clone();
    flipped[3000] ^= 1;
    let served = |plane: &Plane, bytes: &[u8], signature: &[u8]| {
        plane.facts().artifacts.insert(digest, (bytes.to_vec(), signature.to_vec()));
    };
    type Serving<'a> = &'a dyn Fn();
    let cases: [(&str, Serving, &str); 4] = [
        ("an artifact that is not there", &|| (), "no artifact"),
        (
            "an artifact with a flipped bit",
            &|| served(&plane, &flipped, &signature),
            "other bytes than its digest says",
        ),
        ("an artifact that somebody else signed", &|| served(&plane, &bytes, &foreign), "not signed"),
        ("an artifact without bytes", &|| served(&plane, b"", &signature), "not signed"),
    ];
    for (row, serving, want) in cases {
        serving();
        let before = plane.nacks().len();
        plane.publish(&first, &second);
        wait(row, || plane.nacks().len() > before);
        let nack = plane.nacks().pop().unwrap();
        assert!(nack.problems[0].contains(want), "{row}: {:?}", nack.problems);
        assert_eq!(proxy.published().len(), 1, "{row}");
        let kept = std::fs::read_dir(state.path().join("artifacts")).unwrap();
        assert!(kept.flatten().all(|file| file.path().extension().is_some_and(|end| end == "part")), "{row}");
    }
    served(&plane, &bytes, &signature);
    let update = plane.publish(&first, &second);
    wait("the ack", || plane.acks().contains(&update.revision));
    let path = proxy.last().unwrap().artifacts.pop().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400, "read-only");

    let fetches = plane.facts().fetches.len();
    let mut third = second.clone();
    third.add_filter(filter("again", digest));
    let update = plane.publish(&second, &third);
    wait("the ack", || plane.acks().contains(&update.revision));
    assert_eq!(plane.facts().fetches.len(), fetches, "what is here is not fetched again");

    let update = plane.publish(&third, &first);
    wait("the ack", || plane.acks().iter().filter(|ack| **ack == update.revision).count() == 2);
    assert!(path.exists(), "a step back stays cheap");
    let fourth = snapshot(&authority, &["a"]);
    let update = plane.publish(&first, &fourth);
    wait("the ack", || plane.acks().contains(&update.revision));
    wait("what nothing needs is removed", || !path.exists());
}
