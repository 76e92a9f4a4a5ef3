//! Filters in a real registry, pushed by weft and by oras: what is right runs, what is wrong is named, and what ran goes
//! on running.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use weft_tests::yaml::{caller, service, virtual_service, workload};
use weft_tests::{
    App, Client, Mesh, MeshOptions, Registry, Version, eventually_async, filter_component, push, variant,
};

fn mesh_yaml(app: &App, registry: &Registry, tag: &str) -> String {
    let filter = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Filter\nmetadata: {{name: headers}}\nspec:\n  image: oci://{}/filters/headers:{tag}\n  refresh: 1s\n  config: {{response: {{set: {{x-filtered: 'yes'}}}}}}\n---\n",
        registry.address
    );
    let mesh = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: mesh}}\nspec:\n  registries: [{{host: '{}', plainHttp: true}}]\n---\n",
        registry.address
    );
    let route = "  - filters: [{name: headers}]\n    route: [{destination: {host: echo}}]";
    [
        mesh,
        filter,
        caller("client"),
        service("echo", "http"),
        workload("echo", "v1", "http", app.address),
        virtual_service("echo", route),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_filter_runs_on_whatever_happens_to_the_registry() {
    let mut registry = Registry::start();
    let app = App::http("echo").await;
    let component = filter_component("filters/headers");
    let image = format!("oci://{}/filters/headers:1", registry.address);
    push(&component, &image);
    let mut mesh = Mesh::start(&mesh_yaml(&app, &registry, "1"), MeshOptions::default());
    mesh.join("client").await;
    filtered(&mesh).await;

    // A core module, a tampered blob, a wrong media type, a registry that is down: each a problem with its name in it.
    let module = b"\0asm\x01\0\0\0".to_vec();
    oras_push(&registry, "module", &module, "application/wasm");
    mesh.write("mesh.yaml", &mesh_yaml(&app, &registry, "module"));
    problem(&mesh, "core").await;
    filtered(&mesh).await;

    oras_push(&registry, "text", b"hello", "text/plain");
    mesh.write("mesh.yaml", &mesh_yaml(&app, &registry, "text"));
    problem(&mesh, "text/plain").await;
    filtered(&mesh).await;

    let tampered = variant(&component, 1);
    push(&tampered, &format!("oci://{}/filters/headers:tampered", registry.address));
    let blob = registry.blob(&hex(&tampered));
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    mesh.write("mesh.yaml", &mesh_yaml(&app, &registry, "tampered"));
    problem(&mesh, "sha256:").await;
    filtered(&mesh).await;

    registry.down();
    mesh.write("mesh.yaml", &mesh_yaml(&app, &registry, "2"));
    problem(&mesh, &registry.address.to_string()).await;
    filtered(&mesh).await;

    // It comes back, with what oras pushed under the tag that was missing: that is pulled without being told again.
    registry.up();
    let next = variant(&component, 2);
    oras_push(&registry, "2", &next, "application/wasm");
    let wanted = format!("sha256:{}", hex(&next));
    eventually_async("what oras pushed runs", async || {
        let filters =
            Client::new(mesh.sidecar("client").admin, Version::Http1).get("/filters").await?.text().to_owned();
        if filters.contains(&wanted) { Ok(()) } else { Err(filters) }
    })
    .await;
    filtered(&mesh).await;
}

#[test]
fn oras_pulls_what_weft_pushed() {
    let registry = Registry::start();
    let component = filter_component("filters/headers");
    push(&component, &format!("oci://{}/filters/headers:1", registry.address));
    let folder = tempfile::tempdir().unwrap();
    let script = "import sys, oras.client\nc = oras.client.OrasClient(hostname=sys.argv[1], insecure=True)\nc.pull(target=sys.argv[2], outdir=sys.argv[3])";
    oras(
        script,
        &[
            &registry.address.to_string(),
            &format!("{}/filters/headers:1", registry.address),
            folder.path().to_str().unwrap(),
        ],
    );
    let pulled: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(pulled.contains(&component), "oras pulled {} files, none of them the component", pulled.len());
}

fn oras_push(registry: &Registry, tag: &str, bytes: &[u8], media_type: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("filter.wasm"), bytes).unwrap();
    let script = "import os, sys, oras.client\nos.chdir(sys.argv[3])\nc = oras.client.OrasClient(hostname=sys.argv[1], insecure=True)\nc.push(target=sys.argv[2], files=['filter.wasm:' + sys.argv[4]])";
    let target = format!("{}/filters/headers:{tag}", registry.address);
    oras(script, &[&registry.address.to_string(), &target, folder.path().to_str().unwrap(), media_type]);
}

fn oras(script: &str, arguments: &[&str]) {
    let python =
        std::env::var("WEFT_ORAS_PYTHON").expect("WEFT_ORAS_PYTHON: run the suites by tests/run, which installs oras");
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "oras {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn filtered(mesh: &Mesh) {
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    eventually_async("the filter runs", async || {
        let answer = client.get("http://echo:8080/").await?;
        if answer.header("x-filtered") == "yes" { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
    })
    .await;
}

/// Waits for a problem of the filter in the control plane's status that has this word.
async fn problem(mesh: &Mesh, word: &str) {
    eventually_async(&format!("status shows a problem with {word:?}"), async || {
        let status = mesh.status().await.to_string();
        if status.contains("default/headers") && status.contains(word) { Ok(()) } else { Err(status) }
    })
    .await;
}

fn hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
