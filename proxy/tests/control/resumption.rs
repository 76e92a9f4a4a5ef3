//! Starts from the state folder, and streams that begin anew: with and without a control plane.

use super::plane::{Authority, Plane};
use super::proxy::{Proxy, eventually, options, wait};
use super::{filter, joined, snapshot};
use prost::Message;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use weft_proxy::control::Link;
use weft_proxy::plan::Problem;
use weft_snapshot::{FilterKey, Key};

const CONTROLPLANE: &str = "spiffe://mesh.test/ns/weft-system/sa/weft-controlplane";

#[test]
fn a_proxy_starts_and_serves_without_its_control_plane() {
    let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
    let plane = Plane::start(&authority);
    let bytes = b"native code".repeat(100);
    let (digest, signature) = authority.artifact(&bytes);
    plane.facts().artifacts.insert(digest, (bytes, signature));
    let mut told = snapshot(&authority, &["a", "b"]);
    told.add_filter(filter("canary", digest));
    joined(state.path(), &plane, &told).control.stop();
    let address = plane.kill();

    let proxy = Proxy::start(state.path(), address, None);
    let first = eventually("the old snapshot is served", || proxy.last());
    assert_eq!((first.snapshot.clone(), first.artifacts.len()), (told.clone(), 1));
    assert_eq!(proxy.cell.load().unwrap().id.service_account(), "reviews", "handshakes work too");
    wait(
        "it says that it is alone",
        || matches!(&proxy.facts().link, Link::Away { reason, .. } if reason.contains("reached")),
    );

    let plane = Plane::start_as(&authority, CONTROLPLANE, address);
    plane.facts().snapshot = told.clone();
    wait("it comes back by itself", || plane.acks() == [first.revision.clone()]);
    let facts = plane.facts();
    let (hello, _) = &facts.hellos[0];
    assert_eq!((hello.held.len(), hello.subscriptions.clone()), (told.len(), vec!["a".to_owned(), "b".to_owned()]));
    assert!(facts.signs.is_empty() && facts.fetches.is_empty(), "nothing is asked for again");
    let answer = &facts.answers[0];
    assert!(answer.set.is_empty() && answer.removed.is_empty() && answer.encoded_len() < 256, "{answer:?}");
    assert_eq!(proxy.published().len(), 1, "nothing changed, so nothing was published");
}

#[test]
fn a_stream_that_begins_anew_brings_only_what_changed() {
    let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
    let plane = Plane::start(&authority);
    let first = snapshot(&authority, &["a", "b"]);
    let proxy = joined(state.path(), &plane, &first);
    let address = plane.kill();
    wait("away", || matches!(proxy.facts().link, Link::Away { .. }));
    let plane = Plane::start_as(&authority, CONTROLPLANE, address);
    let next = snapshot(&authority, &["b", "c"]);
    plane.facts().snapshot = next.clone();
    // The proxy may have met the new plane before it had its snapshot.
    wait("it has the change", || {
        if plane.facts().hellos.len() == 1 && plane.facts().answers[0].revision != weft_wire::revision(&next) {
            plane.publish(&plane.facts().snapshot.clone(), &next);
        }
        proxy.facts().revision == weft_wire::revision(&next)
    });
    assert_eq!(proxy.last().unwrap().set, Some(vec![Key::Answer("c".parse().unwrap())]));
}

#[test]
fn a_later_address_is_tried_too() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let dead = Plane::start(&plane.authority).kill();
    plane.facts().snapshot = snapshot(&plane.authority, &[]);
    let addresses = [dead.to_string(), plane.address.to_string()];
    let proxy = Proxy::with(options(state.path(), &addresses, Some(plane.authority.token("reviews")))).unwrap();
    wait("connected", || matches!(&proxy.facts().link, Link::Connected { address, .. } if *address == addresses[1]));
}

#[test]
fn what_was_tampered_with_is_not_served() {
    fn flip(path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    fn forge(path: &Path, authority: &Authority, hosts: &[&str]) {
        let told = weft_wire::Ledger::of(&snapshot(authority, hosts));
        let signature = Authority::new().sign_snapshot(super::WORKLOAD, &told.revision());
        let file = weft_wire::SnapshotFile {
            workload: super::WORKLOAD.parse().unwrap(),
            signature,
            ledger: told,
            seen: Default::default(),
        };
        std::fs::write(path, file.encode()).unwrap();
    }
    type Tampering<'a> = &'a dyn Fn(&Path, &Authority);
    let cases: [(&str, Tampering); 3] = [
        ("a flipped bit", &|state, _| flip(&state.join("snapshot"))),
        ("somebody else's signature", &|state, authority| forge(&state.join("snapshot"), authority, &["evil"])),
        ("cut short", &|state, _| std::fs::write(state.join("snapshot"), "weft snap").unwrap()),
    ];
    for (row, tamper) in cases {
        let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
        let plane = Plane::start(&authority);
        let told = snapshot(&authority, &["a"]);
        joined(state.path(), &plane, &told).control.stop();
        let address = plane.kill();
        tamper(state.path(), &authority);
        let proxy = Proxy::start(state.path(), address, None);
        wait(row, || matches!(&proxy.facts().link, Link::Away { reason, .. } if reason.contains("reached")));
        assert!(proxy.published().is_empty(), "{row}");
        let plane = Plane::start_as(&authority, CONTROLPLANE, address);
        plane.facts().snapshot = told.clone();
        wait("the control plane heals it", || proxy.last().is_some_and(|last| last.snapshot == told));
        assert!(plane.facts().hellos.iter().all(|(hello, _)| hello.held.is_empty()), "{row}: nothing held");
    }
}

#[test]
fn a_filter_whose_artifact_is_damaged_does_not_keep_the_rest_from_serving() {
    let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
    let plane = Plane::start(&authority);
    let mut told = snapshot(&authority, &["a"]);
    let artifacts: Vec<_> = [b"one".as_slice(), b"two"].map(|bytes| (authority.artifact(bytes), bytes)).into();
    for ((digest, signature), bytes) in &artifacts {
        plane.facts().artifacts.insert(*digest, (bytes.to_vec(), signature.clone()));
        told.add_filter(filter(std::str::from_utf8(bytes).unwrap(), *digest));
    }
    joined(state.path(), &plane, &told).control.stop();
    let served = plane.facts().artifacts.clone();
    let address = plane.kill();
    let digest = artifacts[0].0.0;
    let path = state.path().join("artifacts").join(digest.to_string().trim_start_matches("sha256:"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "ten").unwrap();

    let proxy = Proxy::start(state.path(), address, None);
    let first = eventually("served", || proxy.last());
    let ready = |last: &super::proxy::Publication| -> Vec<bool> {
        last.snapshot.filters().map(|filter| filter.artifact.is_some()).collect()
    };
    assert_eq!(ready(&first), [false, true], "the damaged one alone is unready");
    let plane = Plane::start_as(&authority, CONTROLPLANE, address);
    (plane.facts().snapshot, plane.facts().artifacts) = (told.clone(), served.clone());
    wait("whole again", || proxy.last().is_some_and(|last| ready(&last) == [true, true]));
    assert_eq!(
        proxy.last().unwrap().set,
        None,
        "published as a whole: it differs from what stood by more than the update"
    );
    assert!(plane.facts().fetches.iter().all(|fetched| *fetched == digest), "only that one was fetched");
    drop(plane);
    proxy.control.stop();

    // The plan itself cannot load one of them: as after an upgrade of the engine.
    let recorder = super::proxy::Recorder::default();
    let key = FilterKey("default/two".to_owned());
    let problem =
        Problem { resource: Some(Key::Filter(key)), part: String::new(), reason: "another engine".to_owned() };
    let picky = Picky { recorder: recorder.clone(), problem };
    let cell = weft_proxy::tls::IdentityCell::new(weft_proxy::tls::provider());
    let setting = options(state.path(), &["127.0.0.1:1".to_owned()], None);
    let control = weft_proxy::control::start(setting, cell, Box::new(picky)).unwrap();
    let last = eventually("served all the same", || recorder.published.lock().unwrap().last().cloned());
    assert_eq!(ready(&last), [true, false]);
    control.stop();
}

/// Refuses a snapshot as long as the filter of its problem has an artifact.
struct Picky {
    recorder: super::proxy::Recorder,
    problem: Problem,
}

impl weft_proxy::control::Publish for Picky {
    fn publish(
        &mut self,
        next: &weft_proxy::plan::Next<'_>,
        artifacts: &dyn weft_proxy::plan::Artifacts,
    ) -> Result<(), Vec<Problem>> {
        let named = |filter: &&weft_snapshot::Filter| self.problem.resource == Some(Key::Filter(filter.key.clone()));
        match next.snapshot.filters().find(named) {
            Some(filter) if filter.artifact.is_some() => Err(vec![self.problem.clone()]),
            _ => self.recorder.publish(next, artifacts),
        }
    }
}

#[test]
fn a_damaged_identity_needs_a_token() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let told = snapshot(&plane.authority, &[]);
    joined(state.path(), &plane, &told).control.stop();
    std::fs::write(state.path().join("identity.pem"), "nonsense").unwrap();
    let address = plane.address.to_string();
    let error =
        Proxy::with(options(state.path(), std::slice::from_ref(&address), None)).err().expect("refused").to_string();
    assert!(error.contains("identity.pem") && error.contains("--token"), "{error}");
    let proxy = Proxy::start(state.path(), address, Some(plane.authority.token("reviews")));
    wait("joined anew", || plane.facts().signs.len() == 2 && proxy.cell.load().is_some());
}

#[test]
fn a_token_of_another_mesh_joins_that_one() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let told = snapshot(&plane.authority, &["a"]);
    joined(state.path(), &plane, &told).control.stop();
    let other = Plane::start(&Authority::new());
    let told = snapshot(&other.authority, &["b"]);
    other.facts().snapshot = told.clone();
    let proxy = Proxy::start(state.path(), other.address, Some(other.authority.token("reviews")));
    wait("served", || proxy.last().is_some_and(|last| last.snapshot == told));
    assert_eq!(proxy.published().len(), 1, "nothing of the old mesh was served");
}
