//! Which traffic of a pod is redirected: Istio's annotations as arguments of weft-init.
//!
//! It does not know the rules that these become.

use super::decision::Refused;
use super::wishes::wrong;
use std::net::IpAddr;

/// `None` where the annotation is another's; otherwise the argument, or nothing where it says what is so anyway.
pub(super) fn argument(key: &str, value: &str) -> Result<Option<Vec<String>>, Refused> {
    let Some((_, flag, list)) = ANNOTATIONS.iter().find(|(name, ..)| *name == key) else { return Ok(None) };
    let value = value.trim();
    if value == "*" && flag.starts_with("--include") {
        return Ok(Some(Vec::new()));
    }
    let items: Vec<&str> = value.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    if let Some(bad) = items.iter().find(|item| !list.holds(item)) {
        return Err(wrong(key, bad, list.form()));
    }
    // Nothing is excluded; but where nothing is included, that is said.
    if items.is_empty() && !flag.starts_with("--include") {
        return Ok(Some(Vec::new()));
    }
    Ok(Some(vec![format!("{flag}={}", items.join(","))]))
}

#[derive(Clone, Copy)]
enum List {
    Ports,
    Cidrs,
    Interfaces,
}

impl List {
    fn holds(self, item: &str) -> bool {
        match self {
            Self::Ports => item.parse::<u16>().is_ok_and(|port| port != 0),
            Self::Cidrs => cidr(item),
            Self::Interfaces => item.len() <= 15 && !item.contains(|c: char| c == '/' || c.is_whitespace()),
        }
    }

    fn form(self) -> &'static str {
        match self {
            Self::Ports => "ports from 1 to 65535, separated by commas",
            Self::Cidrs => "networks such as 10.0.0.0/8 or 2001:db8::/32, separated by commas",
            Self::Interfaces => "names of network interfaces, separated by commas",
        }
    }
}

fn cidr(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= bits))
}

const ANNOTATIONS: &[(&str, &str, List)] = &[
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", "--include-outbound-cidrs", List::Cidrs),
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "--exclude-outbound-cidrs", List::Cidrs),
    ("traffic.sidecar.istio.io/includeOutboundPorts", "--include-outbound-ports", List::Ports),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", "--exclude-outbound-ports", List::Ports),
    ("traffic.sidecar.istio.io/includeInboundPorts", "--include-inbound-ports", List::Ports),
    ("traffic.sidecar.istio.io/excludeInboundPorts", "--exclude-inbound-ports", List::Ports),
    ("traffic.sidecar.istio.io/excludeInterfaces", "--exclude-interfaces", List::Interfaces),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_arguments() {
        let cases = [
            ("excludeOutboundPorts", "3306, 6379", Ok(vec!["--exclude-outbound-ports=3306,6379"])),
            ("excludeOutboundPorts", "", Ok(vec![])),
            ("includeOutboundPorts", "", Ok(vec!["--include-outbound-ports="])),
            ("includeInboundPorts", "*", Ok(vec![])),
            ("includeInboundPorts", "", Ok(vec!["--include-inbound-ports="])),
            (
                "includeOutboundIPRanges",
                "10.0.0.0/8,fd00::/8",
                Ok(vec!["--include-outbound-cidrs=10.0.0.0/8,fd00::/8"]),
            ),
            ("excludeOutboundIPRanges", "10.0.0.1", Ok(vec!["--exclude-outbound-cidrs=10.0.0.1"])),
            ("excludeInterfaces", "eth1,net1", Ok(vec!["--exclude-interfaces=eth1,net1"])),
            ("excludeInboundPorts", "0", Err("is \"0\"")),
            ("excludeInboundPorts", "80,http", Err("is \"http\"")),
            ("excludeOutboundIPRanges", "10.0.0.0/33", Err("is \"10.0.0.0/33\"")),
            ("excludeOutboundIPRanges", "example.com", Err("is \"example.com\"")),
        ];
        for (name, value, want) in cases {
            let got = argument(&format!("traffic.sidecar.istio.io/{name}"), value);
            match want {
                Ok(want) => assert_eq!(got, Ok(Some(want.into_iter().map(String::from).collect())), "{name}={value}"),
                Err(part) => assert!(got.is_err_and(|error| error.reason.contains(part)), "{name}={value}"),
            }
        }
        assert_eq!(argument("traffic.sidecar.istio.io/kubevirtInterfaces", "k6t"), Ok(None));
    }
}
