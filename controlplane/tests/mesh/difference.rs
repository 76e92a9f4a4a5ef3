//! By difference: a change costs what it says, and nothing to those whom it does not concern.

use crate::support::process::Process;
use crate::support::sidecar::{Kept, Sidecar};
use crate::support::{Mesh, service, virtual_service};
use prost::Message as _;
use std::net::SocketAddr;
use std::time::Instant;

const SERVICES: usize = 1000;

fn thousand() -> Mesh {
    let mesh = Mesh::new();
    for index in 0..SERVICES {
        let name = format!("s{index:04}");
        let text = format!("{}---\n{}", service(&name, 9080), virtual_service(&name, "0"));
        mesh.write(&format!("{name}.yaml"), &text);
    }
    mesh
}

async fn join(mesh: &Mesh, at: SocketAddr, name: &str, hosts: &[&str]) -> Sidecar {
    let token = mesh.token(&format!("default/{name}"));
    let kept = Kept::join(at, &token, &format!("default/{name}-v1")).await.unwrap();
    kept.connect(at, hosts).await.unwrap()
}

#[tokio::test]
async fn a_changed_rule_costs_its_users_little_and_others_nothing() {
    let mesh = thousand();
    let running = mesh.start().await;
    let mut user = join(&mesh, running.stream, "s0001", &["s0500", "s0501"]).await;
    let mut other = join(&mesh, running.stream, "s0002", &["s0600", "s0601"]).await;
    user.update().await;
    other.update().await;
    let (user_before, other_before) = (user.bytes, other.bytes);
    let name = "s0500";
    mesh.write(&format!("{name}.yaml"), &format!("{}---\n{}", service(name, 9080), virtual_service(name, "1")));
    let started = Instant::now();
    user.update().await;
    println!("the change arrived after {:?}", started.elapsed());
    let cost = user.bytes - user_before;
    assert!(cost <= 4096, "{cost} bytes to a user of the changed rule");
    // The other's next update is about something later, so there was none in between.
    other.subscribe(&["s0700"], &[]).await;
    let snapshot = other.update().await;
    assert_eq!(snapshot.services().count(), 3);
    let first = snapshot.services().find(|service| service.name.as_str().starts_with("s0700"));
    assert!(first.is_some());
    assert!(other.bytes - other_before <= 4096, "{} bytes for one more service", other.bytes - other_before);
    running.stop().await;
}

#[tokio::test]
async fn a_reconnect_after_a_kill_costs_next_to_nothing() {
    let mesh = Mesh::bookinfo();
    mesh.write("route.yaml", &virtual_service("reviews", "1"));
    let process = Process::start(&mesh);
    let at = process.stream;
    let _server = join(&mesh, at, "reviews", &[]).await;
    let mut sidecar = join(&mesh, at, "productpage", &["reviews", "ratings"]).await;
    sidecar.update().await;
    let kept = sidecar.kept.clone();
    drop(process);
    let process = Process::start(&mesh);
    let at = process.stream;
    let mut again = kept.clone().connect(at, &["reviews", "ratings"]).await.unwrap();
    let update = again.receive().await.unwrap();
    assert_eq!(update.base, kept.ledger.revision());
    assert_eq!(update.revision, kept.ledger.revision(), "the same revision after a restart, whoever is connected");
    assert!(update.encoded_len() <= 1024, "{} bytes", update.encoded_len());
    again.ack(&update.revision).await;
    // What changes while it is down arrives when it is back.
    drop(process);
    mesh.write("route.yaml", &virtual_service("reviews", "2"));
    let process = Process::start(&mesh);
    let at = process.stream;
    let mut later = kept.clone().connect(at, &["reviews", "ratings"]).await.unwrap();
    let update = later.receive().await.unwrap();
    assert_eq!(update.set.len(), 1, "the one service whose rule changed");
    drop(process);
}
