//! What may be told about registries (Mesh.registries) and how much of anything is taken from them.
//!
//! Plain values; the files that they name are read when a connection or a challenge needs them, so that rotated
//! credentials are seen.

use std::path::PathBuf;
use std::time::Duration;

/// All that is said about registries; a registry that is not listed is reached over HTTPS, anonymously.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    pub entries: Vec<Registry>,
    pub loopback: Loopback,
    /// A docker config.json, for the hosts that it lists and `entries` says nothing about.
    pub docker_config: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// `HOST` or `HOST:PORT`, as images name it.
    pub host: String,
    /// `HOST[:PORT]` that is asked first for what is pulled; pushes go to `host`. Its own entry says how to reach it.
    pub mirror: Option<String>,
    /// PEM file; trusted beside the system's roots.
    pub ca: Option<PathBuf>,
    pub plain_http: PlainHttp,
    pub credentials: Option<Credentials>,
}

impl Registry {
    /// An entry that says nothing but the host.
    pub fn new(host: impl Into<String>) -> Self {
        Self { host: host.into(), mirror: None, ca: None, plain_http: PlainHttp::Refuse, credentials: None }
    }
}

/// Whether a registry is spoken to without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    #[default]
    Refuse,
    Use,
}

/// How registries at localhost, 127.0.0.0/8 and ::1 are spoken to when no entry names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    #[default]
    Tls,
    PlainHttp,
}

/// Where user and password come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A docker config.json; only what it lists for that host.
    DockerConfig(PathBuf),
    Password {
        user: String,
        file: PathBuf,
    },
}

/// How much is taken, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of a manifest, an index, a token answer, an index.json.
    pub manifest_bytes_max: u64,
    /// Of a component. Python's are 18 MB.
    pub component_bytes_max: u64,
    /// Until TCP and TLS stand.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// Of one resolve, pull or push with all its attempts.
    pub whole: Duration,
    /// Attempts in all, the first included.
    pub attempts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes_max: 4 << 20,
            component_bytes_max: 64 << 20,
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            whole: Duration::from_secs(90),
            attempts_max: 3,
        }
    }
}

impl Registries {
    pub(crate) fn entry(&self, host: &str) -> Option<&Registry> {
        self.entries.iter().find(|entry| entry.host.eq_ignore_ascii_case(host))
    }
}
