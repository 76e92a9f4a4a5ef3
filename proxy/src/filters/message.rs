//! What filters see of an exchange: weft-filter-host's `Message` over the proxy's own types, without copying maps.
//!
//! It reads; edits are the chain's.

use crate::headers::Head;
use crate::record::Record;
use http::{HeaderMap, StatusCode, header};
use std::borrow::Cow;
use weft_filter_host::{Attribute, Message};

/// A request on its way in.
pub(super) struct RequestView<'a> {
    pub(super) head: &'a Head,
    pub(super) record: &'a Record,
}

/// A response on its way out, and what its request's attributes were.
pub(super) struct ResponseView<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) record: &'a Record,
    pub(super) kept: &'a [Kept],
}

/// An attribute of the request that the filter wants to see with the response; read while there was a request.
pub(super) struct Kept {
    pub(super) attribute: Attribute,
    pub(super) value: Option<Vec<u8>>,
}

impl Message for RequestView<'_> {
    fn attribute(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>> {
        let head = self.head;
        match attribute {
            Attribute::Header(name) if name == "host" => None,
            Attribute::Header(name) => joined(&head.headers, name),
            Attribute::Method => text(head.method.as_str()),
            Attribute::Scheme => text(head.scheme.as_str()),
            Attribute::Authority => text(head.authority.as_str()),
            Attribute::Path => text(head.path.as_str()),
            Attribute::RequestId => joined(&head.headers, "x-request-id"),
            Attribute::Query(name) => query(head.path.query()?, name),
            Attribute::Cookie(name) => cookie(&head.headers, name),
            Attribute::Request(inner) => self.attribute(inner),
            Attribute::Status => None,
            of_exchange => exchange_attribute(self.record, of_exchange),
        }
    }

    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        if name == "host" {
            return Vec::new();
        }
        values(&self.head.headers, name)
    }

    fn header_names(&self) -> Vec<String> {
        names(&self.head.headers)
    }
}

impl Message for ResponseView<'_> {
    fn attribute(&self, attribute: &Attribute) -> Option<Cow<'_, [u8]>> {
        match attribute {
            Attribute::Header(name) => joined(self.headers, name),
            Attribute::Status => text(self.status.as_str()),
            Attribute::Request(inner) => {
                let kept = self.kept.iter().find(|kept| kept.attribute == **inner)?;
                kept.value.as_deref().map(Cow::Borrowed)
            }
            of_exchange => exchange_attribute(self.record, of_exchange),
        }
    }

    fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        values(self.headers, name)
    }

    fn header_names(&self) -> Vec<String> {
        names(self.headers)
    }
}

/// What is true of the exchange rather than of one of its messages.
fn exchange_attribute<'a>(record: &'a Record, attribute: &Attribute) -> Option<Cow<'a, [u8]>> {
    match attribute {
        Attribute::SourceIdentity => text(record.peer.party.principal()?.as_str()),
        Attribute::SourceNamespace => text(record.peer.party.principal()?.namespace()),
        Attribute::SourceAddress => text(record.peer.remote.as_str()),
        Attribute::DestinationService => text(record.service.as_ref()?.host()),
        Attribute::Route => text(&record.route.as_ref()?.name),
        Attribute::Subset => text(record.target.subset()?),
        Attribute::Upstream => text(&record.upstream.as_ref()?.endpoint_address),
        _ => None,
    }
}

fn text(text: &str) -> Option<Cow<'_, [u8]>> {
    Some(Cow::Borrowed(text.as_bytes()))
}

/// All values of a header as one; the usual single value is borrowed.
fn joined<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter().map(|value| value.as_bytes());
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
    let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
    let mut all = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        all.extend_from_slice(separator);
        all.extend_from_slice(value);
    }
    Some(Cow::Owned(all))
}

fn values(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
}

/// Without `host`, which is the authority.
fn names(headers: &HeaderMap) -> Vec<String> {
    headers.keys().filter(|name| **name != header::HOST).map(|name| name.as_str().to_owned()).collect()
}

/// The first value of a parameter, decoded; `+` is a space, as forms write it.
fn query<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*form_decoded(key) == *name.as_bytes()).then(|| form_decoded(value))
    })
}

fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
    Cow::Owned(percent_encoding::percent_decode(&spaced).collect())
}

/// RFC 6265: pairs apart by `;`, a value may stand in quotes.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, [u8]>> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|v| v.as_bytes().split(|b| *b == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let equals = pair.iter().position(|b| *b == b'=')?;
        let value = pair[equals + 1..].trim_ascii();
        let unquoted = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        (pair[..equals].trim_ascii() == name.as_bytes()).then_some(Cow::Borrowed(unquoted))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::headers::{Authority, Scheme};
    use crate::record::{Side, Target, UpstreamFacts};
    use crate::samples::{self, Stand, backend_name};
    use crate::telemetry::ServiceFacts;
    use http::{HeaderName, HeaderValue, Method};
    use std::rc::Rc;
    use std::sync::Arc;

    fn head(path: &str, headers: &[(&str, &[u8])]) -> Head {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        Head {
            method: Method::POST,
            scheme: Scheme::Https,
            authority: Authority::from_header(HeaderValue::from_static("reviews:9080")).unwrap(),
            path: path.parse().unwrap(),
            headers: map,
        }
    }

    fn shown(value: Option<Cow<'_, [u8]>>) -> Option<String> {
        value.map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    #[test]
    fn attributes_of_a_request() {
        let head = head(
            "/a?x=1%202+3&x=4&flag&na%6De=v&empty=",
            &[
                ("accept", b"a"),
                ("accept", b"b"),
                ("cookie", b"user=jason; q=\"quoted\""),
                ("cookie", b"late=1;user=tom"),
                ("x-request-id", b"id-1"),
                ("x-bytes", b"\xff"),
            ],
        );
        let stand = Stand::with(&samples::snapshot());
        let mut record = samples::record(Side::Inbound, stand.pin());
        record.service = Some(Arc::new(ServiceFacts::new("reviews.default.svc.cluster.local", "default")));
        let view = RequestView { head: &head, record: &record };
        let header = |name: &str| Attribute::Header(name.to_owned());
        let rows = [
            (Attribute::Method, Some("POST")),
            (Attribute::Scheme, Some("https")),
            (Attribute::Authority, Some("reviews:9080")),
            (Attribute::Path, Some("/a?x=1%202+3&x=4&flag&na%6De=v&empty=")),
            (header("accept"), Some("a, b")),
            (header("cookie"), Some("user=jason; q=\"quoted\"; late=1;user=tom")),
            (header("absent"), None),
            (header("x-bytes"), Some("\u{fffd}")),
            (Attribute::Query("x".to_owned()), Some("1 2 3")),
            (Attribute::Query("flag".to_owned()), Some("")),
            (Attribute::Query("name".to_owned()), Some("v")),
            (Attribute::Query("absent".to_owned()), None),
            (Attribute::Cookie("user".to_owned()), Some("jason")),
            (Attribute::Cookie("q".to_owned()), Some("quoted")),
            (Attribute::Cookie("late".to_owned()), Some("1")),
            (Attribute::Cookie("absent".to_owned()), None),
            (Attribute::SourceIdentity, Some("spiffe://cluster.local/ns/default/sa/gateway")),
            (Attribute::SourceNamespace, Some("default")),
            (Attribute::SourceAddress, Some("127.0.0.1:40000")),
            (Attribute::DestinationService, Some("reviews.default.svc.cluster.local")),
            (Attribute::RequestId, Some("id-1")),
            (Attribute::Route, None),
            (Attribute::Status, None),
        ];
        for (attribute, want) in rows {
            assert_eq!(shown(view.attribute(&attribute)).as_deref(), want, "{attribute}");
        }
        assert_eq!(view.header_values("accept"), [b"a", b"b"]);
        assert_eq!(view.header_names().len(), 4);
    }

    #[test]
    fn attributes_of_a_response() {
        let stand = Stand::with(&samples::snapshot());
        let mut record = samples::record(Side::Outbound, stand.pin());
        let backend = stand.pin().backend(&backend_name("v1")).unwrap().clone();
        let endpoint = backend.endpoints().list[0].clone();
        record.target = Target::Backend(backend);
        record.upstream = Some(Rc::new(UpstreamFacts {
            address: ([127, 0, 0, 1], 1).into(),
            endpoint_address: endpoint.address.clone(),
            local: None,
            party: endpoint.party.clone(),
        }));
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        let kept = [Kept { attribute: Attribute::Path, value: Some(b"/p".to_vec()) }];
        let view = ResponseView { status: StatusCode::IM_A_TEAPOT, headers: &headers, record: &record, kept: &kept };
        let request = |attribute| Attribute::Request(Box::new(attribute));
        let rows = [
            (Attribute::Status, Some("418")),
            (Attribute::Header("x-a".to_owned()), Some("1")),
            (Attribute::Subset, Some("v1")),
            (Attribute::Upstream, Some("127.0.0.1:1")),
            (request(Attribute::Path), Some("/p")),
            (request(Attribute::Method), None),
        ];
        for (attribute, want) in rows {
            assert_eq!(shown(view.attribute(&attribute)).as_deref(), want, "{attribute}");
        }
    }
}
