//! The webhooks that the API server asks before it stores a pod or a piece of mesh configuration.
//!
//! ```text
//! API server ─ TLS (server, tls) ─▶ review ─▶ injection: a pod's patch, or why it may not be
//!                                        └──▶ validation: what is wrong with an object, and what to do
//! keeper: our certificate, and that the API server trusts it
//! ```
//! The objects that tell the API server to ask are `rules`; install applies them.

mod bundle;
mod injection;
mod keeper;
mod namespaces;
mod review;
mod rules;
mod server;
mod tls;
mod validation;

pub use rules::{INJECTOR, VALIDATOR, configurations};

use super::{Cluster, Shared};
use crate::inject::{Neighbour, Settings};
use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a person says of the webhooks.
#[derive(Clone, Debug)]
pub(crate) struct WebhookOptions {
    /// `None`: no webhooks.
    pub(crate) listen: Option<SocketAddr>,
    /// What each sidecar is like; neighbour and trust domain are found out.
    pub(crate) settings: Settings,
}

/// What all requests share.
pub(super) struct Desk {
    cluster: Cluster,
    shared: Shared,
    settings: Settings,
    /// Whether Istio's injector is there too.
    neighbour: Arc<ArcSwap<Neighbour>>,
    /// `None` until the API server trusts what we would show.
    tls: ArcSwapOption<ServerConfig>,
}

/// Binds the port, and works until the tasks are aborted.
pub(super) fn start(
    cluster: &Cluster,
    shared: &Shared,
    options: &WebhookOptions,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let Some(address) = options.listen else { return Ok(Vec::new()) };
    let named = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; give another with --webhook"))
    };
    let listener = std::net::TcpListener::bind(address).map_err(named)?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let desk = Arc::new(Desk {
        cluster: cluster.clone(),
        shared: shared.clone(),
        settings: options.settings.clone(),
        neighbour: shared.neighbour.clone(),
        tls: ArcSwapOption::empty(),
    });
    Ok(vec![tokio::spawn(keeper::keep(desk.clone())), tokio::spawn(server::serve(listener, desk))])
}
