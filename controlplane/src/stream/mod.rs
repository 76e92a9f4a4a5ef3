//! The side that proxies see: TLS under HTTP/2 under gRPC, and the three services over it.
//!
//! ```text
//! accept ─ TLS (client certificate, if any, by our own roots) ─▶ Identity.Sign · Discovery.Stream · Artifacts.Fetch · Replicas
//! ```
//! It decides who may speak; what is said comes from the world loop and the CA.

mod caller;
mod counts;
mod discovery;
mod fetch;
mod first;
mod replicas;
mod sign;
mod tls;

pub(crate) use first::{FirstContact, JoinTokens, Shown};
pub(crate) use replicas::{meant, said};
pub(crate) use tls::ServingTls;

use crate::artifacts::Artifacts;
use crate::ca::Authority;
use crate::rpc::artifacts::artifacts_server::ArtifactsServer;
use crate::rpc::discovery::discovery_server::DiscoveryServer;
use crate::rpc::identity::identity_server::IdentityServer;
use crate::rpc::replicas::replicas_server::ReplicasServer;
use crate::status::Metrics;
use crate::world::{Event, WorldCell};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tonic::Status;
use tonic::server::NamedService;
use tower_service::Service;

/// What the services work with.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) cell: WorldCell,
    pub(crate) authority: Arc<Authority>,
    pub(crate) first: Arc<dyn FirstContact>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Arc<AtomicU64>,
    pub(crate) artifacts: Artifacts,
    /// Told when what is counted may have changed.
    pub(crate) stirred: watch::Sender<()>,
}

/// Serves until `stop` says so, and then until what is under way has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServingTls>,
    services: Services,
    mut stop: watch::Receiver<Stop>,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let routes = Routes::new(services);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, remote) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "stream port: cannot accept");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            tracing::warn!(%remote, "{CONNECTIONS_MAX} connections are open; this one is closed");
            continue;
        };
        let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
        tokio::spawn(async move {
            connection(&tls, routes, (stream, remote), stop).await;
            drop(permit);
        });
    }
    drop(listener);
    // Each connection gives its permit back as it ends.
    let _ = connections.acquire_many(CONNECTIONS_MAX).await;
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    NotYet,
    Now,
}

async fn stopped(stop: &mut watch::Receiver<Stop>) {
    // Where the sender is gone, so is the control plane.
    let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
}

async fn connection(
    tls: &ServingTls,
    routes: Routes,
    (stream, remote): (TcpStream, SocketAddr),
    mut stop: watch::Receiver<Stop>,
) {
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, tls::shake(tls, stream, remote)).await;
    let (stream, caller) = match shaken {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => return tracing::info!(%remote, %error, "TLS handshake failed"),
        Err(_) => return tracing::info!(%remote, "no TLS handshake within {HANDSHAKE_MAX:?}"),
    };
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        let mut routes = routes.clone();
        async move { routes.call(request).await }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => Some(ended),
        () = stopped(&mut stop) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "connection broke");
    }
}

/// The services by their paths. (tonic's own router would bring a web framework along.)
#[derive(Clone)]
struct Routes {
    discovery: DiscoveryServer<Services>,
    artifacts: ArtifactsServer<Services>,
    identity: IdentityServer<Services>,
    replicas: ReplicasServer<Services>,
}

impl Routes {
    fn new(services: Services) -> Self {
        Self {
            discovery: DiscoveryServer::new(services.clone())
                .max_decoding_message_size(weft_wire::MESSAGE_BYTES_MAX)
                .max_encoding_message_size(weft_wire::MESSAGE_BYTES_MAX),
            artifacts: ArtifactsServer::new(services.clone()).max_decoding_message_size(SMALL_BYTES_MAX),
            identity: IdentityServer::new(services.clone()).max_decoding_message_size(SMALL_BYTES_MAX),
            replicas: ReplicasServer::new(services)
                .max_decoding_message_size(SMALL_BYTES_MAX)
                .max_encoding_message_size(weft_wire::MESSAGE_BYTES_MAX),
        }
    }

    async fn call(
        &mut self,
        request: http::Request<Incoming>,
    ) -> Result<http::Response<tonic::body::Body>, Infallible> {
        let service = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        match service {
            <DiscoveryServer<Services> as NamedService>::NAME => self.discovery.call(request).await,
            <ArtifactsServer<Services> as NamedService>::NAME => self.artifacts.call(request).await,
            <IdentityServer<Services> as NamedService>::NAME => self.identity.call(request).await,
            <ReplicasServer<Services> as NamedService>::NAME => self.replicas.call(request).await,
            other => Ok(Status::unimplemented(format!("there is no service {other:?} here")).into_http()),
        }
    }
}

const SMALL_BYTES_MAX: usize = 64 * 1024;
/// Those that shake hands included; 10,000 sidecars and some that reconnect.
const CONNECTIONS_MAX: u32 = 16_384;
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A dead peer is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Of one proxy: its stream, and what it fetches at the same time.
const STREAMS_MAX: u32 = 64;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const WINDOW_BYTES: u32 = 1 << 20;
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
