//! `Replicas`: what this replica has of filters, to another replica that starts; and what its proxies run.
//!
//! It does not know how that one finds us, nor what it makes of it.

use super::caller::Caller;
use super::{Services, counts};
use crate::artifacts::Item;
use crate::rpc::replicas::replicas_server::Replicas;
use crate::status::ProxyLine;
use crate::world::Event;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use weft_snapshot::Digest;
use weft_wire::CHUNK_BYTES_MAX;
use weft_wire::proto::{
    ConnectedRequest, ConnectedResponse, CopyChunk, CountRequest, MakeRequest, StockItem, StockRequest, StockResponse,
};

#[tonic::async_trait]
impl Replicas for Services {
    async fn stock(&self, request: Request<StockRequest>) -> Result<Response<StockResponse>, Status> {
        self.check_replica(&request)?;
        let stock = self.artifacts.stock();
        let told = tokio::task::spawn_blocking(move || {
            let items = stock.items().into_iter().map(said).collect();
            stock.last_good().map(|last_good| StockResponse { last_good, items })
        });
        let told = told.await.map_err(|error| Status::internal(error.to_string()))?;
        told.map(Response::new).map_err(|error| Status::internal(error.to_string()))
    }

    async fn make(&self, request: Request<MakeRequest>) -> Result<Response<StockItem>, Status> {
        self.check_replica(&request)?;
        let MakeRequest { component, key } = request.into_inner();
        let component = component.parse::<Digest>().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let made = self.artifacts.make(component, &key).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(said(made)))
    }

    type CopyStream = ReceiverStream<Result<CopyChunk, Status>>;

    async fn copy(&self, request: Request<StockItem>) -> Result<Response<Self::CopyStream>, Status> {
        self.check_replica(&request)?;
        let item = meant(request.into_inner())?;
        let gone = || Status::not_found(format!("{} is not here any more", item.digest));
        let path = self.artifacts.stock().path(&item).ok_or_else(gone)?;
        let file = File::open(&path).await.map_err(|error| Status::internal(error.to_string()))?;
        let (chunks, sent) = mpsc::channel(CHUNKS_MAX);
        tokio::spawn(async move {
            if let Err(error) = send(file, &chunks).await {
                // The other may be gone.
                let _ = chunks.send(Err(Status::internal(error.to_string()))).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(sent)))
    }

    type CountStream = counts::Told;

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Self::CountStream>, Status> {
        self.check_replica(&request)?;
        Ok(Response::new(counts::tell(self.events.clone(), self.stirred.subscribe())))
    }

    async fn connected(&self, request: Request<ConnectedRequest>) -> Result<Response<ConnectedResponse>, Status> {
        self.check_replica(&request)?;
        let stops = |_| Status::unavailable("the control plane stops");
        let (answer, asked) = oneshot::channel();
        self.events.send(Event::Status(answer)).await.map_err(|_| Status::unavailable("the control plane stops"))?;
        let mut proxies = asked.await.map_err(stops)?.proxies;
        proxies.retain(ProxyLine::is_connected);
        let proxies = serde_json::to_vec(&proxies).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(ConnectedResponse { proxies }))
    }
}

impl Services {
    fn check_replica<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = Caller::of(request)?;
        let shown = &caller.known()?.identity;
        let own = self.authority.issuing().control_plane().map_err(|error| Status::internal(error.to_string()))?;
        if *shown == own {
            return Ok(());
        }
        tracing::warn!(remote = %caller.remote, identity = %shown, "asked for the filter store, which is for replicas");
        Err(Status::permission_denied(format!(
            "this is for replicas of the control plane, and the certificate is of {shown}"
        )))
    }
}

pub(crate) fn said(item: Item) -> StockItem {
    StockItem {
        component: item.component.to_string(),
        key: item.key.unwrap_or_default(),
        digest: item.digest.to_string(),
        bytes: item.bytes,
    }
}

pub(crate) fn meant(said: StockItem) -> Result<Item, Status> {
    let digest = |text: &str| text.parse::<Digest>().map_err(|error| Status::invalid_argument(format!("{error}")));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    if !said.key.bytes().all(plain) {
        return Err(Status::invalid_argument(format!("{:?} is no artifact key", said.key)));
    }
    Ok(Item {
        component: digest(&said.component)?,
        key: Some(said.key).filter(|key| !key.is_empty()),
        digest: digest(&said.digest)?,
        bytes: said.bytes,
    })
}

async fn send(mut file: File, chunks: &mpsc::Sender<Result<CopyChunk, Status>>) -> std::io::Result<()> {
    loop {
        let mut data = Vec::with_capacity(CHUNK_BYTES_MAX);
        (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut data).await?;
        if data.is_empty() || chunks.send(Ok(CopyChunk { data })).await.is_err() {
            return Ok(());
        }
    }
}

/// Waiting for a slow replica.
const CHUNKS_MAX: usize = 2;
