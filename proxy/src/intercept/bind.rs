//! The ports to which weft-init redirects, bound in each address family that the kernel has.
//!
//! It does not accept.

use crate::listener::{self, Bound, Door};
use crate::record::Side;
use anyhow::Context;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// From peers: on all addresses, since a redirect changes nothing but the port. From the app: on loopback, where the
/// kernel sends what processes of the pod send.
pub fn bind(workers: usize) -> anyhow::Result<Vec<Bound>> {
    let addresses: [(Side, IpAddr, u16); 4] = [
        (Side::Inbound, Ipv4Addr::UNSPECIFIED.into(), INBOUND_PORT),
        (Side::Outbound, Ipv4Addr::LOCALHOST.into(), OUTBOUND_PORT),
        (Side::Inbound, Ipv6Addr::UNSPECIFIED.into(), INBOUND_PORT),
        (Side::Outbound, Ipv6Addr::LOCALHOST.into(), OUTBOUND_PORT),
    ];
    let mut bound = Vec::new();
    for (side, ip, port) in addresses {
        let address = SocketAddr::new(ip, port);
        match listener::bind(Door::Captured(side), address, workers) {
            Ok(one) => bound.push(one),
            Err(error) if ip.is_ipv6() && is_absent(&error) => tracing::info!(%address, "IPv6 is left out: {error}"),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot listen on {address} for redirected connections"));
            }
        }
    }
    Ok(bound)
}

/// The kernel has no IPv6, or it is disabled here.
pub fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// Istio's, and weft-init's defaults.
const INBOUND_PORT: u16 = 15006;
const OUTBOUND_PORT: u16 = 15001;
