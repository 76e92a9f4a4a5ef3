//! What can go wrong with an image: which one, what, whether asking again may help, and what to do.
//!
//! Does not know retries (images.rs) nor how a problem is shown.

use std::fmt;
use std::time::Duration;
use weft_snapshot::Digest;

/// A failure with the image that it concerns.
#[derive(Debug, thiserror::Error)]
#[error("{image}: {cause}")]
pub struct Error {
    /// The reference as the user wrote it.
    pub image: String,
    pub cause: Cause,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{place} has no such image, tag or digest")]
    NotFound { place: String },
    #[error("{host} refuses access ({status})")]
    Refused { host: String, status: u16 },
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} did not answer within {limit:?}")]
    TimedOut { host: String, limit: Duration },
    #[error("{host} answered {status} to {request}{detail}")]
    Status { host: String, request: String, status: u16, detail: String },
    #[error("{host} points to {target}, which is not followed: {reason}")]
    Blocked { host: String, target: String, reason: &'static str },
    #[error("{what} has the digest {got}, not {expected}")]
    Tampered { what: &'static str, expected: Digest, got: Digest },
    #[error("{what} has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge { what: &'static str, bytes: u64, bytes_max: u64 },
    #[error("its {what} has the media type {found}, which holds no component")]
    MediaType { what: &'static str, found: String },
    #[error("it holds {count} components in one image")]
    SeveralComponents { count: usize },
    #[error("it holds {found}, not a component")]
    NotComponent { found: String },
    #[error("{what} cannot be understood: {reason}")]
    Malformed { what: String, reason: String },
    #[error("credentials of {host}: {reason}")]
    Credentials { host: String, reason: String },
    #[error("certificates for {host}: {reason}")]
    Certificates { host: String, reason: String },
    #[error("a push needs a tag, and no digest")]
    PushWithoutTag,
    #[error("{path}: {reason}")]
    Folder { path: String, reason: String },
}

/// Whether the same request may succeed later without anybody changing anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Later,
    Never,
}

impl Error {
    pub(crate) fn new(image: &impl fmt::Display, cause: Cause) -> Self {
        Self { image: image.to_string(), cause }
    }
}

impl Cause {
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => Retry::Later,
            Self::Status { status, .. } if *status >= 500 || *status == 429 || *status == 408 => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// What a person can do about it; one clause, lower case.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotFound { .. } => "push it, or correct the tag or digest".to_owned(),
            Self::Refused { host, .. } => {
                format!(
                    "give credentials that may read it: by the Filter's imagePullSecret, in Mesh.registries for {host}, \
                     or by docker login"
                )
            }
            Self::Unreachable { host, .. } | Self::TimedOut { host, .. } => {
                format!("check that {host} is up and that its name and port are right; plain HTTP needs plainHttp")
            }
            Self::Status { host, .. } => format!("look at the log of {host}"),
            Self::Blocked { host, .. } => format!("use a registry at {host} that answers itself, or a mirror"),
            Self::Tampered { .. } => {
                "push it again; do not trust this registry's storage until it is explained".to_owned()
            }
            Self::TooLarge { .. } => "build a smaller component".to_owned(),
            Self::MediaType { .. } => {
                "push it with `weft filter push`, with wkg, or with `oras push REF FILE:application/wasm`".to_owned()
            }
            Self::SeveralComponents { .. } => "push one component for each tag".to_owned(),
            Self::NotComponent { .. } => {
                "make a component of it with `weft filter build` or `wasm-tools component new`".to_owned()
            }
            Self::Malformed { .. } => "push it again with a current tool".to_owned(),
            Self::Credentials { .. } => {
                "write user and password, or an auths entry, into the file that is named".to_owned()
            }
            Self::Certificates { .. } => {
                "name the registry's CA in Mesh.registries: a PEM file as `ca`, or a ConfigMap as `caRef`".to_owned()
            }
            Self::PushWithoutTag => "write HOST/REPOSITORY:TAG or oci-layout:PATH:TAG".to_owned(),
            Self::Folder { .. } => "check that the folder exists and may be read and written".to_owned(),
        }
    }
}
