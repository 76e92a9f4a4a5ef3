//! Filters on their way to a sidecar: named by a rule, compiled, signed, fetched; and a tag that moves.

use crate::support::process::Process;
use crate::support::sidecar::{Kept, Sidecar};
use crate::support::{Mesh, eventually};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use sha2::Digest as _;
use std::path::Path;
use tonic::Code;
use weft_filter_build::{BuildOptions, CargoOutput, build};
use weft_oci::{Artifact, Images, Limits, Reference, Registries};
use weft_snapshot::{Digest, Filter};
use weft_wire::{CHUNK_BYTES_MAX, artifact_payload};

const MESH: &str = "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: policy}
spec: {image: 'oci-layout:../images:1', refresh: 1s, config: {}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - filters: [{name: policy}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v2}, weight: 50}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v1}}]}
";

pub(crate) fn rule() -> &'static str {
    MESH
}

/// A canary with these weights under the tag `1` of an image layout beside the mesh's folder.
pub(crate) async fn push(mesh: &Mesh, weights: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filters/canary");
    let env = vec![("WEFT_CANARY_SUBSETS".to_owned(), weights.to_owned())];
    let options = BuildOptions { cargo_output: CargoOutput::Kept, env, ..BuildOptions::default() };
    let built = tokio::task::spawn_blocking(move || build(&folder, &options)).await.unwrap().unwrap();
    let reference: Reference = format!("oci-layout:{}:1", mesh.path().join("images").display()).parse().unwrap();
    let artifact = Artifact { component: built.component, annotations: Default::default() };
    Images::new(Registries::default(), Limits::default()).push(&reference, artifact).await.unwrap();
}

pub(crate) async fn join(mesh: &Mesh, process: &Process, name: &str, hosts: &[&str]) -> Sidecar {
    let token = mesh.token(&format!("default/{name}"));
    let kept = Kept::join(process.stream, &token, &format!("default/{name}-v1")).await.unwrap();
    let key = weft_filter_host::artifact_key();
    let hello = weft_wire::proto::Hello { artifact_key: key, ..kept.hello(hosts) };
    kept.connect_with(process.stream, hello).await.unwrap()
}

pub(crate) fn filter(sidecar: &Sidecar) -> Option<Filter> {
    sidecar.snapshot().filters().next().cloned()
}

/// Fetches as a proxy does: whole, with the right digest, signed.
async fn fetch(sidecar: &Sidecar, artifact: Digest) {
    let chunks = sidecar.fetch(&artifact.to_string()).await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.data.len() <= CHUNK_BYTES_MAX));
    let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.data.clone()).collect();
    assert_eq!(Digest(sha2::Sha256::digest(&bytes).into()), artifact);
    let payload = artifact_payload(&weft_filter_host::artifact_key(), &artifact);
    let signer = UnparsedPublicKey::new(&ED25519, &sidecar.kept.signed.signers[0]);
    signer.verify(&payload, &chunks[0].signature).unwrap();
}

#[tokio::test]
async fn a_filter_reaches_those_whose_rules_name_it_and_a_moved_tag_is_an_update() {
    let mesh = Mesh::bookinfo();
    Box::pin(push(&mesh, "v1=90,v2=10")).await;
    let process = Process::start(&mesh);
    let mut user = join(&mesh, &process, "productpage", &["reviews"]).await;
    user.update().await;
    let other = join(&mesh, &process, "ratings", &[]).await;
    mesh.write("filters.yaml", MESH);
    user.update().await;
    let first = filter(&user).expect("the rule's filter");
    let artifact = first.artifact.expect("it was compiled before the rule was sent out");
    fetch(&user, artifact).await;
    let refused = other.fetch(&artifact.to_string()).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "no snapshot of the other names it");
    Box::pin(push(&mesh, "v1=10,v2=90")).await;
    user.until("the other component", |snapshot| {
        snapshot.filters().any(|filter| filter.component.is_some() && filter.component != first.component)
    })
    .await;
    let second = filter(&user).and_then(|filter| filter.artifact).expect("compiled too");
    fetch(&user, second).await;
    let report = eventually(process.status, "both digests", |report| {
        report.filters.iter().any(|filter| filter.running.is_some() && filter.before.is_some())
    })
    .await;
    assert_ne!(report.filters[0].running, report.filters[0].before);
    // After a restart the sidecar is told the same, at once.
    let held = user.kept.clone();
    drop(process);
    let process = Process::start(&mesh);
    let hello = weft_wire::proto::Hello { artifact_key: weft_filter_host::artifact_key(), ..held.hello(&["reviews"]) };
    let mut again = held.clone().connect_with(process.stream, hello).await.unwrap();
    assert_eq!(again.receive().await.unwrap().revision, held.ledger.revision());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_first_that_a_sidecar_on_another_processor_hears_has_its_filters() {
    let mesh = Mesh::bookinfo();
    Box::pin(push(&mesh, "v1=90,v2=10")).await;
    mesh.write("filters.yaml", MESH);
    let process = Process::start(&mesh);
    let mut own = join(&mesh, &process, "productpage", &["reviews"]).await;
    own.update().await;
    let other = weft_filter_host::compile::keys().into_iter().nth(1).expect("a second key");
    let token = mesh.token("default/ratings");
    let kept = Kept::join(process.stream, &token, "default/ratings-v1").await.unwrap();
    let hello = weft_wire::proto::Hello { artifact_key: other, ..kept.hello(&["reviews"]) };
    let mut sidecar = kept.connect_with(process.stream, hello).await.unwrap();
    sidecar.update().await;
    let (here, there) = (filter(&own).expect("the rule's"), filter(&sidecar).expect("the rule's"));
    assert_eq!(here.component, there.component);
    assert!(there.artifact.is_some() && there.artifact != here.artifact, "{here:?} {there:?}");
}
