//! Servers that say who they are and what was asked of them, and clients that are somebody.

use crate::namespace::Namespace;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Listens on a port of all addresses; each connection is told `NAME ORIGINAL PEER` and what it writes, line by line.
pub fn serve(within: &Namespace, name: &'static str, port: u16) {
    let listener = within.inside(|| {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()).unwrap();
        socket.listen(64).unwrap();
        TcpListener::from(socket)
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(name, stream));
        }
    });
}

fn answer(name: &str, mut stream: TcpStream) {
    let peer = stream.peer_addr().unwrap();
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let socket = SockRef::from(&stream);
    let original = if peer.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = original.ok().and_then(|original| original.as_socket());
    let original = original.map_or_else(|| "unknown".to_owned(), |original| original.to_string());
    let _ = writeln!(stream, "{name} {original} {}", peer.ip());
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        let _ = stream.write_all(line.as_bytes());
        line.clear();
    }
}

/// Who connects, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub uid: u32,
    pub gid: u32,
    pub source: Option<IpAddr>,
}

pub const APP: Client = Client { uid: 1000, gid: 1000, source: None };
pub const ROOT: Client = Client { uid: 0, gid: 0, source: None };
pub const SIDECAR: Client = Client { uid: 1337, gid: 1337, source: None };

impl Client {
    pub fn connect(self, within: &Namespace, to: SocketAddr) -> std::io::Result<TcpStream> {
        within.inside(|| {
            // SAFETY: they change ids of this thread alone.
            unsafe {
                libc::setfsgid(self.gid);
                libc::setfsuid(self.uid);
            }
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            if let Some(source) = self.source {
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            Ok(socket.into())
        })
    }

    /// What the server says that answers.
    pub fn hears(self, within: &Namespace, to: SocketAddr) -> String {
        match self.connect(within, to) {
            Ok(mut stream) => line(&mut stream),
            Err(error) => error.to_string(),
        }
    }
}

/// One line, byte by byte so that nothing behind it is taken.
pub fn line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).is_ok_and(|read| read > 0) && byte != *b"\n" {
        line.extend(byte);
    }
    String::from_utf8(line).unwrap()
}
