//! Filters are replaced under load, and no exchange notices: it ends on the version on which it started.
#![allow(clippy::unwrap_used)]

use http::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weft_tests::yaml::{STRICT, caller, service, subsets, virtual_service, workload};
use weft_tests::{
    Answer, App, Client, Load, Mesh, MeshOptions, Version, eventually_async, filter_component_with, push,
    pushed_component, variant,
};

const SWAPS: u8 = 20;

const FILTER: &str = "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: canary}
spec:
  image: oci-layout:../images:1
  refresh: 1s
  config: {stickyBy: {cookie: user}}
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
    if answer.status != 200 || !answer.header("set-cookie").starts_with("user=") {
        return Err(format!("{} with cookie {:?}: {}", answer.status, answer.header("set-cookie"), answer.text()));
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
    let chat = App::raw(|mut stream, _| async move {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    // Neighbours differ in their code, and all in their digest.
    let builds =
        ["v1=1", "v1=2"].map(|weights| filter_component_with("filters/canary", &[("WEFT_CANARY_SUBSETS", weights)]));
    let route = "  - filters: [{name: canary}]\n    retries: {attempts: 0}\n    route: [{destination: {host: echo, subset: v1}}]";
    let yaml = [
        STRICT.to_owned(),
        caller("client"),
        service("echo", "http"),
        workload("echo", "v1", "http", app.address),
        subsets("echo", &["v1"]),
        FILTER.to_owned(),
        virtual_service("echo", route),
        service("chat", "http"),
        workload("chat", "v1", "http", chat.address),
        subsets("chat", &["v1"]),
        virtual_service("chat", &route.replace("echo", "chat")),
    ];
    let mut mesh =
        Mesh::start(&yaml.concat(), MeshOptions { sidecar: vec!["--filter-header".into()], ..Default::default() });
    let image = format!("oci-layout:{}:1", mesh.path().join("images").display());
    let versions: Vec<Vec<u8>> = (0..=SWAPS).map(|number| variant(&builds[usize::from(number % 2)], number)).collect();
    let mut known = vec![pushed_component(&push(&versions[0], &image))];
    for name in ["echo-v1", "chat-v1", "client"] {
        mesh.join(name).await;
    }
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
    let mut stream = long_stream(&mesh).await;

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
        stream.write_all(&[number]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), number, "the one stream lives across swap {number}");
        known.push(new);
    }
    for load in loads {
        load.made(500).await;
        load.stop().await.assert_clean(500);
    }
}

/// An upgraded connection through the filter, which then carries bytes for as long as the test runs.
async fn long_stream(mesh: &Mesh) -> TcpStream {
    let mut stream = TcpStream::connect(mesh.sidecar("client").outbound).await.unwrap();
    let request = "GET http://chat:8080/ HTTP/1.1\r\nhost: chat:8080\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

type Held = tokio::task::JoinHandle<Result<Answer, String>>;

/// Two exchanges, on HTTP/1.1 and HTTP/2, that have reached the app and wait there.
async fn hold(mesh: &Mesh, app: &App) -> Vec<Held> {
    let outbound = mesh.sidecar("client").outbound;
    let waiting = || app.seen.lock().unwrap().iter().filter(|seen| seen.path.starts_with("/held")).count();
    app.seen.lock().unwrap().clear();
    let held = [Version::Http1, Version::Http2]
        .map(|version| tokio::spawn(async move { Client::new(outbound, version).get("http://echo:8080/held").await }));
    eventually_async(
        "both held exchanges have reached the app",
        async || {
            if waiting() == 2 { Ok(()) } else { Err(waiting()) }
        },
    )
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
        let ready = filters["filters"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|filter| filter["component"] == component && filter["state"] == "ready");
        if ready { Ok(()) } else { Err(format!("{filters}, by {}", mesh.status().await["filters"])) }
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
