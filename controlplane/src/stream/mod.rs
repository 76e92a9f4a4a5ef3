//! The side that proxies see: TLS under gRPC, and the three services over it.
//!
//! ```text
//! accept ─ TLS (client certificate, if any, by our own roots) ─▶ Identity.Sign · Discovery.Stream · Artifacts.Fetch
//! ```
//! It decides who may speak; what is said comes from the world loop and the CA.

mod caller;
mod discovery;
mod fetch;
mod sign;
mod tls;

pub(crate) use tls::ServingTls;

use crate::ca::Authority;
use crate::rpc;
use crate::status::Metrics;
use crate::token::used::UsedTokens;
use crate::world::{Event, WorldCell};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

/// What the services work with.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) cell: WorldCell,
    pub(crate) authority: Arc<Authority>,
    pub(crate) used: Arc<Mutex<UsedTokens>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) streams: Arc<AtomicU64>,
}

/// Serves until `stop` is done, and lets what is under way end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServingTls>,
    services: Services,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let discovery = rpc::discovery::discovery_server::DiscoveryServer::new(services.clone())
        .max_decoding_message_size(weft_wire::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(weft_wire::MESSAGE_BYTES_MAX);
    let artifacts = rpc::artifacts::artifacts_server::ArtifactsServer::new(services.clone())
        .max_decoding_message_size(SMALL_BYTES_MAX);
    let identity =
        rpc::identity::identity_server::IdentityServer::new(services).max_decoding_message_size(SMALL_BYTES_MAX);
    let (accepted, incoming) = mpsc::channel(ACCEPTED_MAX);
    let accepting = tokio::spawn(tls::accept(listener, tls, accepted));
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_service(discovery)
        .add_service(artifacts)
        .add_service(identity)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop)
        .await;
    accepting.abort();
    served
}

const SMALL_BYTES_MAX: usize = 64 * 1024;
const ACCEPTED_MAX: usize = 64;
/// A dead peer is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Of one proxy: its stream, and what it fetches at the same time.
const STREAMS_MAX: u32 = 64;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const WINDOW_BYTES: u32 = 1 << 20;
