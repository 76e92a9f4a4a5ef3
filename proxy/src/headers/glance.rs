//! What the proxy itself wants of a request's headers, found in one look over them.
//!
//! A request has few headers, and most names that are asked for are not among them: to ask a map for one costs as much as
//! to look at all. It changes nothing.

use super::hop::Found;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Of a header with several values the first.
#[derive(Debug, Default)]
pub struct Glance {
    pub hosts: usize,
    pub named: Named,
    pub marks: Marks,
}

#[derive(Debug, Default)]
pub struct Named {
    pub host: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    pub user_agent: Option<HeaderValue>,
    pub forwarded_for: Option<HeaderValue>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    pub forwarded_proto: Presence,
    pub forwarded_client_cert: Presence,
    pub hop_by_hop: Found,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Absent,
    /// When the request came; it may have been taken away since.
    Seen,
}

impl Glance {
    pub fn at(headers: &HeaderMap) -> Self {
        let mut glance = Self::default();
        for (name, value) in headers {
            glance.note(name, value);
        }
        glance
    }

    /// The request's id, or a new one that the request has from now on.
    pub fn request_id(&mut self, headers: &mut HeaderMap, make: impl FnOnce() -> HeaderValue) -> HeaderValue {
        let kept = self.named.request_id.take();
        kept.unwrap_or_else(|| {
            let made = make();
            headers.insert(REQUEST_ID, made.clone());
            made
        })
    }

    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        let first = |kept: &mut Option<HeaderValue>| {
            kept.get_or_insert_with(|| value.clone());
        };
        // Lengths first: most names differ in them.
        match name.as_str().len() {
            4 if *name == header::HOST => {
                self.hosts += 1;
                first(&mut self.named.host);
            }
            10 if *name == header::USER_AGENT => first(&mut self.named.user_agent),
            12 if *name == REQUEST_ID => first(&mut self.named.request_id),
            15 if *name == FORWARDED_FOR => first(&mut self.named.forwarded_for),
            17 if *name == FORWARDED_PROTO => self.marks.forwarded_proto = Presence::Seen,
            23 if *name == FORWARDED_CLIENT_CERT => self.marks.forwarded_client_cert = Presence::Seen,
            _ => self.marks.hop_by_hop.note(name),
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_kept_or_made() {
        let mut headers = HeaderMap::new();
        let made = || HeaderValue::from_static("made");
        assert_eq!(Glance::at(&headers).request_id(&mut headers, made), "made");
        assert_eq!(headers[REQUEST_ID], "made");
        headers.insert(REQUEST_ID, HeaderValue::from_static("kept"));
        assert_eq!(Glance::at(&headers).request_id(&mut headers, made), "kept");
    }

    #[test]
    fn each_name_is_known_by_its_length() {
        let value = HeaderValue::from_static;
        let mut headers = HeaderMap::new();
        assert_eq!(Glance::at(&headers).hosts, 0);
        for name in
            [header::HOST, header::USER_AGENT, REQUEST_ID, FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_CLIENT_CERT]
        {
            headers.append(name.clone(), value("first"));
            headers.append(name, value("second"));
        }
        let Glance { hosts, named, marks } = Glance::at(&headers);
        assert_eq!(hosts, 2);
        for (found, name) in [
            (named.host, "host"),
            (named.user_agent, "user-agent"),
            (named.request_id, "request-id"),
            (named.forwarded_for, "forwarded-for"),
        ] {
            assert_eq!(found, Some(value("first")), "{name}");
        }
        assert_eq!([marks.forwarded_proto, marks.forwarded_client_cert], [Presence::Seen; 2]);
    }
}
