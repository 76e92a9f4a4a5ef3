//! What the proxy knows of gRPC: how many messages a body holds, and how a refusal is said.
//!
//! It never decodes a message.

use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Counts length-prefixed messages in a stream of frames, whatever their cuts.
#[derive(Debug, Default)]
pub struct Messages {
    count: u64,
    /// Bytes of the current message still to come.
    rest: u64,
    /// Bytes of the next message's prefix.
    prefix: [u8; 5],
    have: usize,
}

impl Messages {
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn count_in(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(data.len() as u64);
                self.rest -= skipped;
                data = &data[skipped as usize..];
                continue;
            }
            let taken = (self.prefix.len() - self.have).min(data.len());
            self.prefix[self.have..self.have + taken].copy_from_slice(&data[..taken]);
            self.have += taken;
            data = &data[taken..];
            if self.have == self.prefix.len() {
                let [_compressed, length @ ..] = self.prefix;
                (self.rest, self.have) = (u64::from(u32::from_be_bytes(length)), 0);
                self.count += 1;
            }
        }
    }
}

/// `application/grpc`, `application/grpc+proto`, but not gRPC-Web.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    let rest = value.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'+' || rest[0] == b';')
}

/// `grpc-timeout`: up to eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Option<std::time::Duration> {
    use std::time::Duration;
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// The status in a response's headers or trailers.
pub fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A refusal in gRPC's words: HTTP status 200, no body, the status in the headers. `message` is for people.
pub fn refusal(status: StatusCode, message: &str) -> HeaderMap {
    let code = match status.as_u16() {
        400 | 431 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        504 => "4",
        429 | 502 | 503 => "14",
        499 => "1",
        _ => "2",
    };
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static(code));
    let encoded = percent_encoding::utf8_percent_encode(message, percent_encoding::CONTROLS).to_string();
    if let Ok(message) = HeaderValue::try_from(encoded) {
        headers.insert("grpc-message", message);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn messages_are_counted_whatever_the_cuts() {
        let stream = [&[0u8, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[9; 256]].concat();
        for size in [1, 2, 3, 5, 7, 64, stream.len()] {
            let mut messages = Messages::default();
            stream.chunks(size).for_each(|chunk| messages.count_in(chunk));
            assert_eq!(messages.count(), 3, "in chunks of {size}");
        }
    }

    #[test]
    fn timeouts() {
        let cases = [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("2H", Some(Duration::from_secs(7200))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("", None),
            ("S", None),
            ("1", None),
            ("123456789S", None),
            ("-1S", None),
            ("1ö", None),
        ];
        for (text, want) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_bytes(text.as_bytes()).expect("valid"));
            assert_eq!(timeout(&headers), want, "{text:?}");
        }
    }

    #[test]
    fn content_types() {
        let cases = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ];
        for (text, want) in cases {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(text))]);
            assert_eq!(is_grpc(&headers), want, "{text}");
        }
    }
}
