//! The stream from a sidecar's side: what it is told, when, and in how many bytes.

use crate::support::sidecar::{Kept, stream_unknown};
use crate::support::{Mesh, eventually, service, virtual_service};
use tonic::Code;
use weft_controlplane::ControlPlane;
use weft_controlplane::status::{ObjectState, ProxyState};
use weft_snapshot::{Key, Snapshot};

const REVIEWS: &str = "reviews.default.svc.cluster.local";

/// The header that the rule for `host` sets.
fn header(snapshot: &Snapshot, host: &str) -> Option<String> {
    let service = snapshot.services().find(|service| service.name.as_str() == host)?;
    let rule = service.rules.first()?;
    rule.headers.request.set.first().map(|(_, value)| value.clone())
}

/// `mtls ADDRESS` or `plain ADDRESS` of each endpoint of `host`.
fn endpoints(snapshot: &Snapshot, host: &str) -> Vec<String> {
    let backend = format!("outbound|9080||{host}").parse().unwrap();
    let text = |endpoint: &weft_snapshot::Endpoint| {
        let weft_snapshot::Dial::Address(address) = &endpoint.dial else { return "name".to_owned() };
        format!("{} {address}", if endpoint.tls.is_some() { "mtls" } else { "plain" })
    };
    snapshot.endpoints(&backend).iter().map(text).collect()
}

async fn join(mesh: &Mesh, running: &ControlPlane, name: &str) -> Kept {
    let token = mesh.token(&format!("default/{name}"));
    Kept::join(running.stream, &token, &format!("default/{name}-v1")).await.unwrap()
}

#[tokio::test]
async fn a_sidecar_joins_subscribes_and_sees_a_change() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let kept = join(&mesh, &running, "productpage").await;
    let mut sidecar = kept.connect(running.stream, &[]).await.unwrap();
    assert_eq!(sidecar.welcome.level, weft_wire::LEVEL);
    let first = sidecar.update().await;
    assert_eq!(first.workload().unwrap().identity.as_str(), "spiffe://cluster.local/ns/default/sa/productpage");
    assert_eq!(first.trust().unwrap().roots, sidecar.kept.signed.roots);
    assert_eq!(first.services().count(), 0, "it asked for nothing");
    sidecar.subscribe(&["reviews", "nowhere.example"], &[]).await;
    let second = sidecar.update().await;
    let answer = |host: &str| match second.get(&Key::Answer(host.parse().unwrap())) {
        Some(weft_snapshot::Resource::Answer(answer)) => answer.service.as_ref().map(|host| host.to_string()),
        other => panic!("{host}: {other:?}"),
    };
    assert_eq!((answer("reviews").as_deref(), answer("nowhere.example")), (Some(REVIEWS), None));
    assert_eq!(endpoints(&second, REVIEWS), ["plain 127.0.0.1:9080"]);
    mesh.write("route.yaml", &virtual_service("reviews", "one"));
    let third = sidecar.until("the rule", |snapshot| header(snapshot, REVIEWS).is_some()).await;
    assert_eq!(header(&third, REVIEWS).as_deref(), Some("one"));
    sidecar.subscribe(&[], &["reviews"]).await;
    let fourth = sidecar.update().await;
    assert_eq!(fourth.services().count(), 0);
    running.stop().await;
}

#[tokio::test]
async fn a_broken_object_keeps_its_last_good_version() {
    let mesh = Mesh::bookinfo();
    mesh.write("route.yaml", &virtual_service("reviews", "good"));
    let running = mesh.start().await;
    let mut sidecar = join(&mesh, &running, "productpage").await.connect(running.stream, &["reviews"]).await.unwrap();
    let snapshot = sidecar.update().await;
    assert_eq!(header(&snapshot, REVIEWS).as_deref(), Some("good"));
    mesh.write("route.yaml", &virtual_service("reviews", "bad").replace("hosts", "hots"));
    let report = eventually(running.status, "a problem", |report| !report.problems.is_empty()).await;
    let object = report.configuration.objects.iter().find(|object| object.kind == "VirtualService").unwrap();
    assert_eq!(object.state, ObjectState::LastGood);
    assert!(report.problems.iter().any(|p| p.file.ends_with("route.yaml") && p.field.contains("hots")));
    let bytes = sidecar.bytes;
    mesh.write("route.yaml", &virtual_service("reviews", "better"));
    let snapshot = sidecar.update().await;
    assert_eq!(header(&snapshot, REVIEWS).as_deref(), Some("better"), "the very next update, nothing in between");
    assert!(sidecar.bytes > bytes);
    running.stop().await;
}

#[tokio::test]
async fn a_joined_workload_is_never_plain_text_again() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let mut caller = join(&mesh, &running, "productpage").await.connect(running.stream, &["reviews"]).await.unwrap();
    assert_eq!(endpoints(&caller.update().await, REVIEWS), ["plain 127.0.0.1:9080"]);
    let kept = join(&mesh, &running, "reviews").await;
    let mut server = kept.clone().connect(running.stream, &[]).await.unwrap();
    server.update().await;
    assert_eq!(endpoints(&caller.update().await, REVIEWS), ["mtls 127.0.0.1:40000"]);
    // A stream that is lost changes nothing.
    drop(server);
    eventually(running.status, "the sidecar is away", |report| {
        report.proxies.iter().any(|p| p.workload == "default/reviews-v1" && p.state == ProxyState::Away)
    })
    .await;
    // One that leaves is drained, and comes back with another address.
    let server = kept.clone().connect(running.stream, &[]).await.unwrap();
    server.leave().await;
    assert_eq!(endpoints(&caller.update().await, REVIEWS), Vec::<String>::new());
    drop(server);
    let hello = weft_wire::proto::Hello { inbound_address: "127.0.0.1:40001".to_owned(), ..kept.hello(&[]) };
    let _server = kept.connect_with(running.stream, hello).await.unwrap();
    assert_eq!(endpoints(&caller.update().await, REVIEWS), ["mtls 127.0.0.1:40001"]);
    running.stop().await;
}

#[tokio::test]
async fn a_refused_update_shows_in_status_and_the_next_builds_on_the_last_good() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let mut sidecar = join(&mesh, &running, "productpage").await.connect(running.stream, &["reviews"]).await.unwrap();
    sidecar.update().await;
    mesh.write("route.yaml", &virtual_service("reviews", "one"));
    let refused = sidecar.receive().await.unwrap();
    sidecar.nack(&refused.revision, "filter canary cannot be prepared").await;
    let report = eventually(running.status, "the refusal", |report| report.proxies[0].refused.is_some()).await;
    assert_eq!(report.proxies[0].state, ProxyState::Refused);
    assert_eq!(report.proxies[0].refused.as_ref().unwrap().problems, ["filter canary cannot be prepared"]);
    mesh.write("route.yaml", &virtual_service("reviews", "two"));
    let snapshot = sidecar.update().await;
    assert_eq!(header(&snapshot, REVIEWS).as_deref(), Some("two"));
    eventually(running.status, "all is well", |report| report.proxies[0].state == ProxyState::Current).await;
    running.stop().await;
}

#[tokio::test]
async fn who_may_open_a_stream() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    assert_eq!(stream_unknown(running.stream).await.code(), Code::Unauthenticated);
    let kept = join(&mesh, &running, "productpage").await;
    let hello = |workload: &str, level: u32| weft_wire::proto::Hello {
        workload: workload.to_owned(),
        level,
        ..kept.hello(&[])
    };
    let rows = [
        ("another's workload", hello("default/reviews-v1", 1), Code::PermissionDenied, "join with a token for it"),
        ("no such workload", hello("default/absent", 1), Code::NotFound, "nor a WorkloadEntry default/absent"),
        ("no workload at all", hello("absent", 1), Code::InvalidArgument, "NAMESPACE/NAME"),
        ("an old level", hello("default/productpage-v1", 0), Code::FailedPrecondition, "upgrade the proxy"),
    ];
    for (row, hello, code, words) in rows {
        let status = kept.clone().connect_with(running.stream, hello).await.err().unwrap();
        assert_eq!(status.code(), code, "{row}: {status:?}");
        assert!(status.message().contains(words), "{row}: {}", status.message());
    }
    let newer = kept.clone().connect_with(running.stream, hello("default/productpage-v1", 9)).await.unwrap();
    assert_eq!(newer.welcome.level, weft_wire::LEVEL, "a newer proxy speaks our level");
    let mut older = newer;
    older.update().await;
    let _newest = kept.connect(running.stream, &[]).await.unwrap();
    assert_eq!(older.ended().await.code(), Code::Aborted, "one stream for one workload");
    let unknown = older.fetch(&format!("sha256:{}", "0".repeat(64))).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "an artifact that no snapshot of it names");
    running.stop().await;
}

#[tokio::test]
async fn a_workload_that_goes_and_comes_back() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let mut sidecar = join(&mesh, &running, "productpage").await.connect(running.stream, &["ratings"]).await.unwrap();
    sidecar.update().await;
    mesh.remove("ratings.yaml");
    let gone = sidecar.update().await;
    assert_eq!(gone.services().count(), 0);
    mesh.write("again.yaml", &service("ratings", 9081));
    let back = sidecar.update().await;
    assert_eq!(endpoints(&back, "ratings.default.svc.cluster.local"), ["plain 127.0.0.1:9081"]);
    mesh.remove("productpage.yaml");
    assert_eq!(sidecar.ended().await.code(), Code::NotFound, "its own entry is gone for good");
    running.stop().await;
}

#[tokio::test]
async fn what_people_and_prometheus_are_shown() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let mut sidecar = join(&mesh, &running, "productpage").await.connect(running.stream, &["reviews"]).await.unwrap();
    sidecar.update().await;
    eventually(running.status, "the ack", |report| report.proxies[0].state == ProxyState::Current).await;
    let get = async |path: &str| {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(running.status).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let rows = [
        ("/ready", "200 OK", "ready"),
        ("/metrics", "200 OK", "pilot_xds{version="),
        ("/metrics", "200 OK", "pilot_xds_pushes{type=\"weft\"} 1"),
        ("/metrics", "200 OK", "citadel_server_success_cert_issuance_count 1"),
        ("/metrics", "200 OK", "pilot_services 3"),
        ("/status", "200 OK", "\"workload\":\"default/productpage-v1\""),
        ("/other", "404 Not Found", "/status"),
    ];
    for (path, status, words) in rows {
        let answer = get(path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains(words), "{path} without {words}: {answer}");
    }
    let options = weft_controlplane::status::StatusOptions {
        at: running.status.to_string(),
        output: weft_controlplane::status::Output::Text,
    };
    let page = weft_controlplane::status::show(&options).await.unwrap();
    assert!(page.contains("default/productpage-v1  current"), "{page}");
    let at = running.status;
    running.stop().await;
    let stopped = weft_controlplane::status::show(&options).await.unwrap_err().to_string();
    assert!(stopped.contains(&format!("no control plane answers at {at}")), "{stopped}");
}
