//! What the tests push, and with what settings they reach a registry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use weft_oci::{Artifact, Images, Limits, Loopback, Reference, Registries, TITLE_ANNOTATION};

/// The smallest components that differ: a header and a custom section.
pub(crate) fn component(content: &str) -> Vec<u8> {
    wasm([0x0d, 0, 1, 0], content)
}

pub(crate) fn core_module(content: &str) -> Vec<u8> {
    wasm([1, 0, 0, 0], content)
}

fn wasm(version: [u8; 4], content: &str) -> Vec<u8> {
    let name = b"test";
    let size = 1 + name.len() + content.len();
    assert!(size < 128, "one byte of LEB128");
    let mut bytes = b"\0asm".to_vec();
    bytes.extend(version);
    bytes.extend([0, size as u8, name.len() as u8]);
    bytes.extend(name);
    bytes.extend(content.as_bytes());
    bytes
}

pub(crate) fn artifact(content: &str) -> Artifact {
    let annotations = BTreeMap::from([(TITLE_ANNOTATION.to_owned(), "test".to_owned())]);
    Artifact { component: component(content), annotations }
}

/// Quick to give up, plain HTTP on loopback.
pub(crate) fn images() -> Images {
    Images::new(Registries { loopback: Loopback::PlainHttp, ..Registries::default() }, limits())
}

pub(crate) fn limits() -> Limits {
    Limits { connect: Duration::from_secs(5), attempts_max: 2, ..Limits::default() }
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(crate) fn at(address: SocketAddr, rest: &str) -> Reference {
    reference(&format!("oci://{address}/{rest}"))
}

/// Error, cause and remedy as a person reads them.
pub(crate) fn told(error: &weft_oci::Error) -> String {
    format!("{error}; {}", error.cause.remedy())
}
