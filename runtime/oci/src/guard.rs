//! Where a registry may send us: what keeps a registry, or whoever writes an image's name, from making the control
//! plane talk to its own neighbourhood (server-side request forgery).
//!
//! Every address is judged after resolution, at the moment of connecting, so that a name cannot change its mind in
//! between. Does not know HTTP.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How near an address is, from harmless to never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nearness {
    Public,
    Private,
    Loopback,
    /// Link-local addresses, where clouds serve credentials to whoever asks, and what is no unicast address.
    Never,
}

impl Nearness {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, c, _] = ip.octets();
        // Metadata services outside 169.254.0.0/16: Alibaba's and Oracle's.
        let metadata = ip == Ipv4Addr::new(100, 100, 100, 200) || [a, b, c] == [192, 0, 0];
        if metadata || a == 0 || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast() {
            Self::Never
        } else if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        // EC2's metadata service.
        let metadata = ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
        match ip.segments() {
            // IPv4 in IPv6: mapped, and NAT64.
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                Self::of_v4(Ipv4Addr::new(a, b, c, d))
            }
            _ if ip.is_loopback() => Self::Loopback,
            _ if metadata || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() => Self::Never,
            _ if ip.is_unique_local() => Self::Private,
            _ => Self::Public,
        }
    }

    const ALL: [Self; 4] = [Self::Public, Self::Private, Self::Loopback, Self::Never];
}

/// Whether somebody vouched for a registry, by listing it or by writing a loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    Named,
    Unnamed,
}

/// Judges the addresses to which one registry leads.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Without the port, lower case.
    host: String,
    /// How near the registry itself may be.
    own_max: Nearness,
    /// How near it was found: where it sends us must not be nearer.
    found: AtomicU8,
}

/// Why an address is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} is {reason}")]
pub(crate) struct BlockedAddress {
    pub(crate) host: String,
    pub(crate) reason: &'static str,
}

impl Guard {
    pub(crate) fn new(host: &str, trust: Trust) -> Self {
        let host = host.to_ascii_lowercase();
        let own_max = match trust {
            Trust::Named => Nearness::Loopback,
            Trust::Unnamed if is_loopback(&host) => Nearness::Loopback,
            Trust::Unnamed => Nearness::Private,
        };
        let found = literal(&host).map_or(Nearness::Public, Nearness::of);
        Self { host, own_max, found: AtomicU8::new(found as u8) }
    }

    /// For a host that is an IP literal, for which nothing is resolved.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), BlockedAddress> {
        match literal(host) {
            Some(ip) => self.check(host, ip),
            None => Ok(()),
        }
    }

    fn check(&self, host: &str, ip: IpAddr) -> Result<(), BlockedAddress> {
        let nearness = Nearness::of(ip);
        let own = host.eq_ignore_ascii_case(&self.host);
        let max = if own { self.own_max } else { self.found() };
        let reason = match nearness {
            Nearness::Never => "a link-local, metadata or other special address",
            _ if nearness <= max => {
                if own {
                    self.found.fetch_max(nearness as u8, Ordering::Relaxed);
                }
                return Ok(());
            }
            Nearness::Loopback if own => "a loopback address; list it in Mesh.registries if it is meant",
            Nearness::Loopback => "a loopback address, which the registry itself is not",
            _ => "a private address, which the registry itself is not",
        };
        Err(BlockedAddress { host: host.to_owned(), reason })
    }

    fn found(&self) -> Nearness {
        Nearness::ALL[usize::from(self.found.load(Ordering::Relaxed)).min(3)]
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// By its text: localhost or a loopback address.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || literal(host).is_some_and(|ip| Nearness::of(ip) == Nearness::Loopback)
}

/// Resolves by the system and drops what the guard refuses.
pub(crate) struct GuardedResolver(pub(crate) Arc<Guard>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let found = tokio::net::lookup_host((host, 0)).await?;
            let mut refused = None;
            let mut allowed: Vec<SocketAddr> = Vec::new();
            for address in found {
                match guard.check(host, address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(blocked) => refused = Some(blocked),
                }
            }
            match refused {
                Some(blocked) if allowed.is_empty() => Err(blocked.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearness_of_addresses() {
        let cases = [
            ("1.1.1.1", Nearness::Public),
            ("2606:4700::1", Nearness::Public),
            ("10.1.2.3", Nearness::Private),
            ("100.64.0.1", Nearness::Private),
            ("fd12::1", Nearness::Private),
            ("127.8.8.8", Nearness::Loopback),
            ("::1", Nearness::Loopback),
            ("::ffff:127.0.0.1", Nearness::Loopback),
            ("169.254.169.254", Nearness::Never),
            ("::ffff:169.254.169.254", Nearness::Never),
            ("64:ff9b::a9fe:a9fe", Nearness::Never),
            ("fe80::1", Nearness::Never),
            ("fd00:ec2::254", Nearness::Never),
            ("100.100.100.200", Nearness::Never),
            ("0.0.0.0", Nearness::Never),
            ("::", Nearness::Never),
            ("224.0.0.1", Nearness::Never),
        ];
        for (ip, want) in cases {
            assert_eq!(Nearness::of(ip.parse().expect("an address")), want, "address {ip}");
        }
    }

    #[test]
    fn where_a_registry_may_lead() {
        // registry, trust, its own address, target, allowed
        let cases = [
            ("public.example", Trust::Unnamed, "1.1.1.1", "2.2.2.2", true),
            ("public.example", Trust::Unnamed, "1.1.1.1", "10.0.0.1", false),
            ("public.example", Trust::Named, "1.1.1.1", "127.0.0.1", false),
            ("internal.example", Trust::Unnamed, "10.0.0.1", "10.0.0.2", true),
            ("internal.example", Trust::Unnamed, "10.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", Trust::Unnamed, "127.0.0.1", "127.0.0.2", true),
            ("127.0.0.1", Trust::Unnamed, "127.0.0.1", "169.254.169.254", false),
            ("listed.example", Trust::Named, "127.0.0.1", "127.0.0.1", true),
        ];
        for (registry, trust, own, target, want) in cases {
            let guard = Guard::new(registry, trust);
            guard.check(registry, own.parse().expect("an address")).expect("the registry itself");
            let got = guard.check("target.example", target.parse().expect("an address")).is_ok();
            assert_eq!(got, want, "{registry} at {own} ({trust:?}) leads to {target}");
        }
        let sneaky = Guard::new("sneaky.example", Trust::Unnamed);
        assert!(sneaky.check("sneaky.example", "127.0.0.1".parse().expect("an address")).is_err(), "unnamed loopback");
        assert!(Guard::new("169.254.169.254", Trust::Named).check_literal("169.254.169.254").is_err(), "metadata");
    }
}
