//! Which headers go from a request on to the requests that it causes, and which are shown to a person.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

/// Those that Istio's Bookinfo passes on: trace context of every kind, who the user is, and what a rule may look at.
const PASSED_ON: [&str; 18] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-ot-span-context",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "user-agent",
    "cookie",
    "authorization",
];

pub(crate) const END_USER: HeaderName = HeaderName::from_static("end-user");

/// The headers for a request that `incoming` causes.
pub(crate) fn passed_on(incoming: &HeaderMap) -> HeaderMap {
    let mut outgoing = HeaderMap::new();
    for name in PASSED_ON.into_iter().map(HeaderName::from_static).chain([END_USER]) {
        for value in incoming.get_all(&name) {
            outgoing.append(&name, value.clone());
        }
    }
    outgoing
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == wanted).then_some(value)
    })
}

/// All headers as JSON, for `/headers`.
pub(crate) fn shown(headers: &HeaderMap) -> Value {
    let mut fields = Map::new();
    for name in headers.keys() {
        let values: Vec<&str> = headers.get_all(name).into_iter().map(text).collect();
        fields.insert(name.as_str().to_owned(), values.join(", ").into());
    }
    Value::Object(fields)
}

pub(crate) fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("(not text)")
}
