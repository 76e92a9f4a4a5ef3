//! gRPC streams one after the other: each message has to come back before the next one is sent, each stream has to end
//! with status 0.
//!
//! The messages are opaque bytes in gRPC's framing; nothing here knows protobuf.

use crate::call::{Body, Connection, Target, Version};
use crate::judge::{Patience, Tally};
use crate::load::end_of_input;
use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use clap::Args;
use http::{HeaderValue, Method, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

#[derive(Args)]
pub(crate) struct Options {
    /// http://HOST:PORT/SERVICE/METHOD
    url: String,
    /// Messages of a stream
    #[arg(long, default_value_t = 10)]
    messages: usize,
    /// Milliseconds between them
    #[arg(long, default_value_t = 50, value_name = "MS")]
    pause: u64,
    /// For each message
    #[command(flatten)]
    patience: Patience,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Tally> {
    let target = Target::new(&options.url, Version::Http2, &[])?.looked_up().await?;
    let mut end = std::pin::pin!(end_of_input());
    let (mut tally, mut kept) = (Tally::new(options.patience), None);
    loop {
        let outcome = tokio::select! {
            biased;
            () = &mut end => return Ok(tally),
            outcome = stream(&target, &options, &mut kept) => outcome,
        };
        match outcome {
            Ok(slowest) => tally.record(slowest, Ok(None)),
            Err(error) => {
                tally.record(Duration::ZERO, Err(format!("{error:#}")));
                kept = None;
                // The next one follows at the pace of the messages.
                tokio::time::sleep(Duration::from_millis(options.pause)).await;
            }
        }
    }
}

/// How long its slowest message took.
async fn stream(target: &Target, options: &Options, kept: &mut Option<Connection>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let connection = match kept.take().filter(|connection| !connection.is_closed()) {
        Some(connection) => kept.insert(connection),
        None => kept.insert(target.connect().await?),
    };
    let limit = options.patience.give_up();
    let (sender, messages) = mpsc::channel(1);
    let mut request = target.request(Body::new(StreamBody::new(ReceiverStream::new(messages))))?;
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    let response =
        tokio::time::timeout(limit, connection.send(request)).await.context("no response head in time")??;
    let mut answers = response.into_body();
    let mut slowest = start.elapsed();
    for number in 0..options.messages {
        let sent = Instant::now();
        let message = framed(format!("message {number}").as_bytes());
        sender.send(Ok(Frame::data(message.clone()))).await.context("the request stream has ended")?;
        let echoed = tokio::time::timeout(limit, read(&mut answers, message.len())).await;
        if echoed.with_context(|| format!("message {number} did not come back within {limit:?}"))?? != message {
            bail!("message {number} came back changed");
        }
        slowest = slowest.max(sent.elapsed());
        tokio::time::sleep(Duration::from_millis(options.pause)).await;
    }
    drop(sender);
    let rest = tokio::time::timeout(limit, answers.collect()).await.context("the stream did not end in time")??;
    let status = rest.trailers().and_then(|trailers| trailers.get("grpc-status")?.to_str().ok().map(str::to_owned));
    if status.as_deref() != Some("0") {
        bail!("grpc-status is {status:?}");
    }
    Ok(slowest)
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.extend_from_slice(&[0]);
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame.freeze()
}

async fn read(body: &mut Incoming, length: usize) -> anyhow::Result<Bytes> {
    let mut bytes = BytesMut::new();
    while bytes.len() < length {
        let frame = body.frame().await.context("the response ended early")??;
        match frame.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(_) => bail!("trailers came early"),
        }
    }
    Ok(bytes.freeze())
}
