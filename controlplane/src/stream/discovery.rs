//! `Discovery.Stream`: turns what one proxy says into events, and hands on what the world loop answers.
//!
//! It checks who speaks, how and how much; it does not know what proxies are told.

use super::Services;
use super::caller::{Caller, CallerSvid};
use super::sign::named;
use crate::rpc::discovery::discovery_server::Discovery;
use crate::world::{Event, Joining, Line, Running, SUBSCRIPTIONS_MAX, StreamId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use weft_snapshot::{FilterKey, Host};
use weft_wire::proto::{self, from_control_plane, from_proxy};
use weft_wire::{Holding, LEVEL, LEVEL_MIN};

#[tonic::async_trait]
impl Discovery for Services {
    type StreamStream = ReceiverStream<Result<proto::FromControlPlane, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<proto::FromProxy>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let caller = Caller::of(&request)?;
        let svid = caller.known()?.clone();
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let (services, mut incoming) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let (ends, ended) = oneshot::channel();
            let line = Line { outbox: outbox.clone(), ends };
            match services.introduce(&mut incoming, &caller, svid, line).await {
                Ok(joining) => {
                    // From here on the world loop holds the sending end, and it alone closes it.
                    drop(outbox);
                    services.attend(incoming, joining, ended).await;
                }
                Err(status) => {
                    tracing::warn!(remote = %caller.remote, reason = status.message(), "stream refused");
                    // The proxy may be gone.
                    let _ = outbox.send(Err(status)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Services {
    async fn introduce(
        &self,
        incoming: &mut Streaming<proto::FromProxy>,
        caller: &Caller,
        svid: CallerSvid,
        line: Line,
    ) -> Result<Joining, Status> {
        let first = tokio::time::timeout(HELLO_MAX, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(from_proxy::Message::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("the first message of a stream is a hello"));
        };
        let level = agree(hello.level)?;
        let joining = self.joining(hello, caller, svid, line)?;
        let welcome = proto::Welcome { level, version: env!("CARGO_PKG_VERSION").to_owned() };
        let welcome = proto::FromControlPlane { message: Some(from_control_plane::Message::Welcome(welcome)) };
        // A proxy that is gone already is noticed at the next step.
        let _ = joining.line.outbox.send(Ok(welcome)).await;
        Ok(joining)
    }

    /// Until the proxy goes, or the world loop ends the stream.
    async fn attend(
        &self,
        mut incoming: Streaming<proto::FromProxy>,
        joining: Joining,
        mut ended: oneshot::Receiver<()>,
    ) {
        let stream = joining.stream;
        let told = self.tell(Event::Hello(Box::new(joining))).await;
        let heard = tokio::select! {
            heard = self.hear(stream, &mut incoming) => heard,
            _ = &mut ended => Ok(()),
        };
        if let Err(status) = told.and(heard) {
            tracing::warn!(reason = status.message(), "stream ends");
        }
        // Where the loop is gone, so is everything else.
        let _ = self.tell(Event::Gone { stream }).await;
    }

    fn joining(&self, hello: proto::Hello, caller: &Caller, svid: CallerSvid, line: Line) -> Result<Joining, Status> {
        let member = self.known(&named(&hello.workload)?, &svid)?;
        if hello.subscriptions.len() > SUBSCRIPTIONS_MAX || hello.held.len() > HELD_MAX || hello.seen.len() > SEEN_MAX {
            return Err(Status::resource_exhausted("the hello asks for or holds too much; hold nothing and try again"));
        }
        let held = Holding::of_hello(&hello.held).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let stream = StreamId(self.streams.fetch_add(1, Ordering::Relaxed));
        Ok(Joining {
            stream,
            workload: member.name,
            identity: svid.identity,
            svid_expires: svid.expires,
            remote: caller.remote,
            version: short(hello.version),
            level: hello.level,
            artifact_key: short(hello.artifact_key),
            inbound: inbound(&hello.inbound_address, caller.remote)?,
            asked: hosts(&hello.subscriptions),
            held,
            running: running(hello.running)?,
            seen: weft_wire::decode_seen(&hello.seen),
            line,
        })
    }

    async fn hear(&self, stream: StreamId, incoming: &mut Streaming<proto::FromProxy>) -> Result<(), Status> {
        // An error here is a connection that broke, or bytes that are no message: the stream is over either way.
        while let Ok(Some(message)) = incoming.message().await {
            let event = match message.message {
                Some(from_proxy::Message::Subscribe(change)) => {
                    let (add, remove) = (hosts(&change.add), hosts(&change.remove));
                    Event::Subscribe { stream, add, remove }
                }
                Some(from_proxy::Message::Ack(ack)) => Event::Ack { stream, revision: ack.revision },
                Some(from_proxy::Message::Nack(nack)) => {
                    let problems = nack.problems.into_iter().take(PROBLEMS_MAX).map(short).collect();
                    Event::Nack { stream, revision: nack.revision, problems }
                }
                Some(from_proxy::Message::Leaving(_)) => Event::Leaving { stream },
                Some(from_proxy::Message::Hello(_)) => return Err(Status::invalid_argument("a second hello")),
                // A newer proxy says something that this version does not know; the level allows it.
                None => continue,
            };
            self.tell(event).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: Event) -> Result<(), Status> {
        self.events.send(event).await.map_err(|_| Status::unavailable("the control plane stops"))
    }
}

/// The level that both speak.
fn agree(level: u32) -> Result<u32, Status> {
    if level < LEVEL_MIN {
        return Err(Status::failed_precondition(format!(
            "this control plane ({}) speaks protocol levels {LEVEL_MIN} to {LEVEL}, and the proxy speaks {level}; \
             upgrade the proxy",
            env!("CARGO_PKG_VERSION")
        )));
    }
    Ok(level.min(LEVEL))
}

fn running(said: Vec<proto::Running>) -> Result<BTreeMap<FilterKey, Running>, Status> {
    let digest = |text: &str| text.parse().map_err(|error| Status::invalid_argument(format!("{error}")));
    let one = |said: proto::Running| {
        let (component, artifact) = (digest(&said.component)?, digest(&said.artifact)?);
        Ok((FilterKey(said.filter), Running { component, artifact, config: said.config }))
    };
    said.into_iter().map(one).collect()
}

/// A proxy that listens on all addresses is reached where it comes from; one that names no port takes what is sent to
/// its app.
fn inbound(text: &str, remote: SocketAddr) -> Result<Option<SocketAddr>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| Status::invalid_argument(format!("inbound address {text:?} needs the form IP:PORT")))?;
    let everywhere = address.ip().is_unspecified() && address.port() != 0;
    let ip = if everywhere { remote.ip() } else { address.ip() };
    Ok(Some(SocketAddr::new(ip, address.port())))
}

/// What is no host cannot be in the mesh, and asking for it is no reason to end the stream.
fn hosts(texts: &[String]) -> BTreeSet<Host> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// Kept for status only.
fn short(mut text: String) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}

const HELLO_MAX: Duration = Duration::from_secs(10);
/// A welcome, one update, and the reason for the end.
const OUTBOX_MAX: usize = 4;
const HELD_MAX: usize = 200_000;
/// Kinds of objects.
const SEEN_MAX: usize = 256;
const PROBLEMS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels() {
        for (level, want) in [(0, None), (1, Some(1)), (LEVEL + 1, Some(LEVEL))] {
            assert_eq!(agree(level).ok(), want, "level {level}");
        }
    }

    #[test]
    fn inbound_addresses() {
        let remote = "10.0.0.7:5555".parse().unwrap();
        let rows = [
            ("", Some(None)),
            ("127.0.0.1:4000", Some(Some("127.0.0.1:4000"))),
            ("0.0.0.0:4000", Some(Some("10.0.0.7:4000"))),
            ("[::]:4000", Some(Some("10.0.0.7:4000"))),
            ("0.0.0.0:0", Some(Some("0.0.0.0:0"))),
            ("somewhere:4000", None),
        ];
        for (text, want) in rows {
            let got = inbound(text, remote).ok();
            assert_eq!(got, want.map(|want| want.map(|want| want.parse().unwrap())), "address {text:?}");
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(short("ö".repeat(1000)).len(), TEXT_BYTES_MAX);
        assert_eq!(short("a".to_owned() + &"ö".repeat(1000)).len(), TEXT_BYTES_MAX - 1);
        assert_eq!(short("short".to_owned()), "short");
    }
}
