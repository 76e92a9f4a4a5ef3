//! A small control plane on real sockets and TLS, from the same service definitions: it says what a test tells it to.
//!
//! It knows no config and no rules; what a real one decides, the test decides here.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use weft_proxy::control::{JoinToken, controlplane_id};
use weft_snapshot::{Digest, Snapshot, WorkloadName};
use weft_wire::proto::{self, from_control_plane, from_proxy};
use weft_wire::{Holding, LEVEL, Ledger, artifact_payload, snapshot_payload};

#[allow(clippy::all, unreachable_pub, unused_qualifications)]
mod rpc {
    pub mod discovery {
        include!(concat!(env!("OUT_DIR"), "/servers/weft.v1.Discovery.rs"));
    }
    pub mod artifacts {
        include!(concat!(env!("OUT_DIR"), "/servers/weft.v1.Artifacts.rs"));
    }
    pub mod identity {
        include!(concat!(env!("OUT_DIR"), "/servers/weft.v1.Identity.rs"));
    }
}
use rpc::artifacts::artifacts_server::{Artifacts, ArtifactsServer};
use rpc::discovery::discovery_server::{Discovery, DiscoveryServer};
use rpc::identity::identity_server::{Identity, IdentityServer};

pub const TRUST_DOMAIN: &str = "mesh.test";
pub const WORKLOAD: &str = "default/reviews-1";
pub const ARTIFACT_KEY: &str = "test-engine";

/// A root, and a key that signs snapshots; outlives the planes that use it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub root: CertificateDer<'static>,
    pub signer: Ed25519KeyPair,
}

impl Authority {
    pub fn new() -> Arc<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Arc::new(Self { issuer: Issuer::new(params, key), root, signer: Ed25519KeyPair::generate().unwrap() })
    }

    pub fn signer_key(&self) -> [u8; 32] {
        self.signer.public_key().as_ref().try_into().unwrap()
    }

    pub fn token(&self, account: &str) -> JoinToken {
        let root: String = Sha256::digest(&self.root).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("weft1:{TRUST_DOMAIN}:{root}:default:{account}:01:4000000000:once:00").parse().unwrap()
    }

    /// Valid for `life` around now; whole seconds, as certificates have it.
    pub fn issue(&self, id: &str, key: &impl PublicKeyData, life: Duration) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = (SystemTime::now() - Duration::from_secs(1)).into();
        params.not_after = (SystemTime::now() + life).into();
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }

    pub fn sign_snapshot(&self, workload: &str, revision: &str) -> Vec<u8> {
        let workload: WorkloadName = workload.parse().unwrap();
        self.signer.sign(&snapshot_payload(&workload, revision)).as_ref().to_vec()
    }

    /// The update from what a proxy holds, signed.
    pub fn update(&self, held: &Holding, next: &Snapshot) -> proto::Update {
        let mut update = Ledger::of(next).update_from(held);
        update.signature = self.sign_snapshot(WORKLOAD, &update.revision);
        update
    }

    pub fn artifact(&self, bytes: &[u8]) -> (Digest, Vec<u8>) {
        let digest = Digest(Sha256::digest(bytes).into());
        (digest, self.signer.sign(&artifact_payload(ARTIFACT_KEY, &digest)).as_ref().to_vec())
    }
}

/// What the plane saw and what it answers; the test reads and writes it at any time.
pub struct Facts {
    pub life: Duration,
    /// Told to proxies that say hello.
    pub snapshot: Snapshot,
    /// By digest: bytes and signature.
    pub artifacts: HashMap<Digest, (Vec<u8>, Vec<u8>)>,
    /// Answered to Sign instead of a certificate.
    pub sign_refusal: Option<Status>,
    /// Given instead of the identity that was proved.
    pub sign_as: Option<String>,
    /// What becomes of the answer to Sign before it is sent.
    pub sign_edit: Option<fn(&mut proto::SignResponse, &Authority)>,
    /// While true nobody is welcomed.
    pub hesitates: bool,
    pub signs: Vec<SignSeen>,
    pub hellos: Vec<(proto::Hello, Option<String>)>,
    /// What answered each hello.
    pub answers: Vec<proto::Update>,
    pub messages: Vec<from_proxy::Message>,
    pub fetches: Vec<Digest>,
    stream: Option<mpsc::Sender<Result<proto::FromControlPlane, Status>>>,
}

pub struct SignSeen {
    pub token: String,
    pub peer: Option<String>,
    pub public_key: Vec<u8>,
}

pub struct Plane {
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
    facts: Arc<Mutex<Facts>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Plane {
    pub fn start(authority: &Arc<Authority>) -> Self {
        Self::start_as(authority, controlplane_id(TRUST_DOMAIN).unwrap().as_str(), "127.0.0.1:0".parse().unwrap())
    }

    pub fn start_as(authority: &Arc<Authority>, id: &str, address: SocketAddr) -> Self {
        let facts = Facts {
            life: Duration::from_secs(3600),
            snapshot: Snapshot::default(),
            artifacts: HashMap::new(),
            sign_refusal: None,
            sign_as: None,
            sign_edit: None,
            hesitates: false,
            signs: vec![],
            hellos: vec![],
            answers: vec![],
            messages: vec![],
            fetches: vec![],
            stream: None,
        };
        let facts = Arc::new(Mutex::new(facts));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service { facts: facts.clone(), authority: authority.clone() };
        runtime.spawn(serve(listener, tls(authority, id), service));
        Self { address, authority: authority.clone(), facts, runtime: Some(runtime) }
    }

    /// As `kill -9`: every connection is gone. Returns the address, to come back to.
    pub fn kill(mut self) -> SocketAddr {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(5));
        self.address
    }

    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    /// Over the newest stream.
    pub fn push(&self, update: proto::Update) {
        let sender = self.facts().stream.clone().expect("a proxy is connected");
        let message = from_control_plane::Message::Update(update);
        sender.try_send(Ok(proto::FromControlPlane { message: Some(message) })).expect("room");
    }

    /// As to a proxy that has acknowledged `before`.
    pub fn publish(&self, before: &Snapshot, next: &Snapshot) -> proto::Update {
        let update = self.authority.update(&Ledger::of(before).holding(), next);
        self.push(update.clone());
        update
    }

    pub fn acks(&self) -> Vec<String> {
        let ack = |message: &from_proxy::Message| match message {
            from_proxy::Message::Ack(ack) => Some(ack.revision.clone()),
            _ => None,
        };
        self.facts().messages.iter().filter_map(ack).collect()
    }

    pub fn nacks(&self) -> Vec<proto::Nack> {
        let nack = |message: &from_proxy::Message| match message {
            from_proxy::Message::Nack(nack) => Some(nack.clone()),
            _ => None,
        };
        self.facts().messages.iter().filter_map(nack).collect()
    }

    pub fn subscribed(&self) -> (Vec<String>, Vec<String>) {
        let mut all = (vec![], vec![]);
        for message in &self.facts().messages {
            if let from_proxy::Message::Subscribe(subscribe) = message {
                all.0.extend(subscribe.add.clone());
                all.1.extend(subscribe.remove.clone());
            }
        }
        all
    }
}

fn tls(authority: &Authority, id: &str) -> tokio_rustls::TlsAcceptor {
    let provider = weft_proxy::tls::provider();
    let key = KeyPair::generate().unwrap();
    let leaf = authority.issue(id, &key, Duration::from_secs(3600));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root.clone()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![leaf, authority.root.clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config).into()
}

/// SPIFFE id of the client's certificate.
#[derive(Clone)]
struct PeerId(Option<String>);

async fn serve(listener: tokio::net::TcpListener, tls: tokio_rustls::TlsAcceptor, service: Service) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(tcp).await else { return };
            let peer = PeerId(stream.get_ref().1.peer_certificates().map(|chain| spiffe(&chain[0])));
            let route = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(peer.clone());
                let service = service.clone();
                async move {
                    use tower_service::Service as _;
                    let path = request.uri().path().to_owned();
                    match path.split('/').nth(1) {
                        Some("weft.v1.Discovery") => DiscoveryServer::new(service).call(request).await,
                        Some("weft.v1.Artifacts") => ArtifactsServer::new(service).call(request).await,
                        _ => IdentityServer::new(service).call(request).await,
                    }
                }
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, route).await;
        });
    }
}

fn spiffe(certificate: &CertificateDer<'_>) -> String {
    let end = webpki::EndEntityCert::try_from(certificate).unwrap();
    end.valid_uri_names().next().unwrap().to_owned()
}

#[derive(Clone)]
struct Service {
    facts: Arc<Mutex<Facts>>,
    authority: Arc<Authority>,
}

impl Service {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap()
    }

    fn greet(&self, hello: proto::Hello, peer: Option<String>) -> Vec<proto::FromControlPlane> {
        let mut facts = self.facts();
        let held = Holding::of_hello(&hello.held).unwrap();
        let update = self.authority.update(&held, &facts.snapshot);
        facts.hellos.push((hello, peer));
        facts.answers.push(update.clone());
        let welcome = proto::Welcome { level: LEVEL, version: "test".to_owned() };
        [from_control_plane::Message::Welcome(welcome), from_control_plane::Message::Update(update)]
            .map(|message| proto::FromControlPlane { message: Some(message) })
            .into()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Discovery for Service {
    type StreamStream = Answers<proto::FromControlPlane>;

    async fn stream(
        &self,
        request: Request<tonic::Streaming<proto::FromProxy>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let peer = request.extensions().get::<PeerId>().and_then(|peer| peer.0.clone());
        if peer.is_none() {
            return Err(Status::unauthenticated("no certificate"));
        }
        let mut incoming = request.into_inner();
        let (sender, receiver) = mpsc::channel(64);
        let service = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = incoming.next().await {
                match message.message {
                    Some(from_proxy::Message::Hello(hello)) => {
                        let answers = service.greet(hello, peer.clone());
                        while service.facts().hesitates {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        for answer in answers {
                            let _ = sender.send(Ok(answer)).await;
                        }
                        service.facts().stream = Some(sender.clone());
                    }
                    Some(message) => service.facts().messages.push(message),
                    None => {}
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[tonic::async_trait]
impl Artifacts for Service {
    type FetchStream = Answers<proto::FetchChunk>;

    async fn fetch(&self, request: Request<proto::FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let digest: Digest = request.into_inner().digest.parse().map_err(|_| Status::invalid_argument("no digest"))?;
        let mut facts = self.facts();
        facts.fetches.push(digest);
        let (bytes, signature) =
            facts.artifacts.get(&digest).cloned().ok_or_else(|| Status::not_found("no artifact"))?;
        let chunks: Vec<_> = bytes
            .chunks(1000)
            .enumerate()
            .map(|(n, data)| {
                let signature = if n == 0 { signature.clone() } else { vec![] };
                Ok(proto::FetchChunk { data: data.to_vec(), signature })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }
}

#[tonic::async_trait]
impl Identity for Service {
    async fn sign(&self, request: Request<proto::SignRequest>) -> Result<Response<proto::SignResponse>, Status> {
        let peer = request.extensions().get::<PeerId>().and_then(|peer| peer.0.clone());
        let request = request.into_inner();
        let csr = CertificateSigningRequestParams::from_der(&request.csr.into()).expect("a valid request");
        let mut facts = self.facts();
        let public_key = csr.public_key.der_bytes().to_vec();
        facts.signs.push(SignSeen { token: request.token.clone(), peer: peer.clone(), public_key });
        if let Some(refusal) = &facts.sign_refusal {
            return Err(refusal.clone());
        }
        let of_token = || {
            let parts: Vec<&str> = request.token.split(':').collect();
            format!("spiffe://{}/ns/{}/sa/{}", parts[1], parts[3], parts[4])
        };
        let id = facts.sign_as.clone().or(peer).unwrap_or_else(of_token);
        let leaf = self.authority.issue(&id, &csr.public_key, facts.life);
        let mut answer = proto::SignResponse {
            chain: vec![leaf.to_vec()],
            roots: vec![self.authority.root.to_vec()],
            signers: vec![self.authority.signer_key().to_vec()],
            trust_domain: TRUST_DOMAIN.to_owned(),
        };
        if let Some(edit) = facts.sign_edit {
            edit(&mut answer, &self.authority);
        }
        Ok(Response::new(answer))
    }
}
