//! Differences over the wire form, and updates that must not be applied.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::convert::samples;
use crate::{Seen, SnapshotFile, SnapshotFileError};
use proptest::prelude::*;
use prost::Message;
use std::time::Duration;
use weft_snapshot::{Answer, FailurePolicy, Filter, FilterKey, Isolation, NonUtf8, Trust};

proptest! {
    #[test]
    fn applying_a_difference_gives_the_next_snapshot(a in samples::snapshot(), b in samples::snapshot()) {
        let (held, next) = (Ledger::of(&a), Ledger::of(&b));
        let update = next.update_from(&held.holding());
        let applied = held.apply(&update).unwrap();
        prop_assert_eq!(&applied.ledger, &next);
        prop_assert_eq!(applied.ledger.revision(), revision(&b));
        prop_assert_eq!(next.snapshot().unwrap(), b.clone());
        let mut values = a.clone();
        values.apply(applied.update.clone()).unwrap();
        prop_assert_eq!(values, b.clone(), "the difference as values does the same");
        let whole = next.update_from(&Holding::default());
        let replaced = held.apply(&proto::Update { base: String::new(), ..whole }).unwrap();
        prop_assert_eq!(replaced.ledger, applied.ledger, "an update on nothing gives the same");
        prop_assert_eq!(replaced.update.set.len(), applied.update.set.len(), "and is no bigger as values");
        prop_assert_eq!(replaced.update.removed.len(), applied.update.removed.len());
    }

    #[test]
    fn a_holding_survives_hello(a in samples::snapshot()) {
        let holding = Ledger::of(&a).holding();
        prop_assert_eq!(Holding::of_hello(&holding.to_hello()).unwrap(), holding.clone());
        prop_assert_eq!(holding.revision(), revision(&a));
        let update = Ledger::of(&a).update_from(&holding);
        prop_assert!(update.set.is_empty() && update.removed.is_empty());
        prop_assert_eq!(update.base, update.revision);
    }

    #[test]
    fn files_come_back_and_damage_is_seen(a in samples::snapshot(), at in any::<prop::sample::Index>()) {
        let file = SnapshotFile { workload: "a/b".parse().unwrap(), signature: vec![7; 64], ledger: Ledger::of(&a), seen: Seen::from([("Pod".to_owned(), 7)]) };
        let mut bytes = file.encode();
        prop_assert_eq!(SnapshotFile::decode(&bytes), Ok(file));
        let at = at.index(bytes.len());
        prop_assert!(SnapshotFile::decode(&bytes[..at]).is_err());
        bytes[at] ^= 1;
        prop_assert!(SnapshotFile::decode(&bytes).is_err());
    }

    #[test]
    fn arbitrary_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SnapshotFile::decode(&bytes);
        let mut with_header = b"weft snapshot file 1\n".to_vec();
        with_header.extend(Sha256::digest(&bytes));
        with_header.extend(&bytes);
        let _ = SnapshotFile::decode(&with_header);
    }

    #[test]
    fn arbitrary_updates_never_panic(
        key in prop::collection::vec(any::<u8>(), 0..20),
        resource in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let entry = proto::Entry { key: key.clone(), resource };
        let update = proto::Update { set: vec![entry], removed: vec![key], ..Default::default() };
        let _ = Ledger::default().apply(&update);
    }
}

fn answers(hosts: &[&str]) -> Ledger {
    let mut snapshot = Snapshot::default();
    for host in hosts {
        snapshot.add_answer(Answer { asked: host.parse().unwrap(), service: None });
    }
    Ledger::of(&snapshot)
}

#[test]
fn an_update_that_does_not_fit_is_refused() {
    let (held, next) = (answers(&["a"]), answers(&["a", "b"]));
    let good = next.update_from(&held.holding());
    assert_eq!(held.apply(&good).unwrap().ledger, next);
    let trust = Trust { trust_domain: "t".to_owned(), roots: vec![], signers: vec![] };
    let misplaced =
        proto::Entry { key: encode_key(&Key::Workload), resource: encode_resource(&Resource::Trust(trust)) };
    // The tag of field 3 (answer) with one superfluous byte.
    let long_key = proto::Entry { key: vec![0x9a, 0x00, 1, b'b'], resource: good.set[0].resource.clone() };
    let upper = proto::Entry { key: vec![0x1a, 1, b'B'], resource: good.set[0].resource.clone() };
    let with = |entry: proto::Entry| proto::Update { set: vec![entry], ..good.clone() };
    let cases = [
        ("level", proto::Update { level_min: LEVEL + 1, ..good.clone() }, "upgrade the proxy"),
        ("base", proto::Update { base: "another".to_owned(), ..good.clone() }, "builds on revision \"another\""),
        ("revision", proto::Update { revision: "another".to_owned(), ..good.clone() }, "not \"another\" as it says"),
        ("less than was signed", proto::Update { set: vec![], ..good.clone() }, "as it says"),
        ("a misplaced resource", with(misplaced), "is another one's"),
        ("a key in other bytes", with(long_key), "not encoded in its one form"),
        ("a host in other letters", with(upper), "not encoded in its one form"),
        ("a key to remove", proto::Update { removed: vec![vec![0xff]], ..good.clone() }, "these bytes are no key"),
    ];
    for (row, update, want) in cases {
        let error = held.apply(&update).expect_err(row).to_string();
        assert!(error.contains(want), "{row}: {error}");
    }
}

/// A build of level 1 would run the filter on instances that it reuses, and not know it.
#[test]
fn an_instance_for_each_request_needs_level_2() {
    let filter = |key: &str, isolation| Filter {
        key: FilterKey(key.to_owned()),
        component: None,
        artifact: None,
        config: "{}".to_owned(),
        deadline: Duration::from_millis(2),
        memory_max: 16 << 20,
        failure_policy: FailurePolicy::Closed,
        non_utf8: NonUtf8::Refuse,
        isolation,
    };
    let mut snapshot = Snapshot::default();
    for (key, isolation, level) in
        [("a", Isolation::Reuse, 1), ("b", Isolation::Request, 2), ("c", Isolation::Reuse, 2)]
    {
        let held = Ledger::of(&snapshot).holding();
        snapshot.add_filter(filter(key, isolation));
        let ledger = Ledger::of(&snapshot);
        assert_eq!(ledger.update_from(&held).level_min, level, "{key}: also where what needs it is held already");
        let file = SnapshotFile { workload: "a/b".parse().unwrap(), signature: vec![], ledger, seen: Seen::default() };
        assert!(file.encode().starts_with(format!("weft snapshot file {level}\n").as_bytes()), "{key}");
        assert_eq!(SnapshotFile::decode(&file.encode()).as_ref(), Ok(&file), "{key}");
    }
    let reused = proto::Filter::from(&filter("a", Isolation::Reuse)).encode_to_vec();
    assert!(!reused.contains(&(9 << 3)), "the bytes, and so the hash, of before there was the field");
}

#[test]
fn revisions_are_fixed() {
    assert_eq!(Ledger::default().revision(), "");
    let want = answers(&["b", "a"]).revision();
    assert_eq!(want, answers(&["a", "b"]).revision());
    assert_ne!(want, answers(&["a"]).revision());
    assert_eq!(want.len(), 64);
    let short = proto::Held { key: vec![1], hash: vec![0; 31] };
    assert!(Holding::of_hello(&[short]).is_err(), "a hash of 31 bytes");
}

#[test]
fn a_file_of_another_version_is_named() {
    let later = format!("weft snapshot file {}\n", LEVEL + 1);
    assert_eq!(SnapshotFile::decode(later.as_bytes()), Err(SnapshotFileError::Header));
    assert_eq!(SnapshotFile::decode(b"weft snapshot file 1\nshort"), Err(SnapshotFileError::Checksum));
}
