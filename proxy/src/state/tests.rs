//! The folder's guards, atomic files, and artifacts that are not what they say.

#![allow(clippy::unwrap_used)]

use super::*;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use weft_snapshot::{Answer, Digest, Snapshot};
use weft_wire::{Ledger, SnapshotFile};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for (permissions, want) in [(0o777, false), (0o770, false), (0o702, false), (0o755, true), (0o700, true)] {
        let path = root.path().join(format!("{permissions:o}"));
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(permissions)).unwrap();
        let opened = StateFolder::open(&path);
        assert_eq!(opened.is_ok(), want, "mode {permissions:o}");
        if let Err(error) = opened {
            let text = error.to_string();
            assert!(text.contains("chmod 700") && text.contains(path.to_str().unwrap()), "{text}");
        }
    }
    let made = root.path().join("a/b");
    let folder = StateFolder::open(&made).unwrap();
    assert_eq!((mode(&made), mode(&made.join("artifacts"))), (0o700, 0o700));
    assert!(matches!(StateFolder::open(&made), Err(StateError::Busy { .. })), "two proxies in one folder");
    drop(folder);
    assert!(StateFolder::open(&made).is_ok(), "free again");
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(StateFolder::open(&file).is_err(), "a file");
}

#[test]
fn what_is_saved_is_read_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(root.path()).unwrap();
    assert!(folder.identity().unwrap().is_none() && folder.trust().unwrap().is_none());
    assert!(folder.snapshot().unwrap().is_none() && folder.inbound_address().unwrap().is_none());

    let key = PrivatePkcs8KeyDer::from(vec![7; 100]);
    let chain = vec![CertificateDer::from(vec![1; 48]), CertificateDer::from(vec![2; 3])];
    let identity = StoredIdentity { key, chain: chain.clone() };
    folder.save_identity(&identity).unwrap();
    assert_eq!(folder.identity().unwrap().as_ref(), Some(&identity));
    let trust = StoredTrust { roots: chain, signers: vec![[3; 32], [4; 32]] };
    folder.save_trust(&trust).unwrap();
    assert_eq!(folder.trust().unwrap(), Some(trust));
    folder.save_inbound_address("127.0.0.1:4000".parse().unwrap()).unwrap();
    assert_eq!(folder.inbound_address().unwrap(), Some("127.0.0.1:4000".parse().unwrap()));

    let file = snapshot_file("a");
    folder.save_snapshot(&file).unwrap();
    assert_eq!(folder.snapshot().unwrap(), Some(file));
    for name in ["identity.pem", "trust.pem", "snapshot", "inbound"] {
        assert_eq!(mode(&root.path().join(name)), 0o600, "{name}");
    }
    assert!(!root.path().join("snapshot.new").exists());
}

fn snapshot_file(asked: &str) -> SnapshotFile {
    let mut snapshot = Snapshot::default();
    snapshot.add_answer(Answer { asked: asked.parse().unwrap(), service: None });
    let (workload, signature) = ("a/b".parse().unwrap(), vec![1; 64]);
    SnapshotFile { workload, signature, ledger: Ledger::of(&snapshot), seen: Default::default() }
}

/// A pipe in the place of the file that is written first: a disk that takes as long as the test wants.
#[test]
fn a_slow_disk_gets_the_newest_snapshot_and_delays_nobody() {
    let root = tempfile::tempdir().unwrap();
    let folder = Arc::new(StateFolder::open(root.path()).unwrap());
    let pipe = root.path().join("snapshot.new");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut writer = SnapshotWriter::start(Arc::clone(&folder)).unwrap();
    assert!(writer.is_idle());
    let more_than_a_pipe_takes = SnapshotFile { signature: vec![1; 1 << 20], ..snapshot_file("a") };
    writer.write(more_than_a_pipe_takes);
    // Opens once the writer has.
    let reader = std::fs::File::open(&pipe).unwrap();
    for asked in ["b", "c"] {
        writer.write(snapshot_file(asked));
    }
    assert!(!writer.is_idle(), "the first is under way");
    std::fs::remove_file(&pipe).unwrap();
    // The first fails; the newest has a file.
    drop((reader, writer));
    assert_eq!(folder.snapshot().unwrap(), Some(snapshot_file("c")));
}

#[test]
fn a_damaged_file_is_named_with_its_remedy() {
    let root = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(root.path()).unwrap();
    type Reading = fn(&StateFolder) -> Option<StateError>;
    let cases: [(&str, &str, Reading); 4] = [
        ("identity.pem", "no private key", |f| f.identity().err()),
        ("trust.pem", "no root", |f| f.trust().err()),
        ("join.key", "no private key", |f| f.join_key().err()),
        ("snapshot", "header", |f| f.snapshot().err()),
    ];
    for (name, want, reading) in cases {
        std::fs::write(root.path().join(name), "nonsense").unwrap();
        let error = reading(&folder).expect(name);
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(want) && text.contains("; "), "{name}: {text}");
        folder.set_aside(&error);
        assert!(reading(&folder).is_none(), "{name} is out of the way");
        assert!(root.path().join(format!("{name}.damaged")).exists(), "{name} is kept");
    }
    std::fs::write(root.path().join("inbound"), "nonsense").unwrap();
    assert_eq!(folder.inbound_address().unwrap(), None, "an address alone is no reason not to start");
}

#[test]
fn artifacts_are_what_their_digest_says() {
    let root = tempfile::tempdir().unwrap();
    let folder = StateFolder::open(root.path()).unwrap();
    let artifacts = folder.artifacts();
    let bytes = b"native code".repeat(1000);
    let digest = Digest(Sha256::digest(&bytes).into());
    assert_eq!(artifacts.path(&digest), None);

    let mut spool = artifacts.spool(&digest).unwrap();
    bytes.chunks(999).for_each(|piece| spool.write(piece).unwrap());
    let path = spool.finish(b"signature").unwrap();
    assert_eq!((artifacts.path(&digest), mode(&path)), (Some(path.clone()), 0o400));
    assert_eq!(artifacts.signature(&digest).as_deref(), Some(b"signature".as_slice()));

    let mut cut = artifacts.spool(&Digest([9; 32])).unwrap();
    cut.write(b"other").unwrap();
    assert!(matches!(cut.finish(b""), Err(ArtifactError::Digest { .. })));
    assert_eq!(artifacts.path(&Digest([9; 32])), None, "never under a name that it does not deserve");

    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, b"flipped").unwrap();
    assert_eq!(artifacts.signature(&digest), None, "tampered");
    assert_eq!(artifacts.path(&digest), None, "and removed");

    for keep in [true, false] {
        let mut spool = artifacts.spool(&digest).unwrap();
        spool.write(&bytes).unwrap();
        spool.finish(b"signature").unwrap();
        artifacts.prune(|_| keep);
        assert_eq!(artifacts.path(&digest).is_some(), keep, "kept: {keep}");
    }
}
