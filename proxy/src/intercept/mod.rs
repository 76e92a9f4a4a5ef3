//! Connections that weft-init's rules redirect here: where each was going, and what becomes of it.
//!
//! Without interception nothing of this is used. It asks the kernel once for each connection.

mod bind;
mod hello;
mod inbound;
mod outbound;
mod proof;

pub use bind::{bind, is_absent};
pub use proof::{ProofError, own_address, prove};

use crate::connection::Unserved;
use crate::connections::Entry;
use crate::record::{PeerFacts, Security, Side};
use crate::stream::Stream;
use crate::telemetry::Party;
use crate::worker::Worker;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A redirected connection, before a byte of it is read.
struct Arrived {
    worker: Rc<Worker>,
    stream: Stream,
    entry: Entry,
    peer: PeerFacts,
    /// Where it was going.
    to: SocketAddr,
}

/// Serves one to its end.
pub async fn serve(
    worker: Rc<Worker>,
    side: Side,
    tcp: TcpStream,
    remote: SocketAddr,
    entry: Entry,
) -> Result<(), Unserved> {
    let local = tcp.local_addr()?;
    let to = original_destination(&tcp, local).map_err(Unserved::Origin)?;
    // Nobody has redirected it: whoever called this port itself would be sent round for ever.
    if to == local || side == Side::Inbound && worker.is_captured_port(to.port()) {
        return Err(Unserved::Loop(to));
    }
    let stream = Stream::from(tcp);
    let peer =
        |party| PeerFacts { remote: remote.into(), local: to.into(), party, security: Security::None, sni: None };
    match side {
        Side::Inbound => {
            let peer = peer(Arc::new(Party::unknown()));
            inbound::serve(Arrived { worker, stream, entry, peer, to }).await
        }
        Side::Outbound => {
            let app = worker.plans.pin().workload.as_ref().map(|workload| Arc::clone(&workload.party));
            let peer = peer(app.unwrap_or_else(|| Arc::new(Party::unknown())));
            outbound::serve(Arrived { worker, stream, entry, peer, to }).await
        }
    }
}

#[cfg(target_os = "linux")]
fn original_destination(tcp: &TcpStream, local: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket2::SockRef::from(tcp);
    let address = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() }?;
    address.as_socket().ok_or_else(|| io::Error::other("it is no address"))
}

#[cfg(not(target_os = "linux"))]
fn original_destination(_: &TcpStream, _: SocketAddr) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
