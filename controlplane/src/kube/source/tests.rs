#![allow(clippy::unwrap_used)]
use super::*;

fn seen(path: &str, version: u64, text: &str) -> Seen {
    Seen { key: path.into(), file: SourceFile::of_cluster(path, text, "2026-01-01T00:00:00Z"), version }
}

fn source() -> (mpsc::Sender<Change>, ClusterSource) {
    let (sender, changes) = mpsc::channel(16);
    (sender, ClusterSource::new(changes))
}

#[test]
fn a_relist_takes_away_what_went_while_the_watch_was_broken() {
    let (_sender, mut source) = source();
    let listed = |names: &[&str], version| {
        let all = names.iter().map(|name| seen(&format!("Pod/default/{name}"), 1, "")).collect();
        Change::Listed { kind: "Pod", all, version }
    };
    source.take(listed(&["a", "b"], 1));
    source.take(Change::Set { kind: "Service", seen: Box::new(seen("Service/default/a", 1, "")) });
    assert_eq!(source.take(listed(&["b"], 5)), Haste::Configuration);
    assert_eq!(source.take(listed(&["b"], 7)), Haste::Version, "a relist is no news");
    let files = source.files();
    let paths: Vec<_> = files.files.iter().map(|file| file.path.to_string()).collect();
    assert_eq!(paths, ["Pod/default/b", "Service/default/a"]);
    assert_eq!(files.versions["Pod"], 7, "as far as the list, though what went had the highest version");
}

#[test]
fn what_changes_nothing_is_only_counted() {
    let (_sender, mut source) = source();
    let set = |version, text| Change::Set { kind: "Service", seen: Box::new(seen("Service/default/a", version, text)) };
    let rows = [(set(1, "a"), Haste::Configuration), (set(3, "a"), Haste::Version), (set(2, "a"), Haste::Version)];
    for (change, want) in rows {
        assert_eq!(source.take(change), want);
    }
    let before = source.files();
    assert_eq!(before.versions["Service"], 3);
    source.take(Change::Gone { kind: "Service", path: "Service/default/b".into(), version: 9 });
    let after = source.files();
    assert!(Arc::ptr_eq(&before.files, &after.files), "nothing is compiled for it");
    assert_eq!(after.versions["Service"], 9);
}

#[tokio::test]
async fn changes_that_come_together_are_handed_over_together() {
    let (sender, mut source) = source();
    source.unlisted.clear();
    let set = |name: &str| {
        let path = format!("Service/default/{name}");
        Change::Set { kind: "Service", seen: Box::new(seen(&path, 1, "")) }
    };
    for name in ["a", "b", "c"] {
        sender.send(set(name)).await.unwrap();
    }
    assert_eq!(source.next().await.unwrap().files.len(), 3);
    sender.send(set("a")).await.unwrap();
    sender.send(set("d")).await.unwrap();
    assert_eq!(source.next().await.unwrap().files.len(), 4, "what changes nothing is not handed over");
}
