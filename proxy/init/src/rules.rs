//! Which connections are redirected where: Istio's rules, as chains of rules.
//!
//! Pure. It does not know how rules are written for the kernel; what they mean to one connection, [`verdict`] says.

use crate::capture::{Capture, Cidr, Interface, Wanted};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One table of rules is made for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    pub fn loopback(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::LOCALHOST.into(),
            Self::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// Where the sidecar calls its own app from, so that the call is not captured again.
    pub fn passthrough_source(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::new(127, 0, 0, 6).into(),
            Self::Ipv6 => Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    pub name: &'static str,
    /// `None`: others jump there.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What comes from outside.
    Prerouting,
    /// What processes here send.
    Output,
}

/// Holds where all of `when` hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub when: Vec<Match>,
    pub then: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The first packet of a TCP connection. One that was open before the rules were is left alone.
    TcpBegins,
    Arrives(Interface),
    Leaves(Interface),
    From(Cidr),
    To(Is, Cidr),
    Port(Is, u16),
    Uid(Is, u32),
    Gid(Is, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    Equal,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Back to the chain that jumped here; from a hook's own chain: as it was meant to go.
    Return,
    Jump(&'static str),
    /// To this port of the pod.
    Redirect(u16),
}

/// Chains to which others jump come first.
pub fn chains(family: Family, capture: &Capture) -> Vec<Chain> {
    let mut prerouting = Vec::new();
    let mut output = Vec::new();
    for interface in &capture.exclude_interfaces {
        prerouting.push(rule([Match::Arrives(interface.clone())], Action::Return));
        output.push(rule([Match::Leaves(interface.clone())], Action::Return));
    }
    prerouting.push(rule([Match::TcpBegins], Action::Jump(INBOUND)));
    output.push(rule([Match::TcpBegins], Action::Jump(OUTBOUND)));
    vec![
        Chain { name: INBOUND, hook: None, rules: inbound(capture) },
        Chain { name: OUTBOUND, hook: None, rules: outbound(family, capture) },
        Chain { name: "prerouting", hook: Some(Hook::Prerouting), rules: prerouting },
        Chain { name: "output", hook: Some(Hook::Output), rules: output },
    ]
}

fn inbound(capture: &Capture) -> Vec<Rule> {
    let to = Action::Redirect(capture.inbound_port);
    let on = |port: &u16, then| rule([Match::Port(Is::Equal, *port)], then);
    let mut rules: Vec<Rule> = capture.status_ports.iter().map(|port| on(port, Action::Return)).collect();
    match &capture.inbound.include_ports {
        Wanted::All => {
            rules.extend(capture.inbound.exclude_ports.iter().map(|port| on(port, Action::Return)));
            rules.push(rule([], to));
        }
        Wanted::Only(ports) => rules.extend(ports.iter().map(|port| on(port, to))),
    }
    rules
}

fn outbound(family: Family, capture: &Capture) -> Vec<Rule> {
    let outbound = &capture.outbound;
    let lo = || Match::Leaves(Interface::loopback());
    let loopback = Cidr::one(family.loopback());
    // Before the rules for calls to oneself, which would capture them.
    let mut rules: Vec<Rule> =
        outbound.exclude_ports.iter().map(|port| rule([Match::Port(Is::Equal, *port)], Action::Return)).collect();
    rules.push(rule([lo(), Match::From(Cidr::one(family.passthrough_source()))], Action::Return));
    let owners: [fn(Is, u32) -> Match; 2] = [Match::Uid, Match::Gid];
    for (owner, id) in owners.into_iter().zip([capture.uid, capture.gid]) {
        // The app called a service of which it is an endpoint itself: from the sidecar to the sidecar.
        let tunnel = Match::Port(Is::Other, TUNNEL_PORT);
        let itself = [lo(), Match::To(Is::Other, loopback), tunnel, owner(Is::Equal, id)];
        rules.push(rule(itself, Action::Redirect(capture.inbound_port)));
        if !includes_loopback(outbound.include_cidrs.list()) {
            rules.push(rule([lo(), owner(Is::Other, id)], Action::Return));
        }
        rules.push(rule([owner(Is::Equal, id)], Action::Return));
    }
    rules.push(rule([Match::To(Is::Equal, loopback)], Action::Return));
    let of_family = |cidr: &&Cidr| cidr.is_ipv4() == (family == Family::Ipv4);
    let excluded = outbound.exclude_cidrs.iter().filter(of_family);
    rules.extend(excluded.map(|cidr| rule([Match::To(Is::Equal, *cidr)], Action::Return)));
    let to = Action::Redirect(capture.outbound_port);
    match &outbound.include_ports {
        Wanted::All => rules.push(rule([], to)),
        Wanted::Only(ports) => rules.extend(ports.iter().map(|port| rule([Match::Port(Is::Equal, *port)], to))),
    }
    match &outbound.include_cidrs {
        Wanted::All => rules.push(rule([], to)),
        Wanted::Only(cidrs) => {
            let cidrs = cidrs.iter().filter(of_family);
            rules.extend(cidrs.map(|cidr| rule([Match::To(Is::Equal, *cidr)], to)));
        }
    }
    rules
}

impl<T> Wanted<T> {
    fn list(&self) -> &[T] {
        match self {
            Self::All => &[],
            Self::Only(list) => list,
        }
    }
}

fn includes_loopback(cidrs: &[Cidr]) -> bool {
    cidrs.iter().any(|cidr| cidr.network().is_loopback())
}

fn rule<const N: usize>(when: [Match; N], then: Action) -> Rule {
    Rule { when: when.into(), then }
}

/// The first packet of a connection, as far as rules look at it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
    pub interface: Interface,
    pub uid: u32,
    pub gid: u32,
}

/// The port to which the rules of this hook redirect the connection; `None`: as it was meant to go.
pub fn verdict(chains: &[Chain], hook: Hook, packet: &Packet) -> Option<u16> {
    let base = chains.iter().find(|chain| chain.hook == Some(hook))?;
    match walk(chains, base, packet) {
        Some(Action::Redirect(port)) => Some(port),
        _ => None,
    }
}

fn walk(chains: &[Chain], chain: &Chain, packet: &Packet) -> Option<Action> {
    for rule in &chain.rules {
        if !rule.when.iter().all(|when| when.holds(packet)) {
            continue;
        }
        match rule.then {
            Action::Return => return None,
            Action::Redirect(_) => return Some(rule.then),
            Action::Jump(name) => {
                let there = chains.iter().find(|chain| chain.name == name);
                if let Some(end) = there.and_then(|chain| walk(chains, chain, packet)) {
                    return Some(end);
                }
            }
        }
    }
    None
}

impl Match {
    fn holds(&self, packet: &Packet) -> bool {
        match self {
            Self::TcpBegins => true,
            Self::Arrives(interface) | Self::Leaves(interface) => packet.interface == *interface,
            Self::From(cidr) => cidr.contains(packet.source),
            Self::To(is, cidr) => is.holds(cidr.contains(packet.destination)),
            Self::Port(is, port) => is.holds(packet.port == *port),
            Self::Uid(is, uid) => is.holds(packet.uid == *uid),
            Self::Gid(is, gid) => is.holds(packet.gid == *gid),
        }
    }
}

impl Is {
    fn holds(self, equal: bool) -> bool {
        equal == (self == Self::Equal)
    }
}

pub const TABLE: &str = "weft";
const INBOUND: &str = "inbound";
const OUTBOUND: &str = "outbound";
/// Reserved for tunnels between sidecars.
const TUNNEL_PORT: u16 = 15008;
