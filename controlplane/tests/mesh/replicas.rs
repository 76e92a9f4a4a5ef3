//! A replica that starts takes over what another has of filters; nobody else can ask for that.

use crate::filters::{filter, join, push, rule};
use crate::support::process::Process;
use crate::support::sidecar::stock_as;
use crate::support::{Mesh, eventually};
use std::fs;
use tonic::Code;

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
    let other = Mesh::bookinfo();
    other.write("filters.yaml", rule());
    fs::create_dir(other.state()).unwrap();
    fs::set_permissions(other.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::copy(mesh.state().join("authority.json"), other.state().join("authority.json")).unwrap();
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
