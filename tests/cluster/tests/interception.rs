//! A pod's own traffic on a real node, as the app and the kubelet make it: to itself, to localhost, to one pod of a
//! headless service, to hosts outside the mesh; and what comes in plain text from outside it.
//!
//! The rules themselves are tested without a cluster (tests/tests/pods.rs).
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::time::Duration;
use weft_cluster_tests::{Caller, Namespace, install, within};

const SETTLED: Duration = Duration::from_secs(30);

#[test]
fn traffic_goes_as_without_a_mesh_or_through_it() {
    install();
    let shop = Namespace::new("intercepted", &["istio-injection=enabled"]);
    let outside = Namespace::new("outside", &[]);
    shop.app("server", "v1");
    shop.apply(HEADLESS);
    outside.app("stranger", "v1");
    let (caller, itself, stranger) = (shop.caller("caller"), shop.inside("server-v1"), outside.inside("stranger-v1"));
    let pod = shop.pods("app=server").remove(0);
    let addresses: Vec<String> = pod["status"]["podIPs"].as_array().unwrap().iter().map(url_host).collect();
    assert!(!addresses.is_empty(), "{pod:#}");

    // Through its own Service by its sidecar, which says so in a header; by localhost and its own address past it.
    assert!(meshed(&itself, "http://server/"), "its own Service");
    for host in std::iter::once("127.0.0.1").chain(addresses.iter().map(String::as_str)) {
        assert!(!meshed(&itself, &format!("http://{host}:8080/")), "{host}");
    }
    for host in addresses.iter().map(|host| format!("{host}:8080")).chain(["headless:8080".to_owned()]) {
        assert!(meshed(&caller, &format!("http://{host}/")), "{host}, one pod of a headless service");
    }
    let away = format!("http://stranger.{}/", outside.name);
    assert!(caller.get(&away).app().starts_with("stranger"), "a service outside the mesh, by name");
    let other = url_host(&outside.pods("app=stranger")[0]["status"]["podIPs"][0]);
    assert_eq!(caller.get(&format!("http://{other}:8080/")).app(), "stranger-v1", "and a pod by its address");

    plain_text_by_mode(&shop, &stranger, &addresses);
    // The kubelet has no certificate of the mesh, and its probes pass.
    let ready = &shop.pods("app=server")[0]["status"]["containerStatuses"][0];
    assert_eq!((&ready["ready"], &ready["restartCount"]), (&Value::from(true), &Value::from(0)), "{ready:#}");
    assert!(meshed(&caller, "http://server/"), "with mutual TLS as before");
}

fn plain_text_by_mode(shop: &Namespace, stranger: &Caller, addresses: &[String]) {
    for host in addresses {
        assert_eq!(stranger.get(&format!("http://{host}:8080/")).app(), "server-v1", "PERMISSIVE, {host}");
    }
    for (mode, want) in [("STRICT", 403), ("DISABLE", 200), ("STRICT", 403)] {
        shop.apply(&format!(
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: default}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
        ));
        for host in addresses {
            within(SETTLED, &format!("plain text to {host} by {mode}"), || {
                let answer = stranger.get(&format!("http://{host}:8080/"));
                if answer.status == want { Ok(()) } else { Err(answer) }
            });
        }
    }
}

/// Whether a request went through the server's sidecar: the app then sees who called it.
fn meshed(from: &Caller, url: &str) -> bool {
    let answer = from.get(url);
    assert_eq!((answer.status, answer.app()), (200, "server-v1"), "{url}: {answer:?}");
    answer.json()["headers"]["x-forwarded-client-cert"].is_string()
}

/// As it is written in a URL.
fn url_host(address: &Value) -> String {
    let address = address["ip"].as_str().unwrap();
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

const HEADLESS: &str = "apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: server}
  ipFamilyPolicy: PreferDualStack
  ports: [{name: http, port: 8080}]
";
