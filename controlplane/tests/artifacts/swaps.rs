//! What becomes of a filter whose image, tag or config changes as it should.

use crate::bench::{Bench, CONFIG, FILTER, OTHER_CONFIG, headers, modes, policy, push, running, told, wanted};
use std::collections::BTreeSet;
use std::time::Duration;
use weft_controlplane::artifacts::{Facts, Version};
use weft_filter_host::{artifact_key, compile};
use weft_snapshot::FilterKey;
use weft_tests::Registry;

const FAR_AWAY: Option<Duration> = Some(Duration::from_secs(3600));

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_from_a_registry_becomes_ready() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let image = format!("oci://{}/headers:1", registry.address);
    let pushed = push(&image, headers(1)).await;
    let attached = weft_config::Policy {
        key: FilterKey(format!("{FILTER}#1")),
        config: OTHER_CONFIG.to_owned(),
        ..policy(&image, CONFIG, None)
    };
    let facts = bench.want(wanted(vec![policy(&image, CONFIG, None), attached.clone()])).await;
    assert_eq!(told(&facts), "");
    assert_eq!(running(&facts), (pushed.component, CONFIG.to_owned()));
    assert_eq!(facts.filters[FILTER].running, Some(Version { image: pushed.image, component: pushed.component }));
    assert_eq!(facts.policies[&attached.key].config, OTHER_CONFIG);
    assert_eq!(facts.artifacts.len(), 1, "both configs share one artifact");
    let for_view = facts.filter_facts(&artifact_key());
    assert_eq!(for_view[&attached.key].artifact, facts.artifacts.keys().next().copied());
    assert_eq!(facts.filter_facts("another key")[&attached.key].artifact, None);
    for (path, mode) in modes(&bench.store()) {
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn it_is_compiled_for_another_processor_once_a_proxy_on_one_asks() {
    let bench = Bench::new();
    let image = bench.images("1");
    let pushed = push(&image, headers(1)).await;
    let before = bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;
    assert_eq!((before.artifacts.len(), bench.compilations()), (1, 1), "not before");
    let other = compile::keys().into_iter().find(|key| *key != artifact_key()).expect("a second key");
    let (here, absent) = (BTreeSet::from([FilterKey(FILTER.to_owned())]), BTreeSet::new());
    assert!(before.compiling(&other, &here), "a proxy on one may wait for it");
    assert!(!before.compiling(&other, &absent) && !before.compiling(&artifact_key(), &here));
    assert!(!bench.artifacts().serves("another-wasmtime"), "nobody compiles for that");
    assert!(bench.artifacts().serves(&artifact_key()) && bench.artifacts().serves(&other));
    for key in ["another-wasmtime", &artifact_key(), &other] {
        bench.artifacts().demand(key);
    }
    let served = |key: &str, facts: &Facts| facts.filter_facts(key)[&FilterKey(FILTER.to_owned())].artifact;
    let facts = bench.facts("both", |facts| facts.settled() && served(&other, facts).is_some()).await;
    assert!(!facts.compiling(&other, &here));
    let artifact = &facts.artifacts[&served(&other, &facts).unwrap()];
    assert_eq!((&artifact.key, artifact.component), (&other, pushed.component));
    assert_eq!((running(&facts).0, bench.compilations()), (pushed.component, 2), "once for each");
    // What comes later is there for both at the same time.
    let next = push(&bench.images("2"), headers(2)).await;
    let facts = bench.want(wanted(vec![policy(&bench.images("2"), CONFIG, None)])).await;
    assert_eq!((running(&facts).0, bench.compilations()), (next.component, 4));
    assert!(served(&other, &facts).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_followed_where_refresh_says_so() {
    let (bench, registry) = (Bench::new(), Registry::start());
    let remote = format!("oci://{}/headers:1", registry.address);
    // image, refresh: a folder is watched, a registry is asked
    let cases = [(bench.images("1"), FAR_AWAY), (remote, Some(Duration::from_secs(1)))];
    for (image, refresh) in cases {
        let one = push(&image, headers(1)).await;
        let before = bench.want(wanted(vec![policy(&image, CONFIG, refresh)])).await;
        assert_eq!(running(&before).0, one.component, "{image}: {}", told(&before));
        let two = push(&image, headers(2)).await;
        let facts = bench.facts("the tag is followed", |facts| running(facts).0 == two.component).await;
        let fetchable = |digest| facts.artifacts.contains_key(digest);
        assert!(before.artifacts.keys().all(fetchable), "what ran before can still be fetched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_tag_is_not_followed_otherwise_until_the_object_changes() {
    let bench = Bench::new();
    let image = bench.images("1");
    let one = push(&image, headers(1)).await;
    bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;
    let two = push(&image, headers(2)).await;

    let attached = weft_config::Policy { key: FilterKey(format!("{FILTER}#1")), ..policy(&image, OTHER_CONFIG, None) };
    let facts = bench.want(wanted(vec![policy(&image, CONFIG, None), attached.clone()])).await;
    assert_eq!(running(&facts).0, one.component, "another attachment is no change of the object");
    assert_eq!(facts.policies[&attached.key].component, one.component);

    let facts = bench.want(wanted(vec![policy(&image, OTHER_CONFIG, None)])).await;
    assert_eq!(running(&facts), (two.component, OTHER_CONFIG.to_owned()), "{}", told(&facts));

    let pinned = weft_config::Policy { digest: Some(one.image), ..policy(&image, CONFIG, FAR_AWAY) };
    let facts = bench.want(wanted(vec![pinned])).await;
    assert_eq!(running(&facts).0, one.component, "pinned: {}", told(&facts));
}
