//! The control plane is away for longer than a certificate's half-life, under load: nobody notices.
#![allow(clippy::unwrap_used)]

use http::Request;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use weft_tests::yaml::{STRICT, caller, service, subsets, virtual_service, workload};
use weft_tests::{App, Client, Load, Mesh, MeshOptions, Version, eventually_async};

const LIFE: Duration = Duration::from_secs(30);
const NAMES: [&str; 4] = ["echo-v1", "echo-v2", "client", "other"];

fn yaml(apps: &[&App; 2], subset: &str) -> String {
    let route = format!("  - retries: {{attempts: 0}}\n    route: [{{destination: {{host: echo, subset: {subset}}}}}]");
    [
        STRICT.to_owned(),
        caller("client"),
        caller("other"),
        service("echo", "http"),
        workload("echo", "v1", "http", apps[0].address),
        workload("echo", "v2", "http", apps[1].address),
        subsets("echo", &["v1", "v2"]),
        virtual_service("echo", &route),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_is_killed_is_not_missed() {
    let (v1, v2) = (App::http("v1").await, App::http("v2").await);
    let options = MeshOptions { svid_life: Some(format!("{}s", LIFE.as_secs())), ..Default::default() };
    let mut mesh = Mesh::start(&yaml(&[&v1, &v2], "v1"), options);
    for name in NAMES {
        mesh.join(name).await;
    }
    let outbound = mesh.sidecar("client").outbound;
    let mut client = Client::new(outbound, Version::Http1);
    assert_eq!(client.get("http://echo:8080/").await.unwrap().text(), "v1");
    let mut other = Client::new(mesh.sidecar("other").outbound, Version::Http1);
    assert_eq!(other.get("http://echo:8080/").await.unwrap().text(), "v1");
    // The certificates are fresh, so that they outlive the half-life for which the control plane is away.
    fresh(&mesh).await;
    let loads = [Version::Http1, Version::Http2].map(|version| {
        let request = |_| (Request::get("http://echo:8080/").body(Default::default()).unwrap(), ());
        Load::start((outbound, version), 1, request, |(), answer| match (answer.status.as_u16(), answer.text()) {
            (200, "v1" | "v2") => Ok(()),
            (status, text) => Err(format!("{status}: {text}")),
        })
    });
    let killed = SystemTime::now();
    mesh.kill_controlplane();
    mesh.write("mesh.yaml", &yaml(&[&v1, &v2], "v2"));
    // A sidecar that starts now has its state folder alone.
    mesh.take_sidecar("other").terminate();
    let other = mesh.start_sidecar("other", None).await.outbound;
    let mut other = Client::new(other, Version::Http1);
    assert_eq!(other.get("http://echo:8080/").await.unwrap().text(), "v1", "from its state folder");
    // Longer than half a life: every sidecar wanted to renew meanwhile.
    eventually_async("half a life and a second have passed", async || {
        let away = killed.elapsed().unwrap();
        if away > LIFE / 2 + Duration::from_secs(1) { Ok(()) } else { Err(away) }
    })
    .await;
    mesh.start_controlplane();
    eventually_async("the change made meanwhile arrives", async || {
        match client.get("http://echo:8080/").await?.text() {
            "v2" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    for load in loads {
        load.made(500).await;
        load.stop().await.assert_clean(500);
    }
    fresh(&mesh).await;
}

/// Waits until every sidecar's certificate is in the first third of its life, all at the same moment.
async fn fresh(mesh: &Mesh) {
    eventually_async("all certificates are fresh", async || {
        let mut left = Vec::new();
        for name in NAMES {
            let expires = mesh.sidecar(name).metric(&["weft_identity_expires_seconds"]).await;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            left.push(expires - now);
        }
        if left.iter().all(|left| *left > LIFE.as_secs_f64() * 2.0 / 3.0) { Ok(()) } else { Err(left) }
    })
    .await;
}
