//! Headers that speak of one connection only are taken out before a message is passed on (RFC 9110, section 7.6.1).
//!
//! It does not decide what the next connection needs; hyper frames the body itself.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What becomes of `upgrade` (and the `connection: upgrade` that goes with it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopByHop {
    Strip,
    /// A protocol upgrade goes through: `connection: upgrade` and `upgrade` stay.
    KeepUpgrade,
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// `transfer-encoding` goes too: the body's framing is the next connection's own. `te` stays where it says `trailers`.
/// `found` decides whether there is anything to do, the common case being `connection` alone.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, found: &Found, upgrade: HopByHop) {
    let upgrade = match upgrade {
        HopByHop::KeepUpgrade => headers.get(header::UPGRADE).cloned(),
        HopByHop::Strip => None,
    };
    if found.connection {
        strip_listed(headers);
        headers.remove(header::CONNECTION);
    }
    if found.te && !says_trailers(headers) {
        headers.remove(header::TE);
    }
    if found.others {
        for name in [
            &KEEP_ALIVE,
            &PROXY_CONNECTION,
            &header::UPGRADE,
            &header::TRANSFER_ENCODING,
            &header::PROXY_AUTHENTICATE,
            &header::PROXY_AUTHORIZATION,
        ] {
            headers.remove(name);
        }
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Which of them a message has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    connection: bool,
    te: bool,
    others: bool,
}

impl Found {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            found.note(name);
        }
        found
    }

    pub(super) fn note(&mut self, name: &HeaderName) {
        // Lengths first: most headers differ in them.
        match name.as_str().len() {
            2 => self.te |= *name == header::TE,
            7 => self.others |= *name == header::UPGRADE,
            10 if *name == header::CONNECTION => self.connection = true,
            10 => self.others |= *name == KEEP_ALIVE,
            16 => self.others |= *name == PROXY_CONNECTION,
            17 => self.others |= *name == header::TRANSFER_ENCODING,
            18 => self.others |= *name == header::PROXY_AUTHENTICATE,
            19 => self.others |= *name == header::PROXY_AUTHORIZATION,
            _ => {}
        }
    }
}

fn strip_listed(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !is_usual(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        // A client must not be able to have a header taken away that the next hop decides by.
        .filter(|name| !KEPT.contains(name))
        .collect();
    for name in listed {
        headers.remove(name);
    }
}

fn is_usual(token: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"te", b"upgrade", b""].iter().any(|usual| token.eq_ignore_ascii_case(usual))
}

const KEPT: [HeaderName; 6] = [
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CONTENT_LENGTH,
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-forwarded-for"),
];

fn says_trailers(headers: &mut HeaderMap) -> bool {
    let trailers = headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect("name"),
                HeaderValue::from_str(value).expect("value"),
            );
        }
        map
    }

    #[test]
    fn what_stays() {
        use HopByHop::{KeepUpgrade, Strip};
        type Row<'a> = (&'a str, HopByHop, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);
        let rows: &[Row] = &[
            ("nothing to do", Strip, &[("accept", "*/*")], &[("accept", "*/*")]),
            (
                "keep-alive",
                Strip,
                &[("connection", "keep-alive"), ("keep-alive", "timeout=5"), ("a", "1")],
                &[("a", "1")],
            ),
            ("listed", Strip, &[("connection", "close, X-Secret"), ("x-secret", "1"), ("a", "1")], &[("a", "1")]),
            (
                "a listed header that matters stays",
                Strip,
                &[("connection", "authorization, x-forwarded-for"), ("authorization", "b"), ("x-forwarded-for", "c")],
                &[("authorization", "b"), ("x-forwarded-for", "c")],
            ),
            ("te: trailers stays", Strip, &[("te", "gzip, trailers"), ("connection", "te")], &[("te", "trailers")]),
            ("te without trailers", Strip, &[("te", "gzip")], &[]),
            ("framing", Strip, &[("transfer-encoding", "chunked"), ("proxy-connection", "keep-alive")], &[]),
            ("credentials for a proxy", Strip, &[("proxy-authorization", "x"), ("proxy-authenticate", "y")], &[]),
            ("upgrade without leave", Strip, &[("connection", "upgrade"), ("upgrade", "websocket")], &[]),
            (
                "upgrade",
                KeepUpgrade,
                &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")],
                &[("upgrade", "websocket"), ("connection", "upgrade")],
            ),
            ("no upgrade asked for", KeepUpgrade, &[("connection", "keep-alive")], &[]),
        ];
        for (row, upgrade, given, want) in rows {
            let mut headers = map(given);
            let found = Found::of(&headers);
            strip_hop_by_hop(&mut headers, &found, *upgrade);
            assert_eq!(headers, map(want), "{row}");
        }
    }
}
