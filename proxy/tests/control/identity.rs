//! Joining and renewal: who is believed, what is refused, and that nothing breaks meanwhile.

use super::plane::{Authority, Plane, WORKLOAD};
use super::proxy::{Proxy, options, wait};
use super::{joined, snapshot};
use std::time::Duration;
use tonic::Status;
use weft_proxy::control::{Link, StartError};
use weft_wire::proto::SignResponse;

const ID: &str = "spiffe://mesh.test/ns/default/sa/reviews";

#[test]
fn a_proxy_joins_and_serves() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let told = snapshot(&plane.authority, &[]);
    let proxy = joined(state.path(), &plane, &told);
    {
        let facts = plane.facts();
        assert_eq!(facts.signs.len(), 1);
        assert!(facts.signs[0].token.starts_with("weft1:") && facts.signs[0].peer.is_none(), "joined by the token");
        let (hello, peer) = &facts.hellos[0];
        assert_eq!(peer.as_deref(), Some(ID), "the stream is opened with the SVID");
        assert_eq!((hello.workload.as_str(), hello.inbound_address.as_str()), (WORKLOAD, "127.0.0.1:4444"));
        assert_eq!((hello.level, hello.artifact_key.as_str()), (weft_wire::LEVEL, "test-engine"));
        assert!(hello.held.is_empty() && facts.answers[0].base.is_empty());
    }
    assert_eq!(proxy.cell.load().unwrap().id.as_str(), ID);
    assert_eq!(proxy.published().len(), 1);
    assert_eq!(proxy.last().unwrap().snapshot, told);
    let facts = proxy.facts();
    assert!(matches!(&facts.link, Link::Connected { current: true, .. }), "{:?}", facts.link);
    assert_eq!((facts.revision.as_str(), facts.updates_applied), (weft_wire::revision(&told).as_str(), 1));
    assert!(facts.svid_expires.is_some() && facts.nack.is_none() && facts.identity_problem.is_none());
    for name in ["identity.pem", "trust.pem", "snapshot", "inbound"] {
        wait(name, || state.path().join(name).is_file());
    }
}

#[test]
fn who_must_not_be_believed_is_not() {
    type Setup = fn(&Plane);
    let other = Authority::new();
    let account = "spiffe://mesh.test/ns/default/sa/reviews";
    let own = "spiffe://mesh.test/ns/weft-system/sa/weft-controlplane";
    let foreign = "spiffe://other.test/ns/weft-system/sa/weft-controlplane";
    let nothing: Setup = |_| {};
    let refusal: Setup = |plane| plane.facts().sign_refusal = Some(Status::permission_denied("the token was used"));
    let another: Setup = |plane| plane.facts().sign_as = Some("spiffe://mesh.test/ns/default/sa/ratings".to_owned());
    let cases = [
        ("a control plane with another root", Some(&other), own, nothing, "not have a root that the join token names"),
        ("a workload in the control plane's place", None, account, nothing, "it is spiffe://mesh.test/ns/default"),
        ("another trust domain", None, foreign, nothing, "it is spiffe://other.test"),
        ("a token that was used", None, own, refusal, "the token was used"),
        ("an SVID for somebody else", None, own, another, "gave the identity spiffe://mesh.test/ns/default/sa/ratings"),
    ];
    type Edit = fn(&mut SignResponse, &Authority);
    let edits: [(&str, Edit, &str); 7] = [
        (
            "an SVID for another key",
            |answer, authority| {
                let key = rcgen::KeyPair::generate().unwrap();
                answer.chain = vec![authority.issue(ID, &key, Duration::from_secs(9)).to_vec()];
            },
            "for another key",
        ),
        (
            "roots without the token's",
            |answer, _| answer.roots = vec![Authority::new().root.to_vec()],
            "is among its roots",
        ),
        ("no roots", |answer, _| answer.roots.clear(), "is among its roots"),
        ("no signer", |answer, _| answer.signers.clear(), "no signer"),
        ("a signer that is none", |answer, _| answer.signers = vec![vec![1; 31]], "not 32 bytes"),
        ("no certificate", |answer, _| answer.chain.clear(), "no certificate"),
        ("nonsense for a certificate", |answer, _| answer.chain = vec![vec![1, 2, 3]], "cannot be read"),
    ];
    for (row, edit, want) in edits {
        let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
        plane.facts().sign_edit = Some(edit);
        let mut proxy = Proxy::start(state.path(), plane.address, Some(plane.authority.token("reviews")));
        let text = proxy.failure();
        assert!(text.contains(want), "{row}: {text}");
        assert!(proxy.cell.load().is_none() && !state.path().join("identity.pem").exists(), "{row}");
    }
    for (row, token_of, id, setup, want) in cases {
        let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
        let plane = Plane::start_as(&authority, id, "127.0.0.1:0".parse().unwrap());
        setup(&plane);
        let token = token_of.unwrap_or(&authority).token("reviews");
        let mut proxy = Proxy::start(state.path(), plane.address, Some(token));
        let text = proxy.failure();
        assert!(text.contains(want), "{row}: {text}");
        assert!(proxy.cell.load().is_none() && proxy.published().is_empty(), "{row}");
        assert!(!state.path().join("identity.pem").exists(), "{row}");
        assert!(plane.facts().hellos.is_empty(), "{row}");
    }
}

#[test]
fn a_proxy_without_a_way_to_join_says_so() {
    let authority = Authority::new();
    let state = tempfile::tempdir().unwrap();
    let start = |token| Proxy::with(options(state.path(), &["127.0.0.1:1".to_owned()], token)).err().expect("refused");
    let error = start(None);
    assert!(
        matches!(error, StartError::NeverJoined { .. }) && error.to_string().contains("weft token create"),
        "{error}"
    );
    let token = authority.token("reviews").expires;
    let expired = format!("weft1:mesh.test:{}:default:reviews:01:5:once:00", "ab".repeat(32)).parse().unwrap();
    assert!(token > std::time::SystemTime::now());
    assert!(matches!(start(Some(expired)), StartError::TokenExpired { .. }));
    let foreign = format!("weft1:mesh.test:{}:prod:reviews:01:4000000000:once:00", "ab".repeat(32)).parse().unwrap();
    let error = start(Some(foreign));
    assert!(error.to_string().contains(WORKLOAD) && error.to_string().contains("ns/prod"), "{error}");
}

#[test]
fn a_join_waits_for_its_control_plane() {
    let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
    let address = Plane::start(&authority).kill();
    let proxy = Proxy::start(state.path(), address, Some(authority.token("reviews")));
    wait("the proxy says why it waits", || {
        proxy.facts().identity_problem.as_ref().is_some_and(|problem| problem.contains("cannot be reached"))
    });
    let plane = Plane::start_as(&authority, "spiffe://mesh.test/ns/weft-system/sa/weft-controlplane", address);
    wait("it joins", || plane.facts().hellos.len() == 1);
    wait("and forgets the problem", || proxy.facts().identity_problem.is_none());
}

#[test]
fn the_svid_is_renewed_with_a_new_key_and_no_new_stream() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    // Due at less than half of it: one that comes too late would join by the token again.
    plane.facts().life = Duration::from_secs(6);
    let proxy = joined(state.path(), &plane, &snapshot(&plane.authority, &[]));
    let first = proxy.generation();
    wait("two renewals", || plane.facts().signs.len() >= 3);
    wait("handshakes use the new one", || proxy.generation() >= first + 2);
    let facts = plane.facts();
    for sign in &facts.signs[1..] {
        assert_eq!((sign.peer.as_deref(), sign.token.as_str()), (Some(ID), ""), "renewed by the SVID alone");
        assert_ne!(sign.public_key, facts.signs[0].public_key, "with a key of its own");
    }
    assert_eq!(facts.hellos.len(), 1, "the stream lives on");
    assert!(matches!(proxy.facts().link, Link::Connected { .. }));
}

#[test]
fn an_svid_that_expired_is_replaced_by_the_token_again() {
    let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
    let plane = Plane::start(&authority);
    plane.facts().life = Duration::from_secs(4);
    let told = snapshot(&authority, &[]);
    let proxy = joined(state.path(), &plane, &told);
    let key = plane.facts().signs[0].public_key.clone();
    let address = plane.kill();
    wait("the SVID expires", || proxy.cell.load().unwrap().expired(std::time::SystemTime::now()));
    let plane = Plane::start_as(&authority, "spiffe://mesh.test/ns/weft-system/sa/weft-controlplane", address);
    plane.facts().snapshot = told.clone();
    wait("the proxy is back", || !plane.facts().signs.is_empty() && !plane.facts().hellos.is_empty());
    let facts = plane.facts();
    assert!(facts.signs[0].peer.is_none() && !facts.signs[0].token.is_empty());
    assert_eq!(facts.signs[0].public_key, key, "the join key again, which a single-use token admits");
    assert_eq!(proxy.published().len(), 1, "and the plan stood all the while");
}

#[test]
fn a_control_plane_that_hangs_is_noticed() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    plane.facts().snapshot = snapshot(&plane.authority, &[]);
    let relay = relay::Relay::start(plane.address);
    let mut setting = options(state.path(), &[relay.address.to_string()], Some(plane.authority.token("reviews")));
    setting.pace.reach.ping_every = Duration::from_millis(200);
    let proxy = Proxy::with(setting).unwrap();
    wait("connected", || matches!(proxy.facts().link, Link::Connected { current: true, .. }));
    relay.freeze();
    wait("noticed without a word from the kernel", || matches!(proxy.facts().link, Link::Away { .. }));
    relay.thaw();
    wait("connected again", || matches!(proxy.facts().link, Link::Connected { current: true, .. }));
}

/// A TCP relay that can stop moving bytes while its connections stay open.
mod relay {
    use std::net::SocketAddr;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    pub struct Relay {
        pub address: SocketAddr,
        flows: watch::Sender<bool>,
        _runtime: tokio::runtime::Runtime,
    }

    impl Relay {
        pub fn start(to: SocketAddr) -> Self {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let address = listener.local_addr().unwrap();
            let (flows, flowing) = watch::channel(true);
            runtime.spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    let far = TcpStream::connect(to).await.unwrap();
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::spawn(carry(near_in, far_out, flowing.clone()));
                    tokio::spawn(carry(far_in, near_out, flowing.clone()));
                }
            });
            Self { address, flows, _runtime: runtime }
        }

        pub fn freeze(&self) {
            self.flows.send_replace(false);
        }

        pub fn thaw(&self) {
            self.flows.send_replace(true);
        }
    }

    async fn carry(
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        mut flowing: watch::Receiver<bool>,
    ) {
        use tokio::io::AsyncReadExt;
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            if flowing.wait_for(|flows| *flows).await.is_err() || to.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    }
}
