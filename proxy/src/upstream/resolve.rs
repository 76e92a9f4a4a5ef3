//! Which addresses an endpoint has: its own, or what DNS says of its name, asked again once a minute.
//!
//! It does not connect. An answer that cannot be renewed stays in use.

use super::Endpoint;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use weft_snapshot::Dial;

/// What DNS said.
pub(super) struct Resolved {
    addresses: Vec<SocketAddr>,
    /// The worker's tick.
    at: u32,
    /// Where the next connection begins, so that connections spread over the addresses.
    turn: usize,
}

impl Resolved {
    fn next_order(&mut self) -> Vec<SocketAddr> {
        let mut order = self.addresses.clone();
        order.rotate_left(self.turn % self.addresses.len());
        self.turn = self.turn.wrapping_add(1);
        order.truncate(ADDRESSES_MAX);
        order
    }
}

impl Endpoint {
    /// In the order in which to try them; never empty.
    pub(super) async fn addresses(&self, now: u32) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match &self.place.dial {
            Dial::Address(address) => return Ok(vec![*address]),
            Dial::Name { host, port } => (host.as_str(), *port),
        };
        if let Some(resolved) = self.resolved.borrow_mut().as_mut()
            && u64::from(now.saturating_sub(resolved.at)) < REFRESH.as_secs()
        {
            return Ok(resolved.next_order());
        }
        let answer = tokio::net::lookup_host((host, port)).await.map(Iterator::collect::<Vec<_>>);
        let mut resolved = self.resolved.borrow_mut();
        match answer {
            Ok(addresses) if !addresses.is_empty() => {
                let turn = resolved.as_ref().map_or(0, |old| old.turn);
                Ok(resolved.insert(Resolved { addresses, at: now, turn }).next_order())
            }
            answer => match resolved.as_mut() {
                Some(old) => Ok(old.next_order()),
                None => Err(answer.err().unwrap_or_else(|| io::Error::other("the name has no address"))),
            },
        }
    }
}

/// Istio's `dnsRefreshRate`.
const REFRESH: Duration = Duration::from_secs(60);
/// Addresses tried for one connection.
const ADDRESSES_MAX: usize = 4;
