//! What becomes of a filter whose image, tag or config changes as it should.

use crate::bench::{Bench, CONFIG, FILTER, OTHER_CONFIG, headers, modes, policy, push, running, told, wanted};
use std::time::Duration;
use weft_controlplane::artifacts::Version;
use weft_filter_host::artifact_key;
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
