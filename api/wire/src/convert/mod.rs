//! Keys and resources from values to messages and back.
//!
//! Encoding cannot fail and is deterministic; decoding refuses what this build does not know.

mod backend;
mod filter;
mod route;
mod service;
mod workload;

use crate::{DecodeError, proto};
use prost::Message;
use std::str::FromStr;
use std::time::Duration;
use weft_snapshot::{FilterKey, InvalidName, Key, Resource};

pub fn encode_key(key: &Key) -> Vec<u8> {
    use proto::key::Key as Kind;
    let kind = match key {
        Key::Trust => Kind::Trust(proto::Nothing {}),
        Key::Workload => Kind::Workload(proto::Nothing {}),
        Key::Answer(host) => Kind::Answer(host.to_string()),
        Key::Service(host) => Kind::Service(host.to_string()),
        Key::Backend(name) => Kind::Backend(name.to_string()),
        Key::Endpoints(name) => Kind::Endpoints(name.to_string()),
        Key::Filter(key) => Kind::Filter(key.0.clone()),
    };
    proto::Key { key: Some(kind) }.encode_to_vec()
}

pub fn decode_key(bytes: &[u8]) -> Result<Key, DecodeError> {
    use proto::key::Key as Kind;
    let key = proto::Key::decode(bytes).map_err(unreadable("key"))?;
    Ok(match required("Key.key", key.key)? {
        Kind::Trust(_) => Key::Trust,
        Kind::Workload(_) => Key::Workload,
        Kind::Answer(host) => Key::Answer(parse("Key.answer", &host)?),
        Kind::Service(host) => Key::Service(parse("Key.service", &host)?),
        Kind::Backend(name) => Key::Backend(parse("Key.backend", &name)?),
        Kind::Endpoints(name) => Key::Endpoints(parse("Key.endpoints", &name)?),
        Kind::Filter(key) => Key::Filter(FilterKey(key)),
    })
}

pub fn encode_resource(resource: &Resource) -> Vec<u8> {
    use proto::resource::Resource as Kind;
    let kind = match resource {
        Resource::Trust(trust) => Kind::Trust(trust.into()),
        Resource::Workload(workload) => Kind::Workload(workload.into()),
        Resource::Answer(answer) => Kind::Answer(answer.into()),
        Resource::Service(service) => Kind::Service(service.into()),
        Resource::Backend(backend) => Kind::Backend(backend.into()),
        Resource::Endpoints(endpoints) => Kind::Endpoints(proto::Endpoints { endpoints: all_to(endpoints) }),
        Resource::Filter(filter) => Kind::Filter(filter.into()),
    };
    proto::Resource { resource: Some(kind) }.encode_to_vec()
}

pub fn decode_resource(bytes: &[u8]) -> Result<Resource, DecodeError> {
    use proto::resource::Resource as Kind;
    let resource = proto::Resource::decode(bytes).map_err(unreadable("resource"))?;
    Ok(match required("Resource.resource", resource.resource)? {
        Kind::Trust(trust) => Resource::Trust(trust.try_into()?),
        Kind::Workload(workload) => Resource::Workload(workload.try_into()?),
        Kind::Answer(answer) => Resource::Answer(answer.try_into()?),
        Kind::Service(service) => Resource::Service(service.try_into()?),
        Kind::Backend(backend) => Resource::Backend(backend.try_into()?),
        Kind::Endpoints(endpoints) => Resource::Endpoints(all_from(endpoints.endpoints)?),
        Kind::Filter(filter) => Resource::Filter(filter.try_into()?),
    })
}

fn unreadable(what: &'static str) -> impl Fn(prost::DecodeError) -> DecodeError {
    move |error| DecodeError::Bytes { what, reason: error.to_string() }
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, DecodeError> {
    value.ok_or(DecodeError::Missing { field })
}

fn parse<T: FromStr<Err = InvalidName>>(field: &'static str, text: &str) -> Result<T, DecodeError> {
    text.parse().map_err(|error| DecodeError::Name { field, error })
}

fn parse_all<T: FromStr<Err = InvalidName>>(field: &'static str, texts: &[String]) -> Result<Vec<T>, DecodeError> {
    texts.iter().map(|text| parse(field, text)).collect()
}

fn address(field: &'static str, text: String) -> Result<std::net::SocketAddr, DecodeError> {
    text.parse().map_err(|_| DecodeError::Value { field, value: text })
}

fn port(field: &'static str, value: u32) -> Result<u16, DecodeError> {
    u16::try_from(value).map_err(|_| DecodeError::Value { field, value: value.to_string() })
}

/// Whatever http's `StatusCode` can hold.
fn status(field: &'static str, value: u32) -> Result<u16, DecodeError> {
    match u16::try_from(value) {
        Ok(status) if (100..1000).contains(&status) => Ok(status),
        _ => Err(DecodeError::Value { field, value: value.to_string() }),
    }
}

/// Durations of more than 584 years are cut to that.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn filters_to(keys: &[FilterKey]) -> Vec<String> {
    keys.iter().map(|key| key.0.clone()).collect()
}

fn filters_from(keys: Vec<String>) -> Vec<FilterKey> {
    keys.into_iter().map(FilterKey).collect()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn all_to<'a, T, M: From<&'a T>>(values: &'a [T]) -> Vec<M> {
    values.iter().map(M::from).collect()
}

fn all_from<M, T: TryFrom<M, Error = DecodeError>>(messages: Vec<M>) -> Result<Vec<T>, DecodeError> {
    messages.into_iter().map(T::try_from).collect()
}

/// Enum values both ways; one that is not named is refused.
macro_rules! words {
    ($value:ident, $field:literal: $($word:ident),+ $(,)?) => {
        impl From<weft_snapshot::$value> for crate::proto::$value {
            fn from(value: weft_snapshot::$value) -> Self {
                match value {
                    $(weft_snapshot::$value::$word => Self::$word,)+
                }
            }
        }

        impl crate::proto::$value {
            pub(super) fn read(value: i32) -> Result<weft_snapshot::$value, crate::DecodeError> {
                match Self::try_from(value) {
                    $(Ok(Self::$word) => Ok(weft_snapshot::$value::$word),)+
                    _ => Err(crate::DecodeError::Unknown { field: $field, value }),
                }
            }
        }
    };
}
use words;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
