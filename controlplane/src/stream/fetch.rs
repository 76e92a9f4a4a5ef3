//! `Artifacts.Fetch`: native code, to proxies whose snapshot names it, signed for them.
//!
//! It does not know how artifacts are made.

use super::Services;
use super::caller::Caller;
use crate::artifacts::Artifact;
use crate::rpc::artifacts::artifacts_server::Artifacts;
use crate::world::Event;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weft_snapshot::Digest;
use weft_wire::proto::{FetchChunk, FetchRequest};
use weft_wire::{CHUNK_BYTES_MAX, artifact_payload};

#[tonic::async_trait]
impl Artifacts for Services {
    type FetchStream = ReceiverStream<Result<FetchChunk, Status>>;

    async fn fetch(&self, request: Request<FetchRequest>) -> Result<Response<Self::FetchStream>, Status> {
        let identity = Caller::of(&request)?.known()?.identity.clone();
        let artifact: Digest =
            request.into_inner().digest.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let (answer, asked) = oneshot::channel();
        let stopping = || Status::unavailable("the control plane stops");
        self.events.send(Event::MayFetch { identity, artifact, answer }).await.map_err(|_| stopping())?;
        let Some(artifact) = asked.await.map_err(|_| stopping())? else {
            return Err(Status::not_found(format!("no snapshot of this proxy names {artifact}; say hello first")));
        };
        let file = File::open(&artifact.path).await.map_err(|error| unreadable(&artifact, &error))?;
        let signature = self.authority.issuing().sign(&artifact_payload(&artifact.key, &artifact.digest));
        let (chunks, sent) = mpsc::channel(CHUNKS_MAX);
        tokio::spawn(async move {
            if let Err(error) = send(file, signature, &chunks).await {
                // The proxy may be gone.
                let _ = chunks.send(Err(unreadable(&artifact, &error))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(sent)))
    }
}

async fn send(
    mut file: File,
    signature: Vec<u8>,
    chunks: &mpsc::Sender<Result<FetchChunk, Status>>,
) -> std::io::Result<()> {
    let mut signature = Some(signature);
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES_MAX);
        (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut data).await?;
        if data.is_empty() && signature.is_none() {
            return Ok(());
        }
        let chunk = FetchChunk { data, signature: signature.take().unwrap_or_default() };
        if chunks.send(Ok(chunk)).await.is_err() {
            return Ok(()); // nobody wants the rest
        }
    }
}

fn unreadable(artifact: &Artifact, error: &std::io::Error) -> Status {
    tracing::error!(artifact = %artifact.digest, path = %artifact.path.display(), %error, "cannot read the artifact");
    Status::internal(format!("{} cannot be read; the control plane's log says why", artifact.digest))
}

/// Waiting for a slow proxy.
const CHUNKS_MAX: usize = 2;
