//! Whether this network namespace has IPv6, and the address `::6` on its loopback, from which the sidecar calls its app.
//!
//! IPv4 needs no such thing: all of 127.0.0.0/8 is there.

use crate::kernel::{Kernel, KernelError, Subsystem};
use crate::rules::Family;
use crate::wire::{ACKNOWLEDGE, Attribute, CREATE, Message, REPLACE};
use std::net::IpAddr;
use std::path::Path;

/// Why there is no table for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIpv6 {
    #[error("this kernel has no IPv6")]
    Absent,
    #[error("IPv6 is disabled here")]
    Disabled,
}

/// By what the kernel shows: the file of addresses is empty where IPv6 is disabled, since loopback has one.
pub fn ipv6() -> Result<(), NoIpv6> {
    addresses(std::fs::read_to_string(Path::new("/proc/self/net/if_inet6")).ok().as_deref())
}

fn addresses(table: Option<&str>) -> Result<(), NoIpv6> {
    match table {
        None => Err(NoIpv6::Absent),
        Some(table) if table.trim().is_empty() => Err(NoIpv6::Disabled),
        Some(_) => Ok(()),
    }
}

/// Adds it; one that is there already stays.
pub fn add_passthrough_source() -> Result<(), KernelError> {
    let IpAddr::V6(address) = Family::Ipv6.passthrough_source() else { return Ok(()) };
    let mut payload = vec![libc::AF_INET6 as u8, 128, NO_DUPLICATE_DETECTION, SCOPE_HOST];
    payload.extend(LOOPBACK_INDEX.to_ne_bytes());
    for number in [libc::IFA_ADDRESS, libc::IFA_LOCAL] {
        Attribute::bytes(number, &address.octets()).append_to(&mut payload);
    }
    let what = format!("adding {address} to the loopback interface");
    let flags = CREATE | REPLACE | ACKNOWLEDGE;
    Kernel::open(Subsystem::Route)?.ask(&[Message { what, kind: libc::RTM_NEWADDR, flags, payload }])
}

/// The first interface of each network namespace.
const LOOPBACK_INDEX: u32 = 1;
const NO_DUPLICATE_DETECTION: u8 = 0x02;
const SCOPE_HOST: u8 = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_by_the_table_of_addresses() {
        let cases = [
            (None, Err(NoIpv6::Absent)),
            (Some(""), Err(NoIpv6::Disabled)),
            (Some("00000000000000000000000000000001 01 80 10 80       lo\n"), Ok(())),
        ];
        for (table, want) in cases {
            assert_eq!(addresses(table), want, "table {table:?}");
        }
    }
}
