//! What is to be captured, as the annotations of a pod say it.
//!
//! Values that cannot be wrong; it does not know rules.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// All that the rules are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The sidecar's own: what it sends is not captured again.
    pub uid: u32,
    pub gid: u32,
    /// Where the sidecar takes what the app sends.
    pub outbound_port: u16,
    /// Where the sidecar takes what the app is sent.
    pub inbound_port: u16,
    /// Of the sidecar itself: reached directly.
    pub status_ports: Vec<u16>,
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub exclude_interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    pub exclude_ports: Vec<u16>,
    pub exclude_cidrs: Vec<Cidr>,
    pub include_cidrs: Wanted<Cidr>,
    /// Whatever the address.
    pub include_ports: Wanted<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    pub include_ports: Wanted<u16>,
    /// Counts where all ports are wanted, as in Istio.
    pub exclude_ports: Vec<u16>,
}

/// A comma list, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted<T> {
    All,
    /// Empty: none.
    Only(Vec<T>),
}

impl<T: FromStr> FromStr for Wanted<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "*" => Ok(Self::All),
            list => Ok(Self::Only(comma_list(list)?.0)),
        }
    }
}

/// A comma list; spaces and empty elements do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr> FromStr for List<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        comma_list(text)
    }
}

fn comma_list<T: FromStr>(text: &str) -> Result<List<T>, String>
where
    T::Err: fmt::Display,
{
    let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
    let parsed = elements.map(|element| element.parse().map_err(|error| format!("{element:?}: {error}")));
    parsed.collect::<Result<_, _>>().map(List)
}

/// A range of addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Its host bits are zero.
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    pub fn one(address: IpAddr) -> Self {
        Self { network: address, prefix: width(address) }
    }

    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// `None` where the range is one address.
    pub fn mask(&self) -> Option<Vec<u8>> {
        (self.prefix < width(self.network)).then(|| mask(self.prefix, usize::from(width(self.network) / 8)))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        width(address) == width(self.network) && masked(address, self.prefix) == self.network
    }

    pub fn is_ipv4(&self) -> bool {
        self.network.is_ipv4()
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write an address or a range, as 10.0.0.0/8 or fd00::/8".to_owned();
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| form())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let prefix = prefix.unwrap_or(width(address));
        if prefix > width(address) {
            return Err(format!("a prefix of {address} has at most {} bits", width(address)));
        }
        Ok(Self { network: masked(address, prefix), prefix })
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(prefix: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|index| match usize::from(prefix).saturating_sub(index * 8).min(8) {
            0 => 0,
            bits => 0xff << (8 - bits),
        })
        .collect()
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(address) & bits).into())
        }
        IpAddr::V6(address) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(address) & bits).into())
        }
    }
}

/// The name of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(String);

impl Interface {
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if text.is_empty() || text.len() >= NAME_BYTES || !text.bytes().all(valid) {
            return Err(format!("an interface's name has 1 to {} visible characters", NAME_BYTES - 1));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The kernel's IFNAMSIZ, the final zero included.
pub const NAME_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cases = [
            ("10.1.2.3", Some(("10.1.2.3", None))),
            ("10.1.2.3/8", Some(("10.0.0.0", Some(vec![255, 0, 0, 0])))),
            ("10.1.2.3/0", Some(("0.0.0.0", Some(vec![0; 4])))),
            ("10.129.0.0/9", Some(("10.128.0.0", Some(vec![255, 128, 0, 0])))),
            ("10.1.2.3/33", None),
            ("fd00::1/128", Some(("fd00::1", None))),
            ("fd00:1::/8", Some(("fd00::", Some([vec![255], vec![0; 15]].concat())))),
            ("ten", None),
            ("10.0.0.0/", None),
        ];
        for (text, want) in cases {
            let got = text.parse::<Cidr>().ok().map(|cidr| (cidr.network().to_string(), cidr.mask()));
            assert_eq!(got, want.map(|(network, mask)| (network.to_owned(), mask)), "range {text:?}");
        }
        let ten: Cidr = "10.0.0.0/8".parse().expect("valid");
        for (address, want) in [("10.255.0.1", true), ("11.0.0.1", false), ("::ffff:10.0.0.1", false)] {
            assert_eq!(ten.contains(address.parse().expect("valid")), want, "{address}");
        }
    }

    #[test]
    fn lists() {
        let ports = |list: &[u16]| Ok(Wanted::Only(list.to_vec()));
        let cases = [
            ("*", Ok(Wanted::All)),
            ("", ports(&[])),
            ("80, 443,", ports(&[80, 443])),
            ("80,http", Err("\"http\": invalid digit found in string".to_owned())),
        ];
        for (text, want) in cases {
            assert_eq!(text.parse::<Wanted<u16>>(), want, "list {text:?}");
        }
        assert!("a-name-of-16-byt".parse::<Interface>().is_err());
        assert!("eth0".parse::<Interface>().is_ok());
    }
}
