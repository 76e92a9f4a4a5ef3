//! `weft-init`: run once in a pod, before its app, so that the app's connections go through the sidecar.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use weft_init::address::{self, NoIpv6};
use weft_init::capture::{Capture, Cidr, Inbound, Interface, List, Outbound, Wanted};
use weft_init::kernel::{Kernel, KernelError, Subsystem};
use weft_init::nftables;
use weft_init::proof::{Doors, ProofError, Proven};
use weft_init::rules::{Chain, Family, chains};

/// Redirects a pod's TCP connections to its sidecar, and proves it. Needs the capability NET_ADMIN.
#[derive(Parser)]
#[command(name = "weft-init", version, after_help = LISTS)]
struct Args {
    /// Ports that the app calls past the sidecar
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    exclude_outbound_ports: List<u16>,
    /// Addresses that the app calls past the sidecar
    #[arg(long, value_name = "CIDRS", default_value = "", hide_default_value = true)]
    exclude_outbound_cidrs: List<Cidr>,
    /// Addresses that the app calls through the sidecar
    #[arg(long, value_name = "CIDRS", default_value = "*")]
    include_outbound_cidrs: Wanted<Cidr>,
    /// Ports that the app calls through the sidecar whatever the address
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    include_outbound_ports: Wanted<u16>,
    /// Ports of the app that are reached through the sidecar
    #[arg(long, value_name = "PORTS", default_value = "*")]
    include_inbound_ports: Wanted<u16>,
    /// Ports of the app that are reached past the sidecar, where all others are not
    #[arg(long, value_name = "PORTS", default_value = "", hide_default_value = true)]
    exclude_inbound_ports: List<u16>,
    /// Interfaces on which nothing is redirected
    #[arg(long, value_name = "NAMES", default_value = "", hide_default_value = true)]
    exclude_interfaces: List<Interface>,
    /// The sidecar's user, whose connections are not redirected again
    #[arg(long, default_value_t = 1337)]
    uid: u32,
    /// The sidecar's group, likewise
    #[arg(long, default_value_t = 1337)]
    gid: u32,
    /// Where the sidecar takes what the app sends
    #[arg(long, value_name = "PORT", default_value_t = 15001)]
    outbound_port: u16,
    /// Where the sidecar takes what is sent to the app
    #[arg(long, value_name = "PORT", default_value_t = 15006)]
    inbound_port: u16,
    /// The sidecar's own ports, reached directly
    #[arg(long, value_name = "PORTS", default_value = "15008,15020,15021,15090")]
    status_ports: List<u16>,
}

const LISTS: &str = "\
Lists are separated by commas; `*` is everything, an empty list nothing.

Examples:
  All but a database that the app calls directly:
    weft-init --exclude-outbound-ports 3306
  Only what goes to the cluster's own addresses:
    weft-init --include-outbound-cidrs 10.0.0.0/8,fd00::/8";

impl Args {
    fn capture(self) -> Capture {
        Capture {
            uid: self.uid,
            gid: self.gid,
            outbound_port: self.outbound_port,
            inbound_port: self.inbound_port,
            status_ports: self.status_ports.0,
            outbound: Outbound {
                exclude_ports: self.exclude_outbound_ports.0,
                exclude_cidrs: self.exclude_outbound_cidrs.0,
                include_cidrs: self.include_outbound_cidrs,
                include_ports: self.include_outbound_ports,
            },
            inbound: Inbound { include_ports: self.include_inbound_ports, exclude_ports: self.exclude_inbound_ports.0 },
            exclude_interfaces: self.exclude_interfaces.0,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Proof(#[from] ProofError),
}

fn main() -> ExitCode {
    match run(&Args::parse().capture()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(capture: &Capture) -> Result<(), Failure> {
    let mut families = vec![Family::Ipv4];
    match address::ipv6() {
        Ok(()) => families.push(Family::Ipv6),
        Err(why @ (NoIpv6::Absent | NoIpv6::Disabled)) => say(&format!("IPv6 is left out: {why}")),
    }
    let tables: Vec<(Family, Vec<Chain>)> =
        families.into_iter().map(|family| (family, chains(family, capture))).collect();
    let mut kernel = Kernel::open(Subsystem::Netfilter)?;
    // Before anything is changed: who holds the sidecar's ports?
    let doors = match tables.iter().map(|(family, _)| Doors::open(*family, capture)).collect::<Result<Vec<_>, _>>() {
        Ok(doors) => Some(doors),
        Err(ProofError::PortTaken { port, .. }) if kernel.ask(&[nftables::look(Family::Ipv4)]).is_ok() => {
            say(&format!(
                "port {port} is taken and rules are in place, as in a pod whose sidecar runs: replacing them \
                          without trying them again"
            ));
            None
        }
        Err(taken) => return Err(taken.into()),
    };
    if tables.iter().any(|(family, _)| *family == Family::Ipv6) {
        address::add_passthrough_source()?;
    }
    kernel.ask(&nftables::transaction(&tables))?;
    say(&format!(
        "connections go to ports {} (from the app) and {} (to it)",
        capture.outbound_port, capture.inbound_port
    ));
    for (door, (family, chains)) in doors.iter().flatten().zip(&tables) {
        for proven in door.prove(chains, capture)? {
            match proven {
                Proven::Arrived { uid, to, port } => {
                    say(&format!("proven: uid {uid} connecting to {to} arrives at port {port}"));
                }
                Proven::Untried(why) => say(&format!("not tried for {family:?}: {why}")),
            }
        }
    }
    Ok(())
}

fn say(line: &str) {
    // Without a log there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "weft-init: {line}");
}
