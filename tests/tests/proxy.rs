//! `weft proxy -f`: one proxy on a folder, without a control plane, its filters pulled and compiled beside it.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::Command;
use weft_tests::yaml::{caller, service, virtual_service, workload};
use weft_tests::{App, Client, Process, Version, eventually_async, filter_component, push, weft};

const FILTER: &str = "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: headers}
spec:
  image: oci-layout:../images:1
  config: {response: {set: {x-filtered: 'yes'}}}
---
";

fn start(folder: &std::path::Path, which: &[&str]) -> (Process, SocketAddr) {
    let ports = folder.join(format!("{}.ports", which[0]));
    let mut command = Command::new(weft());
    command.args(["proxy", "-f"]).arg(folder.join("config")).args(which).args([
        "--admin",
        "127.0.0.1:0",
        "--ports-file",
    ]);
    let mut process = Process::spawn("weft proxy", command.arg(&ports));
    let ports = process.ports(&ports);
    let address = ports.get("listen").or_else(|| ports.get("outbound")).unwrap().as_str().unwrap().parse().unwrap();
    (process, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_enough() {
    let app = App::http("echo").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    push(&filter_component("filters/headers"), &format!("oci-layout:{}:1", folder.path().join("images").display()));
    let mesh =
        [caller("client"), service("echo", "http"), workload("echo", "v1", "http", app.address), FILTER.to_owned()];
    std::fs::write(folder.path().join("config/mesh.yaml"), mesh.concat()).unwrap();
    let route = |rule: &str| {
        let http = format!(
            "  - filters: [{{name: headers}}]\n    headers: {{response: {{set: {{x-rule: {rule}}}}}}}\n    route: [{{destination: {{host: echo}}}}]"
        );
        std::fs::write(folder.path().join("config/route.yaml"), virtual_service("echo", &http)).unwrap();
    };
    route("first");
    let (_listening, listen) = start(folder.path(), &["--listen", "127.0.0.1:0"]);
    let (_sidecar, outbound) = start(
        folder.path(),
        &["--workload", "default/client", "--inbound", "127.0.0.1:0", "--outbound", "127.0.0.1:0"],
    );
    // By Host where it listens for anybody, as an HTTP proxy where it is a sidecar.
    let mut by_host = Client::new(listen, Version::Http1);
    let mut as_proxy = Client::new(outbound, Version::Http1);
    for rule in ["first", "second"] {
        route(rule);
        eventually_async(&format!("both proxies follow the {rule} rule"), async || {
            let answers = [by_host.get_with("/", &[("host", "echo")]).await?, as_proxy.get("http://echo:8080/").await?];
            let seen = answers.map(|answer| format!("{} {}", answer.header("x-rule"), answer.header("x-filtered")));
            if seen.iter().all(|seen| *seen == format!("{rule} yes")) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }
    // A file that breaks keeps what it said.
    std::fs::write(folder.path().join("config/route.yaml"), "kind: VirtualService\n  broken").unwrap();
    for _ in 0..20 {
        assert_eq!(by_host.get_with("/", &[("host", "echo")]).await.unwrap().header("x-rule"), "second");
    }
}

#[test]
fn without_a_workload_or_an_address_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(weft()).args(["proxy", "-f"]).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--workload") && said.contains("--listen"), "{said}");
}
