//! What a restarted control plane still has, and what it does not trust.

use crate::bench::{Bench, CONFIG, engine, headers, policy, push, running, told, wanted};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;
use weft_controlplane::artifacts::{Artifacts, ArtifactsOptions};
use weft_filter_host::artifact_key;
use weft_tests::Registry;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_serves_without_the_registry() {
    let (mut bench, mut registry) = (Bench::new(), Registry::start());
    let image = format!("oci://{}/headers:1", registry.address);
    push(&image, headers(1)).await;
    for refresh in [None, Some(Duration::from_secs(1))] {
        let before = bench.want(wanted(vec![policy(&image, CONFIG, refresh)])).await;
        registry.down();
        bench.restart();
        let number = bench.artifacts().want(wanted(vec![policy(&image, CONFIG, refresh)]));
        let first = bench.facts("the first facts", |facts| facts.reflects == number).await;
        assert_eq!(first.policies, before.policies, "at once");
        let settled = bench.artifacts().settled(number).await;
        assert_eq!(settled.policies, before.policies, "and later");
        assert_eq!(
            told(&settled).is_empty(),
            refresh.is_none(),
            "only a followed tag is asked for: {}",
            told(&settled)
        );
        registry.up();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_made_anew() {
    let mut bench = Bench::new();
    let image = bench.images("1");
    let pushed = push(&image, headers(1)).await;
    let before = bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;
    let artifact = before.artifacts.values().next().unwrap().path.clone();
    let component = bench.store().join("components").join(pushed.component.to_string().trim_start_matches("sha256:"));
    let damages: [(&str, &[&PathBuf]); 3] = [
        ("a flipped bit of native code", &[&artifact]),
        ("a flipped bit of the component", &[&component]),
        ("both", &[&artifact, &component]),
    ];
    for (row, files) in damages {
        for file in files {
            let mut bytes = fs::read(file).unwrap();
            bytes[100] ^= 1;
            fs::write(file, bytes).unwrap();
        }
        bench.restart();
        let facts = bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;
        assert_eq!(told(&facts), "", "{row}");
        assert_eq!(running(&facts).0, pushed.component, "{row}");
        assert!(facts.policies.values().all(|policy| policy.artifacts.contains_key(&artifact_key())), "{row}");
    }
    fs::write(bench.store().join("last-good.json"), "{").unwrap();
    bench.restart();
    let facts = bench.want(wanted(vec![policy(&image, CONFIG, None)])).await;
    assert_eq!(running(&facts).0, pushed.component, "without its notes: {}", told(&facts));
}

#[tokio::test]
async fn a_folder_that_others_may_read_is_refused() {
    let bench = Bench::new();
    fs::set_permissions(bench.store(), fs::Permissions::from_mode(0o750)).unwrap();
    let options = ArtifactsOptions::new(bench.store(), engine()).unwrap();
    let error = Artifacts::start(options).err().unwrap();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}
