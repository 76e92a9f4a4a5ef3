//! Who gets a certificate: join tokens and their misuse, renewal, and a root that changes under way.

use crate::support::sidecar::{Kept, presented_root, sign, sign_request};
use crate::support::{Mesh, eventually};
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use sha2::Digest as _;
use std::time::{Duration, SystemTime};
use tonic::Code;
use weft_controlplane::ca::{issuing_from, seconds};
use weft_controlplane::state::StateFolder;
use weft_controlplane::token::{Uses, create};
use weft_controlplane::{ControlPlane, Options, RotateOptions, rotate_root};
use weft_snapshot::{Labels, svid};

#[tokio::test]
async fn every_misuse_of_a_token_has_its_own_answer() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let elsewhere = Mesh::new();
    let hour = Duration::from_secs(3600);
    let now = seconds(SystemTime::now());
    let issuing = issuing_from(&StateFolder::open(&mesh.state()).unwrap(), now).unwrap();
    let expired = create(&issuing, &"default/reviews".parse().unwrap(), Uses::Once, hour, now - 7200).unwrap();
    let used = mesh.token("default/reviews");
    Kept::join(running.stream, &used, "default/reviews-v1").await.unwrap();
    let rows = [
        ("used", used, "default/reviews-v1", Code::PermissionDenied, "used already"),
        ("expired", expired, "default/reviews-v1", Code::PermissionDenied, "join token expired 36"),
        (
            "of another control plane",
            elsewhere.token("default/reviews"),
            "default/reviews-v1",
            Code::PermissionDenied,
            "not signed by this control plane",
        ),
        (
            "for another identity",
            mesh.token("default/ratings"),
            "default/reviews-v1",
            Code::PermissionDenied,
            "weft token create --for default/reviews",
        ),
        ("no token", "letmein".to_owned(), "default/reviews-v1", Code::PermissionDenied, "no join token"),
        (
            "nothing",
            String::new(),
            "default/reviews-v1",
            Code::Unauthenticated,
            "a join token or a current certificate",
        ),
        (
            "no workload",
            mesh.token("default/reviews"),
            "default/absent",
            Code::NotFound,
            "nor a WorkloadEntry default/absent",
        ),
    ];
    for (row, token, workload, code, words) in rows {
        let status = Kept::join(running.stream, &token, workload).await.err().unwrap();
        assert_eq!(status.code(), code, "{row}: {status:?}");
        assert!(status.message().contains(words), "{row}: {}", status.message());
    }
    // What was refused was not used up.
    let token = mesh.token("default/reviews");
    Kept::join(running.stream, &token, "default/ratings-v1").await.err().unwrap();
    Kept::join(running.stream, &token, "default/reviews-v1").await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_token_is_used_once_also_after_a_restart_and_a_reusable_one_often() {
    let mesh = Mesh::bookinfo();
    let once = mesh.token("default/reviews");
    let often = mesh.token_of("default/reviews", true);
    let key = KeyPair::generate().unwrap();
    for start in 0..2 {
        let running = mesh.start().await;
        // The same key may ask again: its answer may have been lost.
        sign(running.stream, None, &key, &once, "default/reviews-v1").await.unwrap();
        let other = Kept::join(running.stream, &once, "default/reviews-v1").await;
        assert_eq!(other.err().map(|status| status.code()), Some(Code::PermissionDenied), "start {start}");
        Kept::join(running.stream, &often, "default/reviews-v1").await.unwrap();
        running.stop().await;
    }
}

#[tokio::test]
async fn what_a_request_says_of_its_sender_must_be_true() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let own = "spiffe://cluster.local/ns/default/sa/reviews";
    let uri = |id: &str| SanType::URI(id.try_into().unwrap());
    let labels = Labels { workload: "ratings-v1".to_owned(), ..Labels::default() };
    let labelled = CustomExtension::from_oid_content(svid::LABELS_OID, svid::encode_labels(&labels));
    let rows = [
        ("no name", vec![], vec![], None),
        ("its own", vec![uri(own)], vec![], None),
        (
            "another's",
            vec![uri("spiffe://cluster.local/ns/default/sa/ratings")],
            vec![],
            Some("the request names spiffe:"),
        ),
        (
            "its own and another's",
            vec![uri(own), uri("spiffe://x/ns/a/sa/b")],
            vec![],
            Some("names spiffe://x/ns/a/sa/b"),
        ),
        ("labels", vec![], vec![labelled], Some("the certificate request cannot be used")),
    ];
    for (row, names, extensions, refusal) in rows {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        (params.subject_alt_names, params.custom_extensions) = (names, extensions);
        let csr = params.serialize_request(&key).unwrap().der().to_vec();
        let asked = sign_request(running.stream, csr, &mesh.token("default/reviews"), "default/reviews-v1").await;
        match (asked, refusal) {
            (Ok(_), None) => {}
            (Err(status), Some(words)) => assert!(status.message().contains(words), "{row}: {}", status.message()),
            (asked, _) => panic!("{row}: {:?}", asked.map(|_| "signed")),
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn a_current_certificate_renews_itself_and_no_other() {
    let mesh = Mesh::bookinfo();
    let running = mesh.start().await;
    let mut kept = Kept::join(running.stream, &mesh.token("default/reviews"), "default/reviews-v1").await.unwrap();
    let first = kept.signed.chain.clone();
    kept.renew(running.stream).await.unwrap();
    assert_ne!(kept.signed.chain, first);
    let stolen = Kept { workload: "default/ratings-v1".to_owned(), ..kept.clone() };
    let refused = stolen.clone().renew(running.stream).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    kept.connect(running.stream, &[]).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_control_plane_with_another_root_believes_nobody() {
    let (mesh, other) = (Mesh::bookinfo(), Mesh::bookinfo());
    let (running, foreign) = (mesh.start().await, other.start().await);
    let kept = Kept::join(running.stream, &mesh.token("default/reviews"), "default/reviews-v1").await.unwrap();
    let refused = kept.connect(foreign.stream, &[]).await.err().unwrap();
    // The alert arrives after the client's own half of the handshake: at the first answer, or already before.
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown), "the handshake fails: {refused:?}");
    assert!(format!("{refused:?}").contains("alert") || format!("{refused:?}").contains("transport"), "{refused:?}");
    running.stop().await;
    foreign.stop().await;
}

#[tokio::test]
async fn the_mesh_object_names_the_trust_domain() {
    let mesh = Mesh::bookinfo();
    let early = mesh.token("default/reviews");
    mesh.write(
        "mesh.yaml",
        "apiVersion: weft.dev/v1alpha1\nkind: Mesh\nmetadata: {name: mesh}\nspec: {trustDomain: shop.example}\n",
    );
    let running = mesh.start().await;
    let refused = Kept::join(running.stream, &early, "default/reviews-v1").await.err().unwrap();
    assert!(refused.message().contains("trust domain cluster.local, and this mesh is shop.example"), "{refused:?}");
    let kept = Kept::join(running.stream, &mesh.token("default/reviews"), "default/reviews-v1").await.unwrap();
    assert_eq!(kept.signed.trust_domain, "shop.example");
    let mut sidecar = kept.connect(running.stream, &[]).await.unwrap();
    let snapshot = sidecar.update().await;
    assert_eq!(snapshot.workload().unwrap().identity.as_str(), "spiffe://shop.example/ns/default/sa/reviews");
    running.stop().await;
}

#[tokio::test]
async fn a_root_changes_and_nobody_is_cut_off() {
    let mesh = Mesh::bookinfo();
    // In which a rotation is heard of, shown to be pending, and answered, while the other tests have the cores too.
    let life = Duration::from_secs(8);
    let options = Options { svid_life: life, ..mesh.options() };
    let running = ControlPlane::start(&options).await.unwrap();
    let kept = Kept::join(running.stream, &mesh.token("default/reviews"), "default/reviews-v1").await.unwrap();
    let mut sidecar = kept.connect(running.stream, &["ratings"]).await.unwrap();
    let old = sidecar.update().await.trust().unwrap().clone();
    rotate_root(&RotateOptions { state: Some(mesh.state()) }).unwrap();
    let both = sidecar.until("two roots", |snapshot| snapshot.trust().unwrap().roots.len() == 2).await;
    let both = both.trust().unwrap().clone();
    assert_eq!((&both.roots[0], both.signers.len()), (&old.roots[0], 2));
    assert_eq!(presented_root(running.stream).await, <[u8; 32]>::from(sha2::Sha256::digest(&old.roots[0])));
    sidecar.kept.renew(running.stream).await.unwrap();
    let new = sidecar.until("one root", |snapshot| snapshot.trust().unwrap().roots.len() == 1).await;
    assert_eq!(new.trust().unwrap().roots, both.roots[1..]);
    assert_eq!(presented_root(running.stream).await, <[u8; 32]>::from(sha2::Sha256::digest(&both.roots[1])));
    let joined = Kept::join(running.stream, &mesh.token("default/ratings"), "default/ratings-v1").await.unwrap();
    joined.connect(running.stream, &[]).await.unwrap();
    eventually(running.status, "one root", |report| report.authority.roots.len() == 1).await;
    running.stop().await;
}
