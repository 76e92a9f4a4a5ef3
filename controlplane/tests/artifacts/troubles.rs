//! Everything that can go wrong with an image, a component or a config: said clearly, and the last good one runs on.

use crate::bench::{
    BAD_CONFIG, Bench, CONFIG, FILTER, OTHER_CONFIG, canary, headers, policy, push, running, told, wanted,
};
use std::path::Path;
use std::time::Duration;
use weft_controlplane::artifacts::ProblemKind;
use weft_snapshot::FilterKey;
use weft_tests::Registry;

const OFTEN: Option<Duration> = Some(Duration::from_secs(1));

/// A manifest of our own making under the tag, as another tool might have pushed it.
fn tag(layout: &Path, media_type: &str, layer: &[u8]) {
    use sha2::{Digest as _, Sha256};
    let blob = |bytes: &[u8]| {
        let digest = weft_snapshot::Digest(Sha256::digest(bytes).into()).to_string();
        std::fs::write(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        serde_json::json!({"digest": digest, "size": bytes.len()})
    };
    let with = |mut descriptor: serde_json::Value, media_type: &str| {
        descriptor["mediaType"] = media_type.into();
        descriptor
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": with(blob(b"{}"), "application/vnd.oci.empty.v1+json"),
        "layers": [with(blob(layer), media_type)],
    });
    let mut entry = with(blob(manifest.to_string().as_bytes()), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": "1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(layout.join("index.new"), index.to_string()).unwrap();
    std::fs::rename(layout.join("index.new"), layout.join("index.json")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_under_a_followed_tag() {
    let bench = Bench::new();
    let (image, layout) = (bench.images("1"), bench.folder.path().join("images"));
    let good = push(&image, headers(1)).await;
    let facts = bench.want(wanted(vec![policy(&image, CONFIG, OFTEN)])).await;
    assert_eq!(running(&facts).0, good.component, "{}", told(&facts));

    let core_module = b"\0asm\x01\0\0\0".as_slice();
    let broken = b"\0asm\x0d\0\x01\0\xff\xff\xff".as_slice();
    let cases = [
        (
            "a wrong media type",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            core_module,
            "the media type application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        ("a core module", "application/wasm", core_module, "a core WebAssembly module, not a component"),
        ("a broken component", "application/wasm", broken, "default/headers"),
        ("a component without exports", "application/wasm", &empty_component(), "export"),
        ("a component that refuses the config", "application/wasm", &canary(), "default/headers"),
    ];
    for (row, media_type, layer, reason) in cases {
        tag(&layout, media_type, layer);
        let facts = bench.facts(row, |facts| told(facts).contains(reason)).await;
        let told = told(&facts);
        assert_eq!(running(&facts).0, good.component, "{row}: {told}");
        let problem = facts.problems().next().unwrap();
        assert_eq!(problem.kind, ProblemKind::NotAdmitted, "{row}: {told}");
        assert!(problem.refused.is_some_and(|refused| refused != good.image), "{row}: {told}");
        for part in ["filters.yaml:3:5", FILTER, &image, &good.image.to_string(), "runs on; "] {
            assert!(told.contains(part), "{row}: {part} in {told}");
        }
        push(&image, headers(1)).await;
        bench.facts(row, |facts| facts.problems().next().is_none()).await;
    }
}

/// Valid, and empty.
fn empty_component() -> Vec<u8> {
    b"\0asm\x0d\0\x01\0".to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_or_lies() {
    let (bench, mut registry) = (Bench::new(), Registry::start());
    let image = format!("oci://{}/headers:1", registry.address);
    let good = push(&image, headers(1)).await;
    bench.want(wanted(vec![policy(&image, CONFIG, OFTEN)])).await;

    registry.down();
    let facts = bench.facts("the registry is down", |facts| told(facts).contains("cannot be reached")).await;
    assert_eq!(running(&facts).0, good.component);
    assert!(told(&facts).contains("ImageUnavailable"), "{}", told(&facts));
    let facts = bench.want(wanted(vec![policy(&image, OTHER_CONFIG, OFTEN)])).await;
    assert_eq!(running(&facts), (good.component, OTHER_CONFIG.to_owned()), "a new config needs no registry");

    registry.up();
    bench.facts("the registry is back", |facts| told(facts).is_empty()).await;
    let tampered = push(&image, headers(2)).await;
    let blob = registry.blob(tampered.component.to_string().trim_start_matches("sha256:"));
    let mut bytes = headers(2);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(blob, bytes).unwrap();
    // The tag may have been followed before the bytes were changed.
    let other = format!("oci://{}/headers:1", registry.address);
    let bench = Bench::new();
    let facts = bench.want(wanted(vec![policy(&other, CONFIG, OFTEN)])).await;
    assert!(told(&facts).contains("has the digest sha256:"), "{}", told(&facts));
    assert!(told(&facts).contains("has never been ready"), "{}", told(&facts));
    assert!(facts.policies.is_empty() && facts.artifacts.is_empty());
    assert_eq!(std::fs::read_dir(bench.store().join("components")).unwrap().count(), 0, "nothing of it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_config() {
    let bench = Bench::new();
    let image = bench.images("1");
    let good = push(&image, headers(1)).await;
    bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;

    let facts = bench.want(wanted(vec![policy(&image, BAD_CONFIG, None)])).await;
    assert_eq!(running(&facts), (good.component, CONFIG.to_owned()), "the config that was admitted stays");
    assert!(told(&facts).contains("NotAdmitted"), "{}", told(&facts));

    let attached = weft_config::Policy { key: FilterKey(format!("{FILTER}#1")), ..policy(&image, BAD_CONFIG, None) };
    let facts = bench.want(wanted(vec![policy(&image, OTHER_CONFIG, None), attached.clone()])).await;
    assert_eq!(running(&facts), (good.component, OTHER_CONFIG.to_owned()), "the others are not held back");
    assert!(!facts.policies.contains_key(&attached.key));
    assert!(told(&facts).contains("NotAdmitted"), "{}", told(&facts));

    let facts = bench.want(wanted(vec![policy(&image, OTHER_CONFIG, None)])).await;
    assert_eq!(told(&facts), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_exist_yet() {
    let bench = Bench::new();
    let image = bench.images("1");
    let facts = bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;
    assert!(told(&facts).contains("has no such image"), "{}", told(&facts));
    let pushed = push(&image, headers(1)).await;
    let facts = bench.facts("it is looked up again", |facts| facts.problems().next().is_none()).await;
    assert_eq!(running(&facts).0, pushed.component);

    let facts = bench.want(wanted(vec![policy("canary:1", CONFIG, None)])).await;
    assert!(told(&facts).contains("names no image"), "{}", told(&facts));
    assert_eq!(running(&facts).0, pushed.component);
}
