//! A filter's own response, turned into HTTP's types.
//!
//! The host has checked names, values and status before.

use crate::refusal::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weft_filter_host as host;

pub(super) fn into_reply(reply: host::Reply) -> Reply {
    let mut headers = HeaderMap::with_capacity(reply.headers.len());
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Reply { status, headers, body: reply.body.into() }
}
