//! What one replica asks of another: at its start for what that has of filters, so that it serves the same also where the
//! registry is gone; while both run for what was compiled once for all, and for what the registry gave only that one; and
//! for what its proxies run, so that any can tell of all.
//!
//! It does not know how replicas are found, nor what filters are.

mod connect;
mod counts;
mod fellows;

pub(crate) use counts::{follow, said_of};
pub(crate) use fellows::{Fellows, Places};

use crate::artifacts::{Item, LastGood, Stock};
use crate::ca::Issuing;
use crate::rpc::replicas::replicas_client::ReplicasClient;
use crate::stream::{meant, said};
use connect::ConnectError;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};
use weft_snapshot::Digest;
use weft_wire::CHUNK_BYTES_MAX;
use weft_wire::proto::{MakeRequest, StockItem, StockRequest, StockResponse};

#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the replica at {address} does not hand over its filters: {reason}")]
    Refused { address: SocketAddr, reason: String },
    #[error("the replica at {address} stopped answering: nothing for {limit:?}")]
    Slow { address: SocketAddr, limit: Duration },
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

/// Native code of a component for an artifact key, compiled there unless it has been.
pub(crate) async fn make(
    address: SocketAddr,
    issuing: &Issuing,
    (component, key): (Digest, &str),
    stock: &Stock,
) -> Result<(), CopyError> {
    let mut client = client(address, issuing).await?;
    let request = MakeRequest { component: component.to_string(), key: key.to_owned() };
    let made = tokio::time::timeout(MAKE_MAX, client.make(request)).await;
    let made = made.map_err(|_| CopyError::Slow { address, limit: MAKE_MAX })?;
    let item = made.map_err(|status| refused(address, &status))?.into_inner();
    let item = meant(item).map_err(|status| refused(address, &status))?;
    if (item.component, item.key.as_deref()) != (component, Some(key)) {
        let reason = format!("it was asked for {component} {key}, and made {} {:?}", item.component, item.key);
        return Err(CopyError::Refused { address, reason });
    }
    match fetch(address, &mut client, item, stock).await? {
        true => Ok(()),
        false => Err(CopyError::Refused { address, reason: "what it made is gone again".to_owned() }),
    }
}

/// What was last good there, and the files of this Filter's version.
pub(crate) async fn last_good(
    address: SocketAddr,
    issuing: &Issuing,
    filter: &str,
    stock: &Stock,
) -> Result<Option<LastGood>, CopyError> {
    let mut client = client(address, issuing).await?;
    let told = told(address, &mut client).await?;
    let all = stock.read_last_good(&told.last_good);
    let all = all.map_err(|error| CopyError::Keep { address, reason: error.to_string() })?;
    let Some(component) = all.component(filter) else { return Ok(None) };
    take(address, &mut client, (told.items, Some(component)), stock).await?;
    Ok(Some(all))
}

/// Files that were copied; those that are here already are not.
async fn copy(address: SocketAddr, issuing: &Issuing, stock: &Stock) -> Result<usize, CopyError> {
    let mut client = client(address, issuing).await?;
    let told = told(address, &mut client).await?;
    let copied = take(address, &mut client, (told.items, None), stock).await?;
    let kept = stock.take_last_good(&told.last_good);
    kept.map_err(|error| CopyError::Keep { address, reason: error.to_string() })?;
    Ok(copied)
}

async fn client(address: SocketAddr, issuing: &Issuing) -> Result<ReplicasClient<Channel>, CopyError> {
    let channel = connect::connect(address, issuing).await?;
    Ok(ReplicasClient::new(channel).max_decoding_message_size(STOCK_BYTES_MAX))
}

async fn told(address: SocketAddr, client: &mut ReplicasClient<Channel>) -> Result<StockResponse, CopyError> {
    let told = tokio::time::timeout(ANSWER_MAX, client.stock(StockRequest {})).await;
    let told = told.map_err(|_| CopyError::Slow { address, limit: ANSWER_MAX })?;
    Ok(told.map_err(|status| refused(address, &status))?.into_inner())
}

/// Copies what is missing here, of all components or of one.
async fn take(
    address: SocketAddr,
    client: &mut ReplicasClient<Channel>,
    (items, only): (Vec<StockItem>, Option<Digest>),
    stock: &Stock,
) -> Result<usize, CopyError> {
    let mut copied = 0;
    for item in items {
        let item = meant(item).map_err(|status| CopyError::Keep { address, reason: status.message().to_owned() })?;
        if only.is_none_or(|component| component == item.component) && stock.path(&item).is_none() {
            copied += usize::from(fetch(address, client, item, stock).await?);
        }
    }
    Ok(copied)
}

fn refused(address: SocketAddr, status: &Status) -> CopyError {
    match status.code() {
        Code::Unimplemented => CopyError::Unable { address },
        _ => CopyError::Refused { address, reason: status.message().to_owned() },
    }
}

/// False where the other has removed it meanwhile.
async fn fetch(
    address: SocketAddr,
    client: &mut ReplicasClient<Channel>,
    item: Item,
    stock: &Stock,
) -> Result<bool, CopyError> {
    let slow = |_| CopyError::Slow { address, limit: ANSWER_MAX };
    let refused = |status: Status| refused(address, &status);
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
/// Longer than one compilation may take; a replica that is gone is noticed sooner.
const MAKE_MAX: Duration = Duration::from_secs(150);
/// What was last good of ten thousand filters; a chunk is shorter.
const STOCK_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(STOCK_BYTES_MAX > CHUNK_BYTES_MAX);
