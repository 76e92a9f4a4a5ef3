//! Artifacts from the control plane into the state folder: spooled, and used only once digest and signature hold.
//!
//! An artifact is native code, so nothing that our own control plane did not sign gets a name there.

use super::rpc::artifacts::artifacts_client::ArtifactsClient;
use super::signature::Signers;
use crate::state::{ArtifactError, ArtifactFolder};
use std::time::Duration;
use tonic::transport::Channel;
use weft_snapshot::Digest;
use weft_wire::{CHUNK_BYTES_MAX, proto};

#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("artifact {digest} cannot be fetched: {reason}")]
    Call { digest: Digest, reason: String },
    #[error("artifact {digest} stopped arriving: nothing for {limit:?}")]
    Slow { digest: Digest, limit: Duration },
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

pub(super) struct Fetching {
    pub(super) channel: Channel,
    pub(super) folder: ArtifactFolder,
    pub(super) signers: Signers,
    pub(super) artifact_key: String,
    pub(super) answer_max: Duration,
}

/// One after the other: they share one connection anyway.
pub(super) async fn fetch_all(fetching: Fetching, wanted: Vec<Digest>) -> Result<Vec<Digest>, FetchError> {
    for digest in &wanted {
        fetch(&fetching, digest).await?;
    }
    Ok(wanted)
}

async fn fetch(fetching: &Fetching, digest: &Digest) -> Result<(), FetchError> {
    let limit = fetching.answer_max;
    let slow = |_| FetchError::Slow { digest: *digest, limit };
    let failed = |status: tonic::Status| FetchError::Call { digest: *digest, reason: status.message().to_owned() };
    let mut client =
        ArtifactsClient::new(fetching.channel.clone()).max_decoding_message_size(CHUNK_BYTES_MAX + CHUNK_FRAME_MAX);
    let request = proto::FetchRequest { digest: digest.to_string() };
    let answer = tokio::time::timeout(limit, client.fetch(request)).await.map_err(slow)?.map_err(failed)?;
    let mut chunks = answer.into_inner();
    let mut spool = fetching.folder.spool(digest)?;
    let mut signature = None;
    while let Some(chunk) = tokio::time::timeout(limit, chunks.message()).await.map_err(slow)?.map_err(failed)? {
        if signature.is_none() {
            if !fetching.signers.signed_artifact(&fetching.artifact_key, digest, &chunk.signature) {
                return Err(ArtifactError::Signature { digest: *digest }.into());
            }
            signature = Some(chunk.signature);
        }
        spool.write(&chunk.data)?;
    }
    let signature = signature.ok_or(ArtifactError::Signature { digest: *digest })?;
    // It waits for the disk, and nothing else of this thread should.
    match tokio::task::spawn_blocking(move || spool.finish(&signature)).await {
        Ok(kept) => kept.map(drop).map_err(FetchError::from),
        Err(ended) => Err(FetchError::Call { digest: *digest, reason: ended.to_string() }),
    }
}

/// What surrounds the bytes of a chunk in its message.
const CHUNK_FRAME_MAX: usize = 1024;
