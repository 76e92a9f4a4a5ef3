//! The sidecars: each a stream of its own over TLS of its own, that takes, applies and acknowledges what comes.

use super::Size;
use super::cluster::Cluster;
use crate::support::sidecar::{Kept, Sidecar};
use futures_util::StreamExt;
use prost::Message as _;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub(super) struct Streams {
    acked: mpsc::UnboundedReceiver<Acked>,
}

/// One update, taken and acknowledged.
pub(super) struct Acked {
    pub(super) sidecar: usize,
    pub(super) at: Instant,
    pub(super) bytes: usize,
}

impl Streams {
    /// Joins all, by tokens of their pods, as a rollout does: some at a time.
    pub(super) async fn join(cluster: &Cluster, size: Size) -> Self {
        let (sender, acked) = mpsc::unbounded_channel();
        let at = cluster.control_plane().await;
        let joining = futures_util::stream::iter(0..size.sidecars).map(|index| {
            let sender = sender.clone();
            async move {
                let pod = cluster.pod(index).await;
                let kept = Kept::join(at, &pod.token, &pod.name).await.unwrap();
                let hosts: Vec<String> =
                    (0..size.calls()).map(|i| Cluster::service((index + i) % size.services)).collect();
                let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
                let sidecar = kept.connect(at, &hosts).await.unwrap();
                tokio::spawn(serve(index, sidecar, sender));
            }
        });
        joining.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        Self { acked }
    }

    /// The next so many, within a time.
    pub(super) async fn acks(&mut self, count: usize, limit: Duration) -> Vec<Acked> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let next = tokio::time::timeout_at(deadline, self.acked.recv()).await;
            let missing = || format!("{} of {count} acknowledgements came within {limit:?}", all.len());
            all.push(next.unwrap_or_else(|_| panic!("{}", missing())).expect("a stream is open"));
        }
        all
    }

    /// All that comes until nothing has come for a moment, or for `limit` where that is shorter.
    pub(super) async fn settle(&mut self, limit: Duration) -> Vec<Acked> {
        let quiet = QUIET.min(limit);
        let mut all = Vec::new();
        while let Ok(Some(acked)) = tokio::time::timeout(quiet, self.acked.recv()).await {
            all.push(acked);
        }
        all
    }
}

async fn serve(index: usize, mut sidecar: Sidecar, acked: mpsc::UnboundedSender<Acked>) {
    loop {
        let update = sidecar.next().await.unwrap_or_else(|status| panic!("sidecar {index}: {status}"));
        sidecar.apply(&update);
        sidecar.ack(&update.revision).await;
        let done = Acked { sidecar: index, at: Instant::now(), bytes: update.encoded_len() };
        if acked.send(done).is_err() {
            return;
        }
    }
}

const AT_ONCE: usize = 16;
const QUIET: Duration = Duration::from_secs(3);
