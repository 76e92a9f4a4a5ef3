//! The proof that the rules do what they say: real connections, and where they arrive.
//!
//! The sidecar cannot make it: what it sends is not captured. What comes from outside the pod cannot be tried from
//! inside.

use crate::capture::{Capture, Interface, Wanted};
use crate::rules::{Chain, Family, Hook, Packet, verdict};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error(
        "port {port} is taken in this pod ({error}); Weft's sidecar needs it: let the app, or an init container that \
         still runs, listen elsewhere"
    )]
    PortTaken { port: u16, error: io::Error },
    #[error(
        "a connection of uid {uid} to {to} did not arrive at port {port}: {reason}; other rules of this pod may come \
         first (another mesh's init container, a CNI plugin's): see nft list ruleset and iptables-save -t nat"
    )]
    NotCaptured { uid: u32, to: SocketAddr, port: u16, reason: String },
    #[error(
        "what came to port {port} was meant for {to}, and the kernel says {said}; is nf_conntrack loaded on the node"
    )]
    OtherDestination { port: u16, to: SocketAddr, said: String },
    #[error("weft-init runs as uid {uid} or gid {gid}, which are the sidecar's: run it as root, with gid 0")]
    IsTheSidecar { uid: u32, gid: u32 },
    #[error("cannot prove the rules: {0}")]
    Io(#[from] io::Error),
}

/// The sidecar's ports, held while nobody else is there to answer.
pub struct Doors {
    family: Family,
    outbound: TcpListener,
    inbound: TcpListener,
}

/// What was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proven {
    /// It arrived, with its destination.
    Arrived { uid: u32, to: SocketAddr, port: u16 },
    /// Nothing could be tried, for this reason.
    Untried(String),
}

impl Doors {
    pub fn open(family: Family, capture: &Capture) -> Result<Self, ProofError> {
        let bind = |port| listener(family, port).map_err(|error| ProofError::PortTaken { port, error });
        Ok(Self { family, outbound: bind(capture.outbound_port)?, inbound: bind(capture.inbound_port)? })
    }

    /// Connects as the app would, and as the sidecar where that is permitted.
    pub fn prove(&self, chains: &[Chain], capture: &Capture) -> Result<Vec<Proven>, ProofError> {
        let (uid, gid) = own_ids();
        if uid == capture.uid || gid == capture.gid {
            return Err(ProofError::IsTheSidecar { uid, gid });
        }
        let Some(own) = own_address(self.family) else {
            return Ok(vec![Proven::Untried("there is no route to anywhere, so that nothing can leave".to_owned())]);
        };
        let outbound = match self.destination(chains, capture, own) {
            Some(to) => self.arrives(&self.outbound, None, to)?,
            None => Proven::Untried("these settings capture nothing that could be tried".to_owned()),
        };
        // Nobody listens there: only a redirect can make it arrive.
        let itself = SocketAddr::new(own, DISCARD_PORT);
        let itself = match self.arrives(&self.inbound, Some(capture.uid), itself) {
            Err(ProofError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => Proven::Untried(format!(
                "connecting as uid {} needs the capability SETUID; the sidecar does it when it starts",
                capture.uid
            )),
            other => other?,
        };
        Ok(vec![outbound, itself])
    }

    /// Somewhere that the rules capture: an address that is nobody's, where they capture that.
    fn destination(&self, chains: &[Chain], capture: &Capture, own: IpAddr) -> Option<SocketAddr> {
        let ((uid, gid), interface) = (own_ids(), default_interface(self.family)?);
        let nobody: IpAddr = match self.family {
            Family::Ipv4 => Ipv4Addr::new(192, 0, 2, 1).into(),
            Family::Ipv6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        };
        let mut addresses = vec![nobody];
        if let Wanted::Only(cidrs) = &capture.outbound.include_cidrs {
            addresses.extend(cidrs.iter().map(|cidr| cidr.network()).filter(|a| a.is_ipv4() == nobody.is_ipv4()));
        }
        let mut ports = vec![DISCARD_PORT];
        if let Wanted::Only(included) = &capture.outbound.include_ports {
            ports.extend(included);
        }
        let all = addresses.iter().flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port)));
        let captured = |to: &SocketAddr| {
            let (destination, port) = (to.ip(), to.port());
            let packet = Packet { source: own, destination, port, interface: interface.clone(), uid, gid };
            verdict(chains, Hook::Output, &packet) == Some(capture.outbound_port)
        };
        all.into_iter().find(captured)
    }

    fn arrives(&self, door: &TcpListener, uid: Option<u32>, to: SocketAddr) -> Result<Proven, ProofError> {
        let port = door.local_addr()?.port();
        let (family, shown) = (self.family, uid.unwrap_or(own_ids().0));
        let not = |reason: String| ProofError::NotCaptured { uid: shown, to, port, reason };
        // On a thread, whose user id for files is its own.
        let connecting = std::thread::spawn(move || connect(family, uid, to));
        let connected = connecting.join().map_err(|_| not("the attempt broke off".to_owned()))?;
        let client = match connected {
            Err(error) if uid.is_some() && error.kind() == io::ErrorKind::PermissionDenied => return Err(error.into()),
            connected => connected.map_err(|error| not(error.to_string()))?,
        };
        let own = client.local_addr()?.as_socket();
        let arrived = accept(door, |remote| Some(remote) == own)?;
        let arrived = arrived.ok_or_else(|| not("something else answered it".to_owned()))?;
        let said = original_destination(family, &arrived);
        if said.as_ref().ok() != Some(&to) {
            let said = said.map_or_else(|error| error.to_string(), |said| said.to_string());
            return Err(ProofError::OtherDestination { port, to, said });
        }
        Ok(Proven::Arrived { uid: shown, to, port })
    }
}

fn original_destination(family: Family, arrived: &impl AsFd) -> io::Result<SocketAddr> {
    let socket = SockRef::from(arrived);
    let address = match family {
        Family::Ipv4 => socket.original_dst_v4(),
        Family::Ipv6 => socket.original_dst_v6(),
    };
    address?.as_socket().ok_or_else(|| io::Error::other("no address"))
}

fn listener(family: Family, port: u16) -> io::Result<TcpListener> {
    let unspecified: IpAddr = match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let address = SocketAddr::new(unspecified, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if family == Family::Ipv6 {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // The connections of an earlier proof may still be winding up.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The one that is wanted, of those that come within the limit.
fn accept(door: &TcpListener, mut wanted: impl FnMut(SocketAddr) -> bool) -> io::Result<Option<std::net::TcpStream>> {
    let until = Instant::now() + ATTEMPT_MAX;
    loop {
        match door.accept() {
            Ok((arrived, remote)) if wanted(remote) => return Ok(Some(arrived)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if Instant::now() >= until {
                    return Ok(None);
                }
                std::thread::sleep(LOOK);
            }
            Err(error) => return Err(error),
        }
    }
}

fn connect(family: Family, uid: Option<u32>, to: SocketAddr) -> io::Result<Socket> {
    if let Some(uid) = uid {
        become_for_files(uid)?;
    }
    let domain = match family {
        Family::Ipv4 => Domain::IPV4,
        Family::Ipv6 => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.connect_timeout(&to.into(), ATTEMPT_MAX)?;
    Ok(socket)
}

/// Sockets belong to the id that a thread has for files, and that is what the rules look at.
#[allow(unsafe_code)]
fn become_for_files(uid: u32) -> io::Result<()> {
    // SAFETY: setfsuid changes nothing but this thread's id, and cannot fail but by leaving it as it is.
    let now = unsafe {
        libc::setfsuid(uid);
        libc::setfsuid(u32::MAX)
    };
    if now.cast_unsigned() == uid { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

#[allow(unsafe_code)]
fn own_ids() -> (u32, u32) {
    // SAFETY: both only read.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// That the system would send from, were it to send out; a UDP socket that is connected sends nothing.
fn own_address(family: Family) -> Option<IpAddr> {
    let (any, somewhere): (SocketAddr, SocketAddr) = match family {
        Family::Ipv4 => (([0, 0, 0, 0], 0).into(), ([192, 0, 2, 1], DISCARD_PORT).into()),
        Family::Ipv6 => (([0; 8], 0).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], DISCARD_PORT).into()),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(somewhere).ok()?;
    let own = socket.local_addr().ok()?.ip();
    (!own.is_loopback() && !own.is_unspecified()).then_some(own)
}

fn default_interface(family: Family) -> Option<Interface> {
    let file = match family {
        Family::Ipv4 => "/proc/self/net/route",
        Family::Ipv6 => "/proc/self/net/ipv6_route",
    };
    default_route(family, &std::fs::read_to_string(file).ok()?)
}

/// The interface of the route to everywhere, by the kernel's table of routes.
fn default_route(family: Family, table: &str) -> Option<Interface> {
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, everywhere) = match family {
            // Interface, destination, gateway, flags, reference count, use, metric, mask.
            Family::Ipv4 => (fields.first()?, zero(fields.get(1)?) && zero(fields.get(7)?)),
            // Destination, its prefix, source, its prefix, next hop, metric, reference count, use, flags, interface.
            Family::Ipv6 => (fields.get(9)?, zero(fields.first()?) && zero(fields.get(1)?)),
        };
        let interface = name.parse().ok()?;
        (everywhere && interface != Interface::loopback()).then_some(interface)
    })
}

const DISCARD_PORT: u16 = 9;
const BACKLOG: i32 = 64;
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_to_everywhere() {
        let ipv4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    eth1\t000A000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let zeros = "0".repeat(32);
        let ipv6 = format!(
            "{zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200       lo\n\
             {zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
        );
        let only_lo = ipv6.lines().next().unwrap_or_default().to_owned();
        let cases = [
            (Family::Ipv4, ipv4.to_owned(), Some("eth0")),
            (Family::Ipv4, ipv4.lines().take(2).collect(), None),
            (Family::Ipv6, ipv6, Some("eth0")),
            (Family::Ipv6, only_lo, None),
        ];
        for (family, table, want) in cases {
            let got = default_route(family, &table);
            assert_eq!(got.as_ref().map(Interface::as_str), want, "{family:?} {table}");
        }
    }
}
