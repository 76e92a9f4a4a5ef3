//! The ports of a pod's sidecar that others than the mesh ask: the kubelet for readiness and the app's probes,
//! Prometheus for metrics, the pod's own containers to make it end.
//!
//! Readiness, our own metrics and stages are the admin port's; what is here is who may ask for what, and where.

mod app;
mod dial;
mod health;
mod probe;

pub use app::{App, AppError, Probed};

use crate::intercept::is_absent;
use anyhow::Context;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// What a port shows.
#[derive(Clone, Debug)]
pub enum Face {
    /// Everything; on loopback.
    Admin,
    /// Readiness, the app's probes and metrics of both; from the pod itself also draining and ending.
    Status(App),
    Readiness,
    Metrics,
}

/// One of the ports, open and not served yet.
pub struct Open {
    pub listener: TcpListener,
    pub face: Face,
}

/// On all addresses, in each family that the kernel has.
pub fn bind(status_port: u16, app: App) -> anyhow::Result<Vec<Open>> {
    let faces = [(status_port, Face::Status(app)), (READINESS_PORT, Face::Readiness), (METRICS_PORT, Face::Metrics)];
    let ips: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let mut open = Vec::new();
    for (port, face) in faces {
        for ip in ips {
            let address = SocketAddr::new(ip, port);
            match listen(address) {
                Ok(listener) => open.push(Open { listener, face: face.clone() }),
                Err(error) if ip.is_ipv6() && is_absent(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot listen on {address} for probes")),
            }
        }
    }
    Ok(open)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What `weft-proxy drain` does: the sidecar of this pod begins to drain, and this returns.
pub fn drain(status_port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, status_port).into(), DRAIN_MAX)?;
    stream.set_read_timeout(Some(DRAIN_MAX))?;
    stream.write_all(b"POST /drain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap_or_default();
    if status == "200" { Ok(()) } else { Err(io::Error::other(format!("it answered {status:?}"))) }
}

/// Istio's.
const READINESS_PORT: u16 = 15021;
const METRICS_PORT: u16 = 15090;
const BACKLOG: i32 = 128;
const DRAIN_MAX: Duration = Duration::from_secs(2);
