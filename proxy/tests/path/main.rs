//! The request path end to end: real sockets, real TLS, whole proxies in this process, apps and clients around them.
#![allow(clippy::unwrap_used, unreachable_pub, clippy::disallowed_types, clippy::type_complexity)]

mod app;
mod authority;
mod client;
mod config;
mod proxy;

mod bodies;
mod discovery;
mod draining;
mod http;
mod instructions;
mod limits;
mod mtls;
mod pooling;
mod process;
mod retries;
mod tcp;
mod timeouts;

/// Polls until `look` finds something, for at most ten seconds.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
