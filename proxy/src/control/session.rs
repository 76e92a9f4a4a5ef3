//! One stream to the control plane, from hello to its end: what it says becomes events.
//!
//! It judges nothing that arrives beyond the protocol level; the loop does.

use super::dial::{Dialled, Reach, dial};
use super::event::Event;
use super::rpc::discovery::discovery_client::DiscoveryClient;
use super::status::StatusCell;
use super::task::Task;
use rustls::ClientConfig;
use std::error::Error;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use weft_wire::proto::{self, from_control_plane, from_proxy};
use weft_wire::{LEVEL_MIN, MESSAGE_BYTES_MAX};

/// A stream that stands. Dropping it ends the stream.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) address: String,
    pub(super) channel: Channel,
    sender: mpsc::Sender<proto::FromProxy>,
    status: Arc<StatusCell>,
}

pub(super) struct Opening {
    pub(super) number: u64,
    pub(super) addresses: Vec<String>,
    pub(super) reach: Reach,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) hello: proto::Hello,
    pub(super) events: mpsc::Sender<Event>,
    /// Counts what is said.
    pub(super) status: Arc<StatusCell>,
}

impl Session {
    /// The last places are kept for acknowledgements.
    pub(super) fn has_room(&self) -> bool {
        self.sender.capacity() > OUTGOING_MAX / 2
    }

    /// `Err`: more waits to be sent than the control plane takes; the stream is not healthy.
    pub(super) fn send(&self, message: from_proxy::Message) -> Result<(), String> {
        let message = proto::FromProxy { message: Some(message) };
        self.status.traffic().send(&message);
        self.sender
            .try_send(message)
            .map_err(|_| format!("the control plane at {} takes no more messages", self.address))
    }
}

/// Runs until the stream ends; each session says exactly one `Closed`, as its last event.
pub(super) fn open(opening: Opening) -> Task {
    Task::spawn(async move {
        let (number, events) = (opening.number, opening.events.clone());
        let reason = match Box::pin(run(opening)).await {
            Ok(()) => "the control plane ended the stream".to_owned(),
            Err(reason) => reason,
        };
        let _ = events.send(Event::Closed { session: number, reason }).await;
    })
}

async fn run(opening: Opening) -> Result<(), String> {
    let (number, events, status) = (opening.number, opening.events.clone(), Arc::clone(&opening.status));
    let (session, mut incoming) = Box::pin(greet(opening)).await?;
    let say = words_of(session.address.clone());
    events.send(Event::Connected(session)).await.map_err(|_| STOPPING)?;
    while let Some(message) = incoming.message().await.map_err(&say)? {
        status.traffic().receive(&message);
        match message.message {
            Some(from_control_plane::Message::Update(update)) => {
                events.send(Event::Update { session: number, update }).await.map_err(|_| STOPPING)?;
            }
            Some(from_control_plane::Message::Welcome(_)) => return Err("the control plane said welcome twice".into()),
            // A kind of message that this level does not have: what must be understood comes in updates.
            None => {}
        }
    }
    Ok(())
}

/// Hello and welcome.
async fn greet(opening: Opening) -> Result<(Session, Streaming<proto::FromControlPlane>), String> {
    let Opening { number, addresses, reach, tls, hello, status, .. } = opening;
    let Dialled { channel, address } = dial(&addresses, tls, reach).await.map_err(|error| error.to_string())?;
    let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
    let hello = proto::FromProxy { message: Some(from_proxy::Message::Hello(hello)) };
    status.traffic().send(&hello);
    sender.send(hello).await.map_err(|_| STOPPING)?;
    let mut client = DiscoveryClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let say = words_of(address.clone());
    let slow = |_| format!("the control plane at {address} did not answer hello within {:?}", reach.answer_max);
    let answer = tokio::time::timeout(reach.answer_max, client.stream(ReceiverStream::new(outgoing)));
    let mut incoming = answer.await.map_err(slow)?.map_err(&say)?.into_inner();
    let first = tokio::time::timeout(reach.answer_max, incoming.message()).await.map_err(slow)?.map_err(&say)?;
    first.iter().for_each(|first| status.traffic().receive(first));
    check_welcome(first)?;
    Ok((Session { number, address, channel, sender, status }, incoming))
}

fn check_welcome(first: Option<proto::FromControlPlane>) -> Result<(), String> {
    match first.and_then(|message| message.message) {
        Some(from_control_plane::Message::Welcome(welcome)) if welcome.level >= LEVEL_MIN => Ok(()),
        Some(from_control_plane::Message::Welcome(welcome)) => Err(format!(
            "the control plane (version {}) speaks protocol level {}, this proxy needs {LEVEL_MIN}; upgrade the control plane",
            welcome.version, welcome.level
        )),
        Some(from_control_plane::Message::Update(_)) => {
            Err("the control plane's first message is no welcome".to_owned())
        }
        None => Err("the control plane ended the stream before it said welcome".to_owned()),
    }
}

fn words_of(address: String) -> impl Fn(tonic::Status) -> String {
    move |status| {
        let words = if status.message().is_empty() { status.code().description() } else { status.message() };
        let mut text = format!("the control plane at {address}: {words}");
        // Below tonic's "transport error" lies what TLS or the kernel said.
        let mut source = status.source();
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        text
    }
}

/// Subscriptions and acknowledgements waiting to be sent.
const OUTGOING_MAX: usize = 256;

const STOPPING: &str = "the proxy is stopping";
