//! Where Bookinfo's apps listen: on the ports of the mesh's WorkloadEntries, or on free ones where another program has those.

use crate::output::progress;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The port that a WorkloadEntry of `examples/bookinfo/mesh` has, and the one that is used.
pub(super) struct Ports(Vec<(u16, u16)>);

impl Ports {
    pub(super) fn settle(wanted: impl IntoIterator<Item = u16>) -> Result<Self> {
        // Held until all are chosen, so that no two are the same.
        let mut held = Vec::new();
        let mut ports = Vec::new();
        for port in wanted {
            let (listener, used) = match listen(port) {
                Ok(taken) => taken,
                Err(error) => {
                    let (listener, free) = listen(0).context("no port of 127.0.0.1 is free")?;
                    progress(format_args!("port {port} cannot be had ({error}): {free} is used instead"));
                    (listener, free)
                }
            };
            held.push(listener);
            ports.push((port, used));
        }
        Ok(Self(ports))
    }

    pub(super) fn address(&self, wanted: u16) -> SocketAddr {
        let used = self.0.iter().find(|(port, _)| *port == wanted).map_or(wanted, |(_, used)| *used);
        (Ipv4Addr::LOCALHOST, used).into()
    }

    /// The text of the mesh with the ports that are used in its WorkloadEntries.
    pub(super) fn put_into(&self, mesh: &str) -> String {
        let entry = |port| format!("  ports: {{http: {port}}}\n");
        // By way of a word that is no port, so that a free port that another entry had is not replaced once more.
        let marked = self.0.iter().fold(mesh.to_owned(), |text, (port, _)| {
            text.replace(&entry(port.to_string()), &entry(format!("was {port}")))
        });
        self.0
            .iter()
            .fold(marked, |text, (port, used)| text.replace(&entry(format!("was {port}")), &entry(used.to_string())))
    }
}

fn listen(port: u16) -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_program_has_is_replaced_in_the_mesh() {
        let (_other, taken) = listen(0).unwrap();
        let (free, open) = listen(0).unwrap();
        drop(free);
        let ports = Ports::settle([taken, open]).unwrap();
        let used = ports.address(taken).port();
        assert_ne!(used, taken);
        assert_eq!(ports.address(open).port(), open);
        let mesh = format!("spec:\n  ports: {{http: {taken}}}\n---\nspec:\n  ports: {{http: {open}}}\n");
        let expected = format!("spec:\n  ports: {{http: {used}}}\n---\nspec:\n  ports: {{http: {open}}}\n");
        assert_eq!(ports.put_into(&mesh), expected);
    }
}
