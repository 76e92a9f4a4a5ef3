//! Listening sockets: one per worker on the same address, and a door that closes only when nobody stands in front of it.
//!
//! It accepts; what a connection is, `connection` finds out.

use crate::connection;
use crate::connections::Connections;
use crate::origin::Origin;
use crate::record::Side;
use crate::worker::Worker;
#[cfg(target_os = "linux")]
use socket2::SockFilter;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What comes in at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The workload's service: peers' sidecars, and plain text where that is allowed.
    Inbound,
    /// The workload's app, by the HTTP_PROXY convention.
    Outbound,
    /// `--listen`: requests in origin form.
    Listen,
    /// What weft-init's rules redirect: to the workload, or from its app.
    Captured(Side),
}

impl Door {
    pub fn side(self) -> Side {
        match self {
            Self::Inbound => Side::Inbound,
            Self::Outbound | Self::Listen => Side::Outbound,
            Self::Captured(side) => side,
        }
    }

    /// What is known before a byte is read; of what was redirected, the connection itself has to say.
    pub fn origin(self) -> Option<Origin> {
        match self {
            Self::Inbound => Some(Origin::Plain),
            Self::Outbound => Some(Origin::Proxy),
            Self::Listen => Some(Origin::Host),
            Self::Captured(_) => None,
        }
    }
}

/// One address, open.
pub struct Bound {
    pub door: Door,
    pub address: SocketAddr,
    /// One for each worker.
    pub sockets: Vec<TcpListener>,
}

/// Binds `address` once for each worker. Port 0 takes any free one, the same for all.
pub fn bind(door: Door, address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let first = socket(door, address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        sockets.push(another(door, address, &sockets[0])?);
    }
    Ok(Bound { door, address, sockets })
}

/// The kernel spreads connections over the sockets of one address.
#[cfg(target_os = "linux")]
fn another(door: Door, address: SocketAddr, _first: &TcpListener) -> io::Result<TcpListener> {
    socket(door, address)
}

/// Elsewhere SO_REUSEPORT does not spread them: the workers share one accept queue.
#[cfg(not(target_os = "linux"))]
fn another(_door: Door, _address: SocketAddr, first: &TcpListener) -> io::Result<TcpListener> {
    first.try_clone()
}

fn socket(door: Door, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if matches!(door, Door::Captured(_)) && address.is_ipv6() {
        // Each family has a socket of its own: the kernel keeps original destinations by family.
        socket.set_only_v6(true)?;
    }
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(true)?;
    // Not with port 0: the port has to be free.
    socket.set_reuse_address(address.port() != 0)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A peer that vanished without a word is noticed in a few minutes.
pub fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE_INTERVAL);
    SockRef::from(tcp).set_tcp_keepalive(&keep_alive)
}

/// Accepts until `closing` resolves, then whoever stands in front of the door already.
pub async fn accept(
    worker: Rc<Worker>,
    door: Door,
    socket: TcpListener,
    closing: impl Future<Output = ()>,
) -> io::Result<()> {
    let connections = Rc::clone(worker.connections(door.side()));
    let listener = tokio::net::TcpListener::from_std(socket)?;
    accept_until(&worker, &connections, door, &listener, pin!(closing)).await;
    if let Err(error) = let_nobody_knock(&listener) {
        tracing::debug!(%error, "the door stays open until it closes");
    }
    let knocked = pin!(tokio::time::sleep(HANDSHAKE));
    accept_until(&worker, &connections, door, &listener, knocked).await;
    // Asked without the runtime, which may not have heard of the latest arrivals.
    let socket = listener.into_std()?;
    while let Ok((tcp, remote)) = socket.accept() {
        tcp.set_nonblocking(true)?;
        serve(&worker, &connections, door, TcpStream::from_std(tcp)?, remote);
    }
    Ok(())
}

async fn accept_until(
    worker: &Rc<Worker>,
    connections: &Rc<Connections>,
    door: Door,
    listener: &tokio::net::TcpListener,
    mut end: Pin<&mut impl Future<Output = ()>>,
) {
    loop {
        let accepted = async {
            connections.room().await;
            listener.accept().await
        };
        tokio::select! {
            biased;
            () = &mut end => return,
            accepted = accepted => match accepted {
                Ok((tcp, remote)) => serve(worker, connections, door, tcp, remote),
                Err(error) => pause_after(&error).await,
            },
        }
    }
}

/// From now on the kernel drops whoever begins to connect, while those who have begun still come in: who is dropped asks
/// again a second later and is refused. A socket that is closed with handshakes or connections before it cuts these off.
#[cfg(target_os = "linux")]
fn let_nobody_knock(listener: &tokio::net::TcpListener) -> io::Result<()> {
    const FLAGS: u32 = 13;
    const SYN: u32 = 2;
    let load_byte = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    let jump_if_set = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    let keep_bytes = (libc::BPF_RET | libc::BPF_K) as u16;
    // Of a listening socket's packets the filter sees the TCP header.
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(load_byte, 0, 0, FLAGS),
        SockFilter::new(jump_if_set, 0, 1, SYN),
        SockFilter::new(keep_bytes, 0, 0, 0),
        SockFilter::new(keep_bytes, 0, 0, u32::MAX),
    ])
}

/// Elsewhere there is no such filter: who comes in the last moment may be cut off.
#[cfg(not(target_os = "linux"))]
fn let_nobody_knock(_listener: &tokio::net::TcpListener) -> io::Result<()> {
    Ok(())
}

fn serve(worker: &Rc<Worker>, connections: &Rc<Connections>, door: Door, tcp: TcpStream, remote: SocketAddr) {
    if let Err(error) = tcp.set_nodelay(true).and_then(|()| keep_alive(&tcp)) {
        tracing::debug!(%remote, %error, "the client went away before it was served");
        return;
    }
    let entry = connections.enter();
    tokio::task::spawn_local(connection::serve(Rc::clone(worker), door, tcp, remote, entry));
}

/// Out of file descriptors or memory: those who wait are served when something has been given back.
async fn pause_after(error: &io::Error) {
    let of_one_connection = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !of_one_connection.contains(&error.kind()) {
        tracing::warn!(%error, "cannot accept connections; trying again");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Connections that the kernel may hold before they are accepted (capped by net.core.somaxconn).
const BACKLOG: i32 = 4096;
/// For handshakes that have begun when a door closes.
const HANDSHAKE: Duration = Duration::from_millis(200);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
