//! What was going to the workload: from a peer's sidecar, in plain text, or in TLS that is the app's own.
//!
//! The port decides what is accepted. It does not open connections to the app (`tcp`, `exchange`).

use super::Arrived;
use super::hello::{HELLO_BYTES_MAX, Hello, hello};
use crate::connection::{Connection, Unserved, detect_within, serve_http, serve_tls};
use crate::detect::Spoken;
use crate::origin::{Origin, Place};
use crate::plan::InboundPort;
use crate::record::Side;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::tcp;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use weft_snapshot::{MtlsMode, Protocol};

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// TLS of a peer's sidecar.
    Sidecar,
    Http(Spoken),
    /// Anything else, and silence: the app's server speaks first.
    Bytes,
}

pub(super) async fn serve(arrived: Arrived) -> Result<(), Unserved> {
    let Arrived { worker, mut stream, entry, peer, to } = arrived;
    let plan = worker.plans.pin();
    // Before the first plan nobody knows who may speak to the workload, and through which filters.
    let port = Arc::clone(plan.captured_port(to.port()).ok_or(Unserved::NoPlan)?);
    drop(plan);
    let first = if port.protocol == Protocol::Tcp && port.mtls == MtlsMode::Disable {
        First::Bytes
    } else {
        let limit = patience(&port, &worker.settings);
        tokio::select! {
            biased;
            first = first(&mut stream, &port, limit) => first?,
            () = entry.given_up() => return Err(Unserved::Draining),
        }
    };
    if first == First::Sidecar {
        return serve_tls(worker, stream, entry, (peer, Some(to))).await;
    }
    let connection = Connection::new((worker, entry), Side::Inbound, Origin::Received { to, named: None }, peer);
    match first {
        First::Http(spoken) => serve_http(stream, spoken, connection).await,
        First::Bytes | First::Sidecar => tcp::serve_inbound(stream, Rc::new(connection)).await,
    }
    Ok(())
}

/// How long a client may be silent before that means that the server speaks first. Where it cannot mean that, a client
/// may open a connection and use it later.
fn patience(port: &InboundPort, settings: &Settings) -> Duration {
    let http = matches!(port.protocol, Protocol::Http | Protocol::Http2);
    // Filters see HTTP only: bytes would not be let past them.
    let guarded = port.protocol == Protocol::Detect && !port.filters.is_empty();
    if http || guarded || port.mtls == MtlsMode::Strict { settings.silence.head } else { settings.detect_timeout }
}

async fn first(stream: &mut Stream, port: &InboundPort, limit: Duration) -> Result<First, Unserved> {
    match detect_within(stream, limit).await? {
        Some(Spoken::Tls) if port.mtls != MtlsMode::Disable => {
            let named = server_name(stream, limit).await?;
            let mesh = named.is_some_and(|name| Place::of_sni(&name).is_some());
            Ok(if mesh { First::Sidecar } else { First::Bytes })
        }
        Some(spoken @ (Spoken::Http1 | Spoken::Http2)) if port.protocol != Protocol::Tcp => Ok(First::Http(spoken)),
        Some(Spoken::Tls | Spoken::Http1 | Spoken::Http2 | Spoken::Opaque) | None => Ok(First::Bytes),
    }
}

/// Of a client that has begun a handshake; `None` also where it is none.
pub(super) async fn server_name(stream: &mut Stream, limit: Duration) -> io::Result<Option<String>> {
    let read = async {
        loop {
            match hello(stream.prefix()) {
                Hello::Names(name) => return Ok(name),
                Hello::Invalid => return Ok(None),
                Hello::Unfinished if stream.prefix().len() >= HELLO_BYTES_MAX => return Ok(None),
                Hello::Unfinished => {}
            }
            if stream.read_ahead(HELLO_BYTES_MAX).await? == 0 {
                return Ok(None);
            }
        }
    };
    tokio::time::timeout(limit, read).await.unwrap_or(Ok(None))
}
