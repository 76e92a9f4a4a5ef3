//! Where a connection was meant to go, as far as the connection itself says.
//!
//! Without interception the client's own words say it; with interception (REDIRECT) the kernel kept where it was sent.

use std::net::SocketAddr;

/// Decided once per connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the app, by the HTTP_PROXY convention: each request names its host (absolute form, or CONNECT).
    Proxy,
    /// On a `--listen` address: the `Host` of each request.
    Host,
    /// From the app, inside CONNECT, which named host and port.
    Tunnel(Place),
    /// From another sidecar, which named host and port in the SNI.
    Sidecar(Place),
    /// To the inbound address without TLS: the `Host` of each request.
    Plain,
    /// From the app, redirected on its way to this address.
    Captured(SocketAddr),
    /// To the workload, redirected on its way to this address of it.
    Received {
        to: SocketAddr,
        /// What another sidecar named in the SNI.
        named: Option<Place>,
    },
}

/// A host, lower-case and without trailing dot, and a port of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

impl Place {
    /// Reads Istio's SNI, `outbound_.PORT_.SUBSET_.HOST`. The subset was the caller's choice among endpoints; here it
    /// means nothing more.
    pub fn of_sni(sni: &str) -> Option<Self> {
        let (port, rest) = sni.strip_prefix("outbound_.")?.split_once("_.")?;
        let (_subset, host) = rest.split_once("_.")?;
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { host, port: port.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_an_sni() {
        let cases = [
            ("outbound_.9080_._.reviews.default.svc.cluster.local", Some(("reviews.default.svc.cluster.local", 9080))),
            (
                "outbound_.9080_.v1_.reviews.default.svc.cluster.local",
                Some(("reviews.default.svc.cluster.local", 9080)),
            ),
            ("outbound_.443_.a-b_.Example.COM.", Some(("example.com", 443))),
            ("outbound_.99999_._.reviews", None),
            ("outbound_.x_._.reviews", None),
            ("outbound_.80_._.", None),
            ("outbound_.80_.reviews", None),
            ("reviews.default.svc.cluster.local", None),
            ("", None),
        ];
        for (sni, want) in cases {
            let want = want.map(|(host, port)| Place { host: host.to_owned(), port });
            assert_eq!(Place::of_sni(sni), want, "SNI {sni:?}");
        }
    }
}
