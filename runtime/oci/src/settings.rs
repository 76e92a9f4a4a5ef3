//! What may be told about registries (Mesh.registries) and how much of anything is taken from them.
//!
//! Plain values; the files that they name are read when a connection or a challenge needs them, so that rotated
//! credentials are seen. What does not lie in files (a cluster's Secrets) is handed over as text.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// All that is said about registries; a registry that is not listed is reached over HTTPS, anonymously.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    pub entries: Vec<Registry>,
    pub loopback: Loopback,
    /// For the hosts that it lists, before whatever `entries` say of them.
    pub pull_secret: Option<DockerConfig>,
    /// For the hosts that it lists and `entries` says nothing about.
    pub docker_config: Option<DockerConfig>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// `HOST` or `HOST:PORT`, as images name it.
    pub host: String,
    /// `HOST[:PORT]` that is asked first for what is pulled; pushes go to `host`. Its own entry says how to reach it.
    pub mirror: Option<String>,
    /// Trusted beside the system's roots.
    pub ca: Option<Roots>,
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
    /// Only what it lists for that host.
    DockerConfig(DockerConfig),
    Password {
        user: String,
        file: PathBuf,
    },
}

/// A docker config.json.
#[derive(Clone, PartialEq, Eq)]
pub enum DockerConfig {
    File(PathBuf),
    /// `origin` names it in messages.
    Text {
        origin: String,
        json: String,
    },
}

/// Certificates as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    File(PathBuf),
    /// `origin` names it in messages.
    Text {
        origin: String,
        pem: String,
    },
}

impl DockerConfig {
    /// For messages.
    pub fn origin(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { origin, .. } => origin.clone(),
        }
    }
}

/// Without the passwords: this may end up in a log.
impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DockerConfig({})", self.origin())
    }
}

impl From<PathBuf> for DockerConfig {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<PathBuf> for Roots {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
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
