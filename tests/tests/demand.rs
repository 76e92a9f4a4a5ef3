//! A thousand services, and a sidecar is told of those that its workload calls, and then only what changed.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use weft_tests::yaml::{caller, service, virtual_service, workload};
use weft_tests::{App, Client, Mesh, MeshOptions, Version, eventually_async};

const SERVICES: usize = 1_000;
const CHANGE_BYTES_MAX: f64 = 4096.0;
const RECONNECT_BYTES_MAX: f64 = 1024.0;

fn route(header: &str) -> String {
    let rule = format!(
        "  - headers: {{response: {{set: {{x-rule: {header}}}}}}}\n    route: [{{destination: {{host: echo}}}}]"
    );
    virtual_service("echo", &rule)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_goes_to_those_who_use_it_and_nothing_to_the_others() {
    let app = App::http("echo").await;
    let mut yaml = [
        caller("client"),
        caller("idle"),
        service("echo", "http"),
        workload("echo", "v1", "http", app.address),
        service("other", "http"),
        workload("other", "v1", "http", app.address),
    ]
    .concat();
    for n in 0..SERVICES {
        let _ = write!(yaml, "{}", service(&format!("service-{n}"), "http"));
    }
    let mut mesh = Mesh::start(&yaml, MeshOptions::default());
    mesh.write("route.yaml", &route("first"));
    mesh.join("client").await;
    mesh.join("idle").await;
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    let mut idle = Client::new(mesh.sidecar("idle").outbound, Version::Http1);
    eventually_async("the first rule is there", async || {
        match client.get("http://echo:8080/").await?.header("x-rule") {
            "first" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    assert_eq!(idle.get("http://other:8080/").await.unwrap().status, 200);
    let [before, idle_before] = [received(&mesh, "client").await, received(&mesh, "idle").await];
    mesh.write("route.yaml", &route("second"));
    eventually_async("the second rule is there", async || {
        match client.get("http://echo:8080/").await?.header("x-rule") {
            "second" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let news = received(&mesh, "client").await - before;
    assert!(news > 0.0 && news <= CHANGE_BYTES_MAX, "{news} bytes for one changed header");
    assert_eq!(received(&mesh, "idle").await, idle_before, "a proxy that does not call echo hears nothing");

    // Nothing changed, the stream broke: what is not news is not sent again.
    let before = received(&mesh, "client").await;
    mesh.kill_controlplane();
    mesh.start_controlplane();
    eventually_async("the client's stream is open again", async || {
        let connected = mesh.sidecar("client").metric(&["weft_control_connected"]).await;
        let news = received(&mesh, "client").await - before;
        if connected == 1.0 && news > 0.0 { Ok(()) } else { Err((connected, news)) }
    })
    .await;
    let news = received(&mesh, "client").await - before;
    assert!(news <= RECONNECT_BYTES_MAX, "{news} bytes to say that nothing is new");
    assert_eq!(client.get("http://echo:8080/").await.unwrap().header("x-rule"), "second");
}

/// Bytes of updates that the sidecar has received.
async fn received(mesh: &Mesh, name: &str) -> f64 {
    mesh.sidecar(name).metric(&["weft_control_received_bytes_total"]).await
}
