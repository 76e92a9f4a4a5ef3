//! How an image is named: `oci://HOST[:PORT]/REPOSITORY[:TAG][@DIGEST]` or `oci-layout:PATH[:TAG][@DIGEST]`.
//!
//! Parsing is the only way in, so that no other code has to look at the texts again. Does not know whether the image
//! exists.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use weft_snapshot::Digest;

/// An image, by tag or by digest or both; with both the digest decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    Registry(RegistryReference),
    Layout(LayoutReference),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryReference {
    /// `HOST` or `HOST:PORT`, lower case.
    pub host: String,
    pub repository: String,
    /// `None` only beside a digest; an image without both means `latest`.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// A folder in the layout of the OCI image specification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayoutReference {
    pub path: PathBuf,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no image: {reason}")]
pub struct InvalidReference {
    pub text: String,
    pub reason: &'static str,
}

impl InvalidReference {
    pub fn remedy(&self) -> &'static str {
        "write oci://HOST/REPOSITORY:TAG, as in oci://registry.example/filters/canary:1.2, or oci-layout:PATH:TAG"
    }
}

const LATEST: &str = "latest";

impl Reference {
    /// A relative layout path means relative to `folder`: that of the file in which it stands.
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Layout(layout) => Self::Layout(LayoutReference { path: folder.join(&layout.path), ..layout }),
            registry => registry,
        }
    }

    /// The same image, pinned.
    pub fn pinned(mut self, digest: Digest) -> Self {
        match &mut self {
            Self::Registry(image) => image.digest = Some(digest),
            Self::Layout(image) => image.digest = Some(digest),
        }
        self
    }

    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Registry(image) => image.digest,
            Self::Layout(image) => image.digest,
        }
    }

    pub fn tag(&self) -> Option<&str> {
        match self {
            Self::Registry(image) => image.tag.as_deref(),
            Self::Layout(image) => image.tag.as_deref(),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let parsed = match text.strip_prefix("oci-layout:") {
            Some(rest) => layout(rest).map(Self::Layout),
            None => registry(text.strip_prefix("oci://").unwrap_or(text)).map(Self::Registry),
        };
        parsed.map_err(|reason| InvalidReference { text: text.to_owned(), reason })
    }
}

fn registry(text: &str) -> Result<RegistryReference, &'static str> {
    if text.contains("://") {
        return Err("its scheme is not oci://");
    }
    let (name, digest) = split_digest(text)?;
    let Some((host, rest)) = name.split_once('/') else {
        return Err("it needs a registry's host and a repository");
    };
    let host = host.to_ascii_lowercase();
    if !host_ok(&host) {
        return Err("what stands before the first / is no host: it needs a dot, a port, or to be localhost");
    }
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    if !repository_ok(repository) {
        return Err("a repository needs a-z, 0-9 and single . _ - or / between them");
    }
    let tag = checked_tag(tag, digest)?;
    Ok(RegistryReference { host, repository: repository.to_owned(), tag, digest })
}

fn layout(text: &str) -> Result<LayoutReference, &'static str> {
    let (name, digest) = split_digest(text)?;
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    if path.is_empty() {
        return Err("it needs the path of a folder");
    }
    let tag = checked_tag(tag, digest)?;
    Ok(LayoutReference { path: PathBuf::from(path), tag, digest })
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), &'static str> {
    match text.rsplit_once('@') {
        None => Ok((text, None)),
        Some((name, digest)) => match digest.parse() {
            Ok(digest) => Ok((name, Some(digest))),
            Err(_) => Err("after @ it needs sha256: and 64 lower-case hexadecimal digits"),
        },
    }
}

fn checked_tag(tag: Option<&str>, digest: Option<Digest>) -> Result<Option<String>, &'static str> {
    match (tag, digest) {
        (Some(tag), _) if tag_ok(tag) => Ok(Some(tag.to_owned())),
        (Some(_), _) => Err("a tag needs 1 to 128 letters, digits, _ . and -, not starting with . or -"),
        (None, Some(_)) => Ok(None),
        (None, None) => Ok(Some(LATEST.to_owned())),
    }
}

fn tag_ok(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Docker's rule, which everybody's tools follow: the first part is a host if it could not be a user's name.
fn host_ok(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, rest)) if ip.parse::<std::net::Ipv6Addr>().is_ok() => {
            (None, rest.strip_prefix(':').or((!rest.is_empty()).then_some("")))
        }
        Some(_) => return false,
        None => match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        },
    };
    let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let name_ok = name.is_none_or(|name| {
        name.parse::<weft_snapshot::Host>().is_ok_and(|name| !name.is_wildcard())
            && (name == "localhost" || name.contains('.') || port.is_some())
    });
    port_ok && name_ok
}

fn repository_ok(repository: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part_ok = |part: &str| {
        part.bytes().next().is_some_and(alphanumeric)
            && part.bytes().last().is_some_and(alphanumeric)
            && part.bytes().all(|b| alphanumeric(b) || b"._-".contains(&b))
            && !part.contains("..")
    };
    repository.len() <= 255 && repository.split('/').all(part_ok)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tag, digest) = match self {
            Self::Registry(image) => {
                write!(f, "oci://{}/{}", image.host, image.repository)?;
                (&image.tag, &image.digest)
            }
            Self::Layout(image) => {
                write!(f, "oci-layout:{}", image.path.display())?;
                (&image.tag, &image.digest)
            }
        };
        if let Some(tag) = tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0101010101010101010101010101010101010101010101010101010101010101";

    #[test]
    fn references_read_and_write() {
        let cases = [
            ("oci://registry.example/filters/canary:1.2", "oci://registry.example/filters/canary:1.2"),
            ("registry.example:5000/canary", "oci://registry.example:5000/canary:latest"),
            ("localhost/canary:1", "oci://localhost/canary:1"),
            ("[::1]:5000/canary:1", "oci://[::1]:5000/canary:1"),
            ("REGISTRY.example/canary:A_b", "oci://registry.example/canary:A_b"),
            ("oci-layout:images:1", "oci-layout:images:1"),
            ("oci-layout:../a:b/images", "oci-layout:../a:b/images:latest"),
            ("oci-layout:/x/images", "oci-layout:/x/images:latest"),
        ];
        for (text, want) in cases {
            let got = text.parse::<Reference>().map(|r| r.to_string());
            assert_eq!(got.as_deref(), Ok(want), "reference {text}");
        }
        for text in [format!("oci://r.example/a@{DIGEST}"), format!("oci-layout:x:1@{DIGEST}")] {
            let got = text.parse::<Reference>().map(|r| (r.to_string(), r.digest().map(|d| d.to_string())));
            assert_eq!(got, Ok((text.clone(), Some(DIGEST.to_owned()))), "pinned {text}");
        }
    }

    #[test]
    fn what_is_no_reference() {
        for text in [
            "",
            "canary:1",
            "filters/canary:1",
            "https://registry.example/canary:1",
            "oci://registry.example/",
            "oci://registry.example/UPPER:1",
            "oci://registry.example/a//b",
            "oci://registry.example/a/../b",
            "oci://registry.example/a:",
            "oci://registry.example/a:-x",
            "oci://registry.example:0/a:1",
            "oci://user@registry.example/a:1",
            "oci://registry.example/a@sha256:12",
            "oci-layout:",
            "oci-layout::1",
        ] {
            assert!(text.parse::<Reference>().is_err(), "reference {text:?}");
        }
    }

    #[test]
    fn a_layout_is_relative_to_its_file() {
        let image: Reference = "oci-layout:images:1".parse().expect("valid");
        assert_eq!(image.relative_to(Path::new("/mesh")).to_string(), "oci-layout:/mesh/images:1");
    }
}
