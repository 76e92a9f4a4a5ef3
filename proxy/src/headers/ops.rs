//! The header operations of a rule or a destination, parsed once: remove, then set, then add.
//!
//! It does not know whose operations they are.

use super::{Authority, Head};
use http::{HeaderMap, HeaderName, HeaderValue};
use weft_snapshot as snapshot;

/// Ready to apply; empty ones cost one comparison.
#[derive(Clone, Debug, Default)]
pub struct HeaderOps {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    authority: Option<Authority>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOps {
    #[error("{0:?} is no header name; use letters, digits and -")]
    Name(String),
    #[error("the value {value:?} of header {name} holds a character that a header may not hold")]
    Value { name: String, value: String },
}

impl HeaderOps {
    pub fn new(ops: &snapshot::HeaderOps, side: Side) -> Result<Self, InvalidOps> {
        let mut authority = None;
        let mut pairs = |pairs: &[(String, String)]| -> Result<Box<[_]>, InvalidOps> {
            let mut ready = Vec::with_capacity(pairs.len());
            for (name, value) in pairs {
                if side == Side::Request && matches!(name.as_str(), ":authority" | "host") {
                    // `set` is read first and beats `add`.
                    authority = authority.take().or(Some(parse_authority(name, value)?));
                } else if !name.starts_with(':') {
                    ready.push((parse_name(name)?, parse_value(name, value)?));
                }
            }
            Ok(ready.into())
        };
        let (set, add) = (pairs(&ops.set)?, pairs(&ops.add)?);
        let removable = |name: &&String| !name.starts_with(':') && name.as_str() != "host";
        let remove = ops.remove.iter().filter(removable).map(|name| parse_name(name)).collect::<Result<_, _>>()?;
        Ok(Self { remove, set, add, authority })
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty() && self.authority.is_none()
    }

    fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

pub fn apply_request(ops: &HeaderOps, head: &mut Head) {
    ops.apply(&mut head.headers);
    if let Some(authority) = &ops.authority {
        head.authority = authority.clone();
    }
}

pub fn apply_response(ops: &HeaderOps, headers: &mut HeaderMap) {
    ops.apply(headers);
}

fn parse_name(name: &str) -> Result<HeaderName, InvalidOps> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| InvalidOps::Name(name.to_owned()))
}

fn parse_value(name: &str, value: &str) -> Result<HeaderValue, InvalidOps> {
    HeaderValue::from_str(value).map_err(|_| InvalidOps::Value { name: name.to_owned(), value: value.to_owned() })
}

fn parse_authority(name: &str, value: &str) -> Result<Authority, InvalidOps> {
    let invalid = || InvalidOps::Value { name: name.to_owned(), value: value.to_owned() };
    Authority::from_header(parse_value(name, value)?).map_err(|_| invalid())
}
