//! What one replica asks of another: at its start for what that has of filters, so that it serves the same also where the
//! registry is gone; and later for what its proxies run, so that any can tell of all.
//!
//! It does not know how replicas are found, nor what filters are.

mod connect;
mod counts;
mod fellows;

pub(crate) use counts::{follow, said_of};
pub(crate) use fellows::{Fellows, Places};

use crate::artifacts::{Item, Stock};
use crate::ca::Issuing;
use crate::rpc::replicas::replicas_client::ReplicasClient;
use crate::stream::{meant, said};
use connect::ConnectError;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;
use weft_wire::CHUNK_BYTES_MAX;
use weft_wire::proto::StockRequest;

#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the replica at {address} does not hand over its filters: {reason}")]
    Refused { address: SocketAddr, reason: String },
    #[error("the replica at {address} stopped answering: nothing for {ANSWER_MAX:?}")]
    Slow { address: SocketAddr },
    #[error("what the replica at {address} has cannot be kept: {reason}")]
    Keep { address: SocketAddr, reason: String },
    #[error("the replica at {address} is of a release that hands nothing over")]
    Unable { address: SocketAddr },
}

/// How an attempt at several replicas ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stocked {
    /// One handed over what it has, or none is able to.
    Yes,
    /// All failed in a way that may pass.
    NotYet,
}

/// Copies from the first that hands over what it has.
pub(crate) async fn stock_up(replicas: &[SocketAddr], issuing: &Issuing, stock: &Stock) -> Stocked {
    let mut stocked = Stocked::Yes;
    for address in replicas {
        match copy(*address, issuing, stock).await {
            Ok(copied) => {
                tracing::info!(%address, copied, "took over the filters of another replica");
                return Stocked::Yes;
            }
            Err(error) => {
                tracing::warn!("{error}");
                if !matches!(error, CopyError::Unable { .. }) {
                    stocked = Stocked::NotYet;
                }
            }
        }
    }
    stocked
}

/// Files that were copied; those that are here already are not.
async fn copy(address: SocketAddr, issuing: &Issuing, stock: &Stock) -> Result<usize, CopyError> {
    let channel = connect::connect(address, issuing).await?;
    let mut client = ReplicasClient::new(channel).max_decoding_message_size(STOCK_BYTES_MAX);
    let slow = |_| CopyError::Slow { address };
    let told = tokio::time::timeout(ANSWER_MAX, client.stock(StockRequest {})).await.map_err(slow)?;
    let told = told.map_err(|status| match status.code() {
        Code::Unimplemented => CopyError::Unable { address },
        _ => CopyError::Refused { address, reason: status.message().to_owned() },
    })?;
    let told = told.into_inner();
    let mut copied = 0;
    for item in told.items {
        let item = meant(item).map_err(|status| CopyError::Keep { address, reason: status.message().to_owned() })?;
        if stock.path(&item).is_none() {
            copied += usize::from(fetch(address, &mut client, item, stock).await?);
        }
    }
    let kept = stock.take_last_good(&told.last_good);
    kept.map_err(|error| CopyError::Keep { address, reason: error.to_string() })?;
    Ok(copied)
}

/// False where the other has removed it meanwhile.
async fn fetch(
    address: SocketAddr,
    client: &mut ReplicasClient<Channel>,
    item: Item,
    stock: &Stock,
) -> Result<bool, CopyError> {
    let slow = |_| CopyError::Slow { address };
    let refused = |status: tonic::Status| CopyError::Refused { address, reason: status.message().to_owned() };
    let keep = |error: std::io::Error| CopyError::Keep { address, reason: error.to_string() };
    let answer = tokio::time::timeout(ANSWER_MAX, client.copy(said(item.clone()))).await.map_err(slow)?;
    let mut chunks = match answer {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(false),
        Err(status) => return Err(refused(status)),
    };
    let mut intake = stock.intake(item).map_err(keep)?;
    while let Some(chunk) = tokio::time::timeout(ANSWER_MAX, chunks.message()).await.map_err(slow)?.map_err(refused)? {
        intake.write(&chunk.data).map_err(keep)?;
    }
    tokio::task::spawn_blocking(move || intake.finish())
        .await
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(keep)?;
    Ok(true)
}

const ANSWER_MAX: Duration = Duration::from_secs(15);
/// What was last good of ten thousand filters; a chunk is shorter.
const STOCK_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(STOCK_BYTES_MAX > CHUNK_BYTES_MAX);
