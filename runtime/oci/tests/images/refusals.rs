//! What is not taken, and how it is said.

use crate::kit::{artifact, at, component, core_module, images, limits, reference, told};
use crate::registry::Registry;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::Path;
use weft_oci::{Artifact, Cause, Images, Limits, Loopback, Registries, Retry};
use weft_snapshot::Digest;

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn blob(layout: &Path, bytes: &[u8]) -> Digest {
    let digest = digest(bytes);
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256").join(digest.to_string().trim_start_matches("sha256:")), bytes).unwrap();
    digest
}

/// A layout with one image whose layers have these media types and contents.
fn layout(path: &Path, config: &str, layers: &[(&str, Vec<u8>)]) {
    let layers: Vec<_> = layers
        .iter()
        .map(|(media_type, bytes)| json!({"mediaType": media_type, "digest": blob(path, bytes).to_string(), "size": bytes.len()}))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": config, "digest": blob(path, b"{}").to_string(), "size": 2},
        "layers": layers,
    });
    let manifest = manifest.to_string();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                       "digest": blob(path, manifest.as_bytes()).to_string(), "size": manifest.len()}],
    });
    fs::write(path.join("index.json"), index.to_string()).unwrap();
}

#[tokio::test]
async fn by_media_type_and_header() {
    let wasm = "application/wasm";
    let old = "application/vnd.wasm.content.layer.v1+wasm";
    let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
    let (config, empty) = ("application/vnd.wasm.config.v0+json", "application/vnd.oci.empty.v1+json");
    let good = || component("x");
    let cases = [
        ("CNCF", config, vec![(wasm, good())], ""),
        ("wkg of old", config, vec![(old, good())], ""),
        ("an empty config", empty, vec![(wasm, good())], ""),
        ("a README beside it", empty, vec![("text/markdown", b"# hi".to_vec()), (wasm, good())], ""),
        ("a container image", config, vec![(tar, good())], tar),
        ("no layer", config, vec![], "no layer"),
        ("two components", config, vec![(wasm, good()), (wasm, component("y"))], "holds 2 components"),
        ("a core module", config, vec![(wasm, core_module("x"))], "a core WebAssembly module, not a component"),
        ("text", config, vec![(wasm, b"hello, world".to_vec())], "no WebAssembly"),
        ("nothing", config, vec![(wasm, Vec::new())], "no WebAssembly"),
    ];
    for (row, config, layers, refusal) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        layout(&path, config, &layers);
        let pulled = images().pull(&reference(&format!("oci-layout:{}", path.display())), folder.path()).await;
        match pulled {
            Ok(_) => assert_eq!(refusal, "", "{row}"),
            Err(error) => {
                assert!(!refusal.is_empty() && told(&error).contains(refusal), "{row}: {}", told(&error));
                assert_eq!(error.cause.retry(), Retry::Never, "{row}");
            }
        }
    }
}

#[tokio::test]
async fn a_core_module_is_not_pushed() {
    let folder = tempfile::tempdir().unwrap();
    let artifact = Artifact { component: core_module("x"), annotations: Default::default() };
    let tag = reference(&format!("oci-layout:{}:1", folder.path().join("images").display()));
    let error = images().push(&tag, artifact).await.unwrap_err();
    assert!(told(&error).contains("weft filter build"), "{}", told(&error));
    assert!(!folder.path().join("images").exists(), "nothing was written");
}

#[tokio::test]
async fn tampered_bytes_on_the_registrys_disk() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let image = at(registry.address, "canary:1");
    let pushed = images().push(&image, artifact("one")).await.unwrap();
    let mut bytes = component("one");
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(registry.blob(pushed.component), bytes).unwrap();
    let error = images().pull(&image, folder.path()).await.unwrap_err();
    let expected = pushed.component;
    assert!(matches!(error.cause, Cause::Tampered { expected: e, .. } if e == expected), "{}", told(&error));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left in the spool");
}

#[tokio::test]
async fn a_manifest_that_is_not_what_was_pinned() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let image = at(registry.address, "canary:1");
    let pushed = images().push(&image, artifact("one")).await.unwrap();
    let path = registry.blob(pushed.image);
    let manifest = fs::read_to_string(&path).unwrap();
    fs::write(&path, manifest.replace("\"test\"", "\"tEst\"")).unwrap();
    let error = images().pull(&image.pinned(pushed.image), folder.path()).await.unwrap_err();
    // Debian's registry notices by itself; another one might not.
    assert!(
        matches!(error.cause, Cause::Tampered { .. } | Cause::Status { .. } | Cause::NotFound { .. }),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn sizes_are_bounded() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let image = at(registry.address, "canary:1");
    images().push(&image, artifact("one")).await.unwrap();
    let registries = || Registries { loopback: Loopback::PlainHttp, ..Registries::default() };
    let cases = [
        (Limits { component_bytes_max: 10, ..limits() }, "the component has 18 bytes, more than the 10 allowed"),
        (Limits { manifest_bytes_max: 100, ..limits() }, "the manifest has"),
    ];
    for (limits, refusal) in cases {
        let error = Images::new(registries(), limits).pull(&image, folder.path()).await.unwrap_err();
        assert!(told(&error).contains(refusal), "{}", told(&error));
    }
}

#[tokio::test]
async fn absent_images_and_registries() {
    let registry = Registry::plain();
    let folder = tempfile::tempdir().unwrap();
    let error = images().pull(&at(registry.address, "canary:1"), folder.path()).await.unwrap_err();
    assert!(matches!(error.cause, Cause::NotFound { .. }), "no such tag: {}", told(&error));
    let layout = reference(&format!("oci-layout:{}:1", folder.path().join("none").display()));
    let error = images().resolve(&layout).await.unwrap_err();
    assert!(matches!(error.cause, Cause::NotFound { .. }), "no such folder: {}", told(&error));

    let address = registry.stop();
    let error = images().resolve(&at(address, "canary:1")).await.unwrap_err();
    assert_eq!(error.cause.retry(), Retry::Later, "down: {}", told(&error));
    assert!(told(&error).contains(&address.to_string()), "{}", told(&error));

    let pinned = at(address, "canary").pinned(digest(b""));
    let error = images().push(&pinned, artifact("x")).await.unwrap_err();
    assert!(matches!(error.cause, Cause::PushWithoutTag), "{}", told(&error));
}
