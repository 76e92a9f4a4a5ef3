//! Filters are replaced under load, and no exchange notices: it ends on the version on which it started.
#![allow(clippy::unwrap_used)]

use http::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use weft_tests::yaml::{STRICT, caller, service, virtual_service, workload};
use weft_tests::{
    Answer, App, Client, Load, Mesh, MeshOptions, Version, eventually_async, filter_component, push, pushed_component,
    variant,
};

const SWAPS: u8 = 20;

const FILTER: &str = "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: headers}
spec:
  image: oci-layout:../images:1
  refresh: 100ms
  config: {request: {set: {x-filtered: request}}, response: {set: {x-filtered: response}}}
---
";

/// `(request digest, response digest)` of the one filter that a response names.
fn digests(answer: &Answer) -> Result<(String, String), String> {
    let text = answer.header("x-weft-filters");
    let of = |phase: &str| {
        let at = text.find(phase)? + phase.len();
        text[at..].split([' ', ',']).next().map(str::to_owned)
    };
    of("request=").zip(of("response=")).ok_or_else(|| format!("{} names no filter: {text:?}", answer.status))
}

/// Judges one answer: 200, filtered in both phases, by one component that is not older than the newest that the
/// sidecar had acknowledged when the request was made.
fn judge(known: &[String], newest: usize, answer: &Answer) -> Result<(), String> {
    if answer.status != 200 || answer.header("x-filtered") != "response" {
        return Err(format!("{} with x-filtered {:?}: {}", answer.status, answer.header("x-filtered"), answer.text()));
    }
    let (request, response) = digests(answer)?;
    if request != response {
        return Err(format!("the request met {request}, its response {response}"));
    }
    match known.iter().position(|digest| *digest == request) {
        Some(at) if at >= newest => Ok(()),
        Some(at) => Err(format!("version {at} answered after {newest} was acknowledged")),
        None => Err(format!("nobody pushed {request}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_swaps_under_load_lose_nothing() {
    let app = App::http("echo").await;
    let component = filter_component("filters/headers");
    let route = "  - filters: [{name: headers}]\n    retries: {attempts: 0}\n    route: [{destination: {host: echo}}]";
    let yaml = [
        STRICT.to_owned(),
        caller("client"),
        service("echo", "http"),
        workload("echo", "v1", "http", app.address),
        FILTER.to_owned(),
        virtual_service("echo", route),
    ];
    let mut mesh = Mesh::start(&yaml.concat(), MeshOptions { sidecar: vec!["--filter-trace".into()], ..Default::default() });
    let image = format!("oci-layout:{}:1", mesh.path().join("images").display());
    let versions: Vec<Vec<u8>> = (0..=SWAPS).map(|number| variant(&component, number)).collect();
    let mut known = vec![pushed_component(&push(&versions[0], &image))];
    mesh.join("echo-v1").await;
    mesh.join("client").await;
    let outbound = mesh.sidecar("client").outbound;
    runs(&mesh, &known[0]).await;

    // Every digest that will be pushed, so that the load can judge while they are.
    let digests_ahead: Arc<Vec<String>> = Arc::new(versions.iter().map(|version| digest_of(version)).collect());
    assert_eq!(digests_ahead[0], known[0]);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let start = |version| {
        let (all, newest) = (Arc::clone(&digests_ahead), Arc::clone(&acknowledged));
        let request = move |_| {
            let request = Request::get("http://echo:8080/load").body(Default::default()).unwrap();
            (request, newest.load(Ordering::SeqCst))
        };
        Load::start((outbound, version), 2, request, move |newest, answer| judge(&all, newest, answer))
    };
    let loads = [start(Version::Http1), start(Version::Http2)];

    for number in 1..=SWAPS {
        let held = hold(&mesh, &app).await;
        let old = known.last().unwrap().clone();
        let new = pushed_component(&push(&versions[usize::from(number)], &image));
        runs(&mesh, &new).await;
        acknowledged.store(usize::from(number), Ordering::SeqCst);
        // A request that starts now never meets the old one.
        let mut client = Client::new(outbound, Version::Http1);
        let answer = client.get("http://echo:8080/after").await.unwrap();
        assert_eq!(digests(&answer).unwrap(), (new.clone(), new.clone()), "swap {number}");
        // The exchange held open across the swap ends on the version on which it started.
        app.gate.add_permits(held.len());
        for exchange in held {
            let answer = exchange.await.unwrap().unwrap();
            assert_eq!(digests(&answer).unwrap(), (old.clone(), old.clone()), "held across swap {number}");
        }
        known.push(new);
    }
    for load in loads {
        load.stop().await.assert_clean(u64::from(SWAPS) * 5);
    }
}

type Held = tokio::task::JoinHandle<Result<Answer, String>>;

/// Two exchanges, on HTTP/1.1 and HTTP/2, that have reached the app and wait there.
async fn hold(mesh: &Mesh, app: &App) -> Vec<Held> {
    let outbound = mesh.sidecar("client").outbound;
    let waiting = || app.seen.lock().unwrap().iter().filter(|seen| seen.path.starts_with("/held")).count();
    app.seen.lock().unwrap().clear();
    let held = [Version::Http1, Version::Http2].map(|version| {
        tokio::spawn(async move { Client::new(outbound, version).get("http://echo:8080/held").await })
    });
    eventually_async("both held exchanges have reached the app", async || {
        if waiting() == 2 { Ok(()) } else { Err(waiting()) }
    })
    .await;
    held.into()
}

/// Waits until the client's sidecar runs this component.
async fn runs(mesh: &Mesh, component: &str) {
    let mut admin = Client::new(mesh.sidecar("client").admin, Version::Http1);
    let mut probe = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    eventually_async(&format!("the sidecar runs {component}"), async || {
        // The host is asked for by the first request.
        let _ = probe.get("http://echo:8080/probe").await;
        let filters = admin.get("/filters").await?.json();
        let ready = filters["filters"].as_array().into_iter().flatten().any(|filter| {
            filter["component"] == component && filter["state"] == "ready"
        });
        if ready { Ok(()) } else { Err(filters.to_string()) }
    })
    .await;
}

fn digest_of(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = "sha256:".to_owned();
    for byte in sha2_digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn sha2_digest(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
