//! The half of the proof that only the sidecar can make: what it sends to its own pod comes back to its inbound side.
//!
//! Without that rule an app that calls a service of which it is an endpoint would be answered past its sidecar's
//! policies; and where it is missing, so are the others.

use crate::listener::{Bound, Door};
use crate::record::Side;
use crate::upstream::passthrough_source;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error(
        "this pod's connections are not redirected to its sidecar: a connection to {to} arrived there directly; \
         weft-init has to run before (with the same --uid, and this process as that user), and nothing may remove its \
         rules"
    )]
    Direct { to: SocketAddr },
    #[error(
        "this sidecar cannot call its app: {address} is not to be had ({error}); weft-init adds it to the loopback \
         interface"
    )]
    NoSource { address: IpAddr, error: io::Error },
    #[error("cannot try whether this pod's connections are redirected: {0}")]
    Io(#[from] io::Error),
}

/// Called while the inbound ports are bound and nobody accepts there yet: what comes is taken up when serving begins,
/// and found to be over.
pub fn prove(captured: &[Bound]) -> Result<(), ProofError> {
    for bound in captured.iter().filter(|bound| bound.door == Door::Captured(Side::Inbound)) {
        let Some(own) = own_address(bound.address.is_ipv4()) else { continue };
        let source = passthrough_source(SocketAddr::new(own, 0));
        UdpSocket::bind((source, 0)).map_err(|error| ProofError::NoSource { address: source, error })?;
        let listener = TcpListener::bind((own, 0))?;
        listener.set_nonblocking(true)?;
        let to = listener.local_addr()?;
        // The kernel answers for whoever listens where the connection arrives.
        let _client = TcpStream::connect_timeout(&to, ATTEMPT_MAX)?;
        match listener.accept() {
            Ok(_) => return Err(ProofError::Direct { to }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// That the system would send from; a UDP socket that is connected sends nothing. `None` where there is no way out.
pub fn own_address(ipv4: bool) -> Option<IpAddr> {
    let (any, somewhere): (SocketAddr, SocketAddr) = if ipv4 {
        (([0, 0, 0, 0], 0).into(), ([192, 0, 2, 1], DISCARD_PORT).into())
    } else {
        (([0; 8], 0).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], DISCARD_PORT).into())
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(somewhere).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

const DISCARD_PORT: u16 = 9;
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
