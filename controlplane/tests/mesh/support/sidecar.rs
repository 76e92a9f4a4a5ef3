//! One sidecar's side of the stream: joins, subscribes, applies updates as a proxy does, and counts their bytes.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Status, Streaming};
use weft_snapshot::Snapshot;
use weft_tests::believing;
use weft_wire::proto::{self, from_control_plane, from_proxy};
use weft_wire::{Ledger, snapshot_payload};

#[allow(clippy::all, unreachable_pub, unused_qualifications, unused_imports)]
mod rpc {
    pub(crate) mod discovery {
        include!(concat!(env!("OUT_DIR"), "/clients/weft.v1.Discovery.rs"));
    }
    pub(crate) mod artifacts {
        include!(concat!(env!("OUT_DIR"), "/clients/weft.v1.Artifacts.rs"));
    }
    pub(crate) mod replicas {
        include!(concat!(env!("OUT_DIR"), "/clients/weft.v1.Replicas.rs"));
    }
    pub(crate) mod identity {
        include!(concat!(env!("OUT_DIR"), "/clients/weft.v1.Identity.rs"));
    }
}

/// What a sidecar keeps on disk: key, SVID, trust, and its last snapshot.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) workload: String,
    pub(crate) key: Arc<KeyPair>,
    pub(crate) signed: proto::SignResponse,
    pub(crate) ledger: Ledger,
}

/// A stream that is open.
pub(crate) struct Sidecar {
    pub(crate) kept: Kept,
    pub(crate) welcome: proto::Welcome,
    sender: mpsc::Sender<proto::FromProxy>,
    updates: Streaming<proto::FromControlPlane>,
    /// Bytes of all updates that came.
    pub(crate) bytes: usize,
    channel: Channel,
}

/// First contact with a request of one's own making.
pub(crate) async fn sign_request(
    at: SocketAddr,
    csr: Vec<u8>,
    token: &str,
    workload: &str,
) -> Result<proto::SignResponse, Status> {
    let request = proto::SignRequest { csr, token: token.to_owned(), workload: workload.to_owned() };
    let channel = connect(at, None).await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
    let signed = rpc::identity::identity_client::IdentityClient::new(channel).sign(request).await?;
    Ok(signed.into_inner())
}

/// Sends a CSR with this token and, where there is one, the SVID.
pub(crate) async fn sign(
    at: SocketAddr,
    svid: Option<&Kept>,
    key: &KeyPair,
    token: &str,
    workload: &str,
) -> Result<proto::SignResponse, Status> {
    let csr = CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
    let request = proto::SignRequest { csr, token: token.to_owned(), workload: workload.to_owned() };
    let channel = connect(at, svid).await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
    let signed = rpc::identity::identity_client::IdentityClient::new(channel).sign(request).await?;
    Ok(signed.into_inner())
}

impl Kept {
    pub(crate) async fn join(at: SocketAddr, token: &str, workload: &str) -> Result<Self, Status> {
        let key = KeyPair::generate().unwrap();
        let signed = sign(at, None, &key, token, workload).await?;
        Ok(Self { workload: workload.to_owned(), key: Arc::new(key), signed, ledger: Ledger::default() })
    }

    /// A new key and SVID by the current one.
    pub(crate) async fn renew(&mut self, at: SocketAddr) -> Result<(), Status> {
        let key = KeyPair::generate().unwrap();
        self.signed = sign(at, Some(self), &key, "", &self.workload.clone()).await?;
        self.key = Arc::new(key);
        Ok(())
    }

    pub(crate) fn hello(&self, subscriptions: &[&str]) -> proto::Hello {
        proto::Hello {
            level: weft_wire::LEVEL,
            version: "test".to_owned(),
            artifact_key: "key".to_owned(),
            workload: self.workload.clone(),
            inbound_address: "127.0.0.1:40000".to_owned(),
            subscriptions: subscriptions.iter().map(|host| (*host).to_owned()).collect(),
            held: self.ledger.holding().to_hello(),
            running: Vec::new(),
            seen: Vec::new(),
        }
    }

    pub(crate) async fn connect(self, at: SocketAddr, subscriptions: &[&str]) -> Result<Sidecar, Status> {
        let hello = self.hello(subscriptions);
        self.connect_with(at, hello).await
    }

    pub(crate) async fn connect_with(self, at: SocketAddr, hello: proto::Hello) -> Result<Sidecar, Status> {
        let channel = connect(at, Some(&self)).await.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        let (sender, messages) = mpsc::channel(16);
        let first = proto::FromProxy { message: Some(from_proxy::Message::Hello(hello)) };
        sender.send(first).await.unwrap();
        let mut client = rpc::discovery::discovery_client::DiscoveryClient::new(channel.clone())
            .max_decoding_message_size(weft_wire::MESSAGE_BYTES_MAX);
        let mut updates = client.stream(ReceiverStream::new(messages)).await?.into_inner();
        match updates.message().await?.and_then(|message| message.message) {
            Some(from_control_plane::Message::Welcome(welcome)) => {
                Ok(Sidecar { kept: self, welcome, sender, updates, bytes: 0, channel })
            }
            other => Err(Status::internal(format!("no welcome but {other:?}"))),
        }
    }
}

/// What a replica would ask, with the certificate of a workload.
pub(crate) async fn stock_as(at: SocketAddr, svid: &Kept) -> Result<proto::StockResponse, Status> {
    let channel = connect(at, Some(svid)).await.unwrap();
    let mut client = rpc::replicas::replicas_client::ReplicasClient::new(channel);
    Ok(client.stock(proto::StockRequest {}).await?.into_inner())
}

/// A stream without a client certificate.
pub(crate) async fn stream_unknown(at: SocketAddr) -> Status {
    let channel = connect(at, None).await.unwrap();
    let mut client = rpc::discovery::discovery_client::DiscoveryClient::new(channel);
    match client.stream(tokio_stream::empty()).await {
        Err(status) => status,
        Ok(mut stream) => stream.get_mut().message().await.expect_err("a stream without a certificate"),
    }
}

impl Sidecar {
    /// The next update, which is to come in time, not yet applied.
    pub(crate) async fn receive(&mut self) -> Result<proto::Update, Status> {
        tokio::time::timeout(Duration::from_secs(20), self.next()).await.expect("an update comes in time")
    }

    /// The next update, whenever it comes.
    pub(crate) async fn next(&mut self) -> Result<proto::Update, Status> {
        match self.updates.message().await?.and_then(|message| message.message) {
            Some(from_control_plane::Message::Update(update)) => {
                self.bytes += update.encoded_len();
                Ok(update)
            }
            other => Err(Status::internal(format!("no update but {other:?}"))),
        }
    }

    /// Receives, verifies, applies and acknowledges one update.
    pub(crate) async fn update(&mut self) -> Snapshot {
        let update = self.receive().await.unwrap();
        self.apply(&update);
        self.ack(&update.revision).await;
        self.snapshot()
    }

    /// Updates until the snapshot fits.
    pub(crate) async fn until(&mut self, what: &str, fits: impl Fn(&Snapshot) -> bool) -> Snapshot {
        for _ in 0..100 {
            let snapshot = self.update().await;
            if fits(&snapshot) {
                return snapshot;
            }
        }
        panic!("100 updates without: {what}");
    }

    pub(crate) fn apply(&mut self, update: &proto::Update) {
        let applied = self.kept.ledger.apply(update).unwrap();
        let snapshot = applied.ledger.snapshot().unwrap();
        let payload = snapshot_payload(&self.kept.workload.parse().unwrap(), &update.revision);
        let signers = &self.kept.signed.signers;
        let good =
            signers.iter().any(|key| UnparsedPublicKey::new(&ED25519, key).verify(&payload, &update.signature).is_ok());
        assert!(good, "the signature of {} is by none of the pinned signers", update.revision);
        if let Some(trust) = snapshot.trust() {
            self.kept.signed.signers = trust.signers.iter().map(|key| key.to_vec()).collect();
            self.kept.signed.roots = trust.roots.clone();
        }
        self.kept.ledger = applied.ledger;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.kept.ledger.snapshot().unwrap()
    }

    pub(crate) async fn ack(&self, revision: &str) {
        self.say(from_proxy::Message::Ack(proto::Ack { revision: revision.to_owned() })).await;
    }

    pub(crate) async fn nack(&self, revision: &str, problem: &str) {
        let problems = vec![problem.to_owned()];
        self.say(from_proxy::Message::Nack(proto::Nack { revision: revision.to_owned(), problems })).await;
    }

    pub(crate) async fn subscribe(&self, add: &[&str], remove: &[&str]) {
        let own = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        self.say(from_proxy::Message::Subscribe(proto::Subscribe { add: own(add), remove: own(remove) })).await;
    }

    pub(crate) async fn leave(&self) {
        self.say(from_proxy::Message::Leaving(proto::Leaving {})).await;
    }

    async fn say(&self, message: from_proxy::Message) {
        self.sender.send(proto::FromProxy { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn fetch(&self, digest: &str) -> Result<Vec<proto::FetchChunk>, Status> {
        let mut client = rpc::artifacts::artifacts_client::ArtifactsClient::new(self.channel.clone());
        let mut stream = client.fetch(proto::FetchRequest { digest: digest.to_owned() }).await?.into_inner();
        let mut chunks = Vec::new();
        while let Some(chunk) = stream.message().await? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// The stream's end, in the control plane's words.
    pub(crate) async fn ended(&mut self) -> Status {
        loop {
            match self.updates.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("it ended"),
                Err(status) => return status,
            }
        }
    }
}

/// TLS to the control plane, with this SVID or without one.
async fn connect(at: SocketAddr, svid: Option<&Kept>) -> Result<Channel, tonic::transport::Error> {
    let config = believing(svid.map(|kept| (&kept.signed.chain[..], &*kept.key)));
    Endpoint::from_static("http://controlplane").connect_with_connector(Dial { at, config }).await
}

/// SHA-256 of the root that the control plane presents, last in its chain.
pub(crate) async fn presented_root(at: SocketAddr) -> [u8; 32] {
    let stream = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("controlplane").unwrap();
    let tls = TlsConnector::from(believing(None)).connect(name, stream).await.unwrap();
    let (_, session) = tls.get_ref();
    Sha256::digest(session.peer_certificates().unwrap().last().unwrap()).into()
}

struct Dial {
    at: SocketAddr,
    config: Arc<ClientConfig>,
}

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (at, config) = (self.at, self.config.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(at).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("controlplane").expect("a valid name");
            Ok(TokioIo::new(TlsConnector::from(config).connect(name, stream).await?))
        })
    }
}
