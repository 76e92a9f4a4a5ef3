//! A replica that starts takes over what another has of filters, and tells of its proxies; nobody else can ask for that.

use crate::filters::{filter, join, push, rule};
use crate::support::process::Process;
use crate::support::sidecar::{Kept, stock_as};
use crate::support::{Mesh, eventually};
use std::fs;
use tonic::Code;
use weft_controlplane::status::{ProxyState, fetch};

#[tokio::test]
async fn a_replica_serves_filters_whose_image_is_gone() {
    let mesh = Mesh::bookinfo();
    mesh.write("filters.yaml", rule());
    Box::pin(push(&mesh, "v1=90,v2=10")).await;
    let first = Process::start(&mesh);
    eventually(first.status, "the filter runs", |report| report.filters.iter().any(|f| f.running.is_some())).await;
    let mut user = join(&mesh, &first, "productpage", &["reviews"]).await;
    user.update().await;
    let told = filter(&user).expect("the rule's filter");

    // The same CA and the same configuration, and no image anywhere.
    let other = sharing_the_ca(&mesh);
    other.write("filters.yaml", rule());
    let second = Process::start_with(&other, &["--replicas", &first.stream.to_string()]);
    let mut again = join(&other, &second, "productpage", &["reviews"]).await;
    again.update().await;
    assert_eq!(filter(&again).as_ref(), Some(&told), "the same component and artifact");
    let artifact = told.artifact.expect("compiled");
    assert!(again.fetch(&artifact.to_string()).await.unwrap().iter().map(|chunk| chunk.data.len()).sum::<usize>() > 0);
    let revision = user.kept.ledger.revision();
    assert_eq!(again.kept.ledger.revision(), revision, "any replica tells a proxy the same");

    let refused = stock_as(second.stream, &again.kept).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("for replicas of the control plane"), "{}", refused.message());

    // Without another replica there is nothing to run.
    let alone = Mesh::bookinfo();
    alone.write("filters.yaml", rule());
    let third = Process::start(&alone);
    let report = eventually(third.status, "it was tried", |report| {
        report.filters.iter().any(|filter| filter.progress == "settled")
    })
    .await;
    assert!(report.filters[0].running.is_none(), "{:?}", report.filters);
}

fn sharing_the_ca(mesh: &Mesh) -> Mesh {
    let other = Mesh::bookinfo();
    fs::create_dir(other.state()).unwrap();
    fs::set_permissions(other.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::copy(mesh.state().join("authority.json"), other.state().join("authority.json")).unwrap();
    other
}

#[tokio::test]
async fn any_replica_tells_of_the_proxies_of_all() {
    let mesh = Mesh::bookinfo();
    let first = Process::start(&mesh);
    let other = sharing_the_ca(&mesh);
    let second = Process::start_with(&other, &["--replicas", &first.stream.to_string()]);
    let mut connected = Vec::new();
    for (mesh, at, name) in [(&mesh, first.stream, "reviews"), (&other, second.stream, "ratings")] {
        let token = mesh.token(&format!("default/{name}"));
        let kept = Kept::join(at, &token, &format!("default/{name}-v1")).await.unwrap();
        let mut sidecar = kept.connect(at, &[]).await.unwrap();
        sidecar.update().await;
        connected.push(sidecar);
    }
    let current = |proxies: &[(String, ProxyState)]| -> Vec<String> {
        proxies.iter().filter(|(_, state)| *state == ProxyState::Current).map(|(name, _)| name.clone()).collect()
    };
    let own = fetch(&first.status.to_string()).await.unwrap();
    assert_eq!(current(&states(&own)), ["default/reviews-v1"], "the first knows of no other replica");
    let report = eventually(second.status, "both acknowledge", |report| current(&states(report)).len() == 2).await;
    assert_eq!(current(&states(&report)), ["default/ratings-v1", "default/reviews-v1"]);
    drop(first);
    eventually(second.status, "the other's proxies go with it", |report| {
        current(&states(report)) == ["default/ratings-v1"]
    })
    .await;
}

fn states(report: &weft_controlplane::status::Report) -> Vec<(String, ProxyState)> {
    report.proxies.iter().map(|proxy| (proxy.workload.clone(), proxy.state)).collect()
}
