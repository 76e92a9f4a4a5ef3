//! What a connection speaks, from its first bytes.
//!
//! Pure: it does not know sockets, and not which ports must never be looked at because their server speaks first.

/// What the client seems to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Tls,
    Http1,
    Http2,
    /// None of these: bytes to carry and not to read.
    Opaque,
}

/// Returns `None` while the bytes fit more than one protocol.
pub fn detect(prefix: &[u8]) -> Option<Spoken> {
    if prefix.is_empty() {
        return None;
    }
    if prefix[0] == TLS_HANDSHAKE {
        return detect_tls(prefix);
    }
    let common = prefix.iter().zip(HTTP2_PREFACE).take_while(|(a, b)| a == b).count();
    if common == HTTP2_PREFACE.len() {
        return Some(Spoken::Http2);
    }
    if common == prefix.len() {
        return None;
    }
    detect_http1(prefix)
}

/// A record of type handshake, version 3.x, that holds a ClientHello.
fn detect_tls(prefix: &[u8]) -> Option<Spoken> {
    let fits = |at: usize, want: fn(u8) -> bool| prefix.get(at).is_none_or(|byte| want(*byte));
    if !fits(1, |major| major == 3) || !fits(2, |minor| minor <= 4) || !fits(5, |kind| kind == CLIENT_HELLO) {
        return Some(Spoken::Opaque);
    }
    (prefix.len() > 5).then_some(Spoken::Tls)
}

/// `METHOD SP target SP HTTP/1.`; decided as soon as the method and the first byte of the target are there.
fn detect_http1(prefix: &[u8]) -> Option<Spoken> {
    let method = prefix.iter().take_while(|byte| is_token(**byte)).count();
    if method > METHOD_BYTES_MAX {
        return Some(Spoken::Opaque);
    }
    match &prefix[method..] {
        [] => None,
        [b' ', ..] if method > 0 => match prefix.get(method + 1) {
            None => None,
            Some(first) if first.is_ascii_graphic() => detect_version(&prefix[method + 1..]),
            Some(_) => Some(Spoken::Opaque),
        },
        _ => Some(Spoken::Opaque),
    }
}

/// The request line's end: only `HTTP/1.` makes it HTTP, since other text protocols begin with a word, too.
fn detect_version(target_and_rest: &[u8]) -> Option<Spoken> {
    let target = target_and_rest.iter().take_while(|byte| byte.is_ascii_graphic() || **byte >= 0x80).count();
    match target_and_rest.get(target) {
        None if target > TARGET_BYTES_MAX => Some(Spoken::Http1),
        None => None,
        Some(b' ') => {
            let version = &target_and_rest[target + 1..];
            let common = version.iter().zip(HTTP1_VERSION).take_while(|(a, b)| a == b).count();
            if common == HTTP1_VERSION.len() {
                Some(Spoken::Http1)
            } else if common == version.len() {
                None
            } else {
                Some(Spoken::Opaque)
            }
        }
        Some(_) => Some(Spoken::Opaque),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The longest prefix that [`detect`] may need: give it no more room than this.
pub const PREFIX_BYTES_MAX: usize = 4096;

/// SMTP, DNS, MySQL and MongoDB, where nobody said what a port speaks: Istio does not look there either.
pub const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];

const TLS_HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HTTP1_VERSION: &[u8] = b"HTTP/1.";
/// Longer first words are no method of any registered kind (the longest has 17 letters).
const METHOD_BYTES_MAX: usize = 24;
/// A target that long is taken for HTTP without having seen its version.
const TARGET_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let cases: &[(&[u8], Option<Spoken>)] = &[
            (b"", None),
            (b"\x16", None),
            (b"\x16\x03\x01\x02\x00", None),
            (b"\x16\x03\x01\x02\x00\x01", Some(Spoken::Tls)),
            (b"\x16\x03\x01\x02\x00\x02", Some(Spoken::Opaque)),
            (b"\x16\x04", Some(Spoken::Opaque)),
            (b"PR", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Spoken::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Some(Spoken::Http2)),
            (b"PROPFIND /a HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"GET", None),
            (b"GET ", None),
            (b"GET /", None),
            (b"GET / HTTP", None),
            (b"GET / HTTP/1.", Some(Spoken::Http1)),
            (b"GET / HTTP/2", Some(Spoken::Opaque)),
            (b"GET http://reviews:9080/ HTTP/1.1", Some(Spoken::Http1)),
            (b"CONNECT a:1 HTTP/1.0", Some(Spoken::Http1)),
            (b"GET /\r\n", Some(Spoken::Opaque)),
            (b"EHLO there\r\n", Some(Spoken::Opaque)),
            (b"\x00\x00\x00\x08", Some(Spoken::Opaque)),
            (b"A-WORD-LONGER-THAN-ANY-METHOD", Some(Spoken::Opaque)),
            (b" GET / HTTP/1.1", Some(Spoken::Opaque)),
        ];
        for (prefix, want) in cases {
            assert_eq!(detect(prefix), *want, "prefix {:?}", String::from_utf8_lossy(prefix));
        }
    }

    #[test]
    fn more_bytes_never_take_back_an_answer() {
        let streams: [&[u8]; 4] = [
            b"GET /products?id=1 HTTP/1.1\r\nhost: a\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ];
        for stream in streams {
            let answers: Vec<_> = (0..stream.len()).filter_map(|end| detect(&stream[..end])).collect();
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "stream {:?}", String::from_utf8_lossy(stream));
        }
    }

    #[test]
    fn an_answer_comes_before_the_room_is_full() {
        for byte in 0..=u8::MAX {
            assert!(detect(&[byte; PREFIX_BYTES_MAX]).is_some(), "byte {byte}");
        }
        assert_eq!(detect(&[b"GET /", [b'a'; PREFIX_BYTES_MAX].as_slice()].concat()), Some(Spoken::Http1));
    }
}
