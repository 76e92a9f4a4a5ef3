//! Mesh (weft.dev): what holds for all of the mesh.
//!
//! It does not read the files that it names.

use crate::fields::{Cursor, Fields};
use crate::problem::Code;
use weft_snapshot::{OutboundPolicy, SpiffeId};

/// The Mesh object, or its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mesh {
    /// `cluster.local`.
    pub trust_domain: String,
    /// `weft-system`.
    pub root_namespace: String,
    pub outbound: OutboundPolicy,
    pub registries: Vec<Registry>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            root_namespace: "weft-system".into(),
            outbound: OutboundPolicy::AllowAny,
            registries: Vec::new(),
        }
    }
}

/// How one registry is spoken to. Paths are already joined to the folder of the Mesh object's file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registry {
    /// `HOST[:PORT]`, as image references write it.
    pub host: String,
    /// `HOST[:PORT]` that is asked instead.
    pub mirror: Option<String>,
    /// PEM file with the roots that its certificate may end in; `None`: the system's.
    pub ca: Option<String>,
    /// The same in a cluster, in the Mesh's own namespace.
    pub ca_ref: Option<CaRef>,
    pub transport: Transport,
    pub credentials: Option<Credentials>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Https,
    PlainHttp,
}

/// Where the password is read; never the password itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credentials {
    Password {
        username: String,
        password_file: String,
    },
    /// A docker config.json.
    DockerConfig {
        file: String,
    },
    /// A Secret of a cluster that holds one, in the Mesh's own namespace.
    Secret {
        name: String,
    },
}

/// Where in a cluster roots lie: under the key `ca.crt`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CaRef {
    ConfigMap(String),
    Secret(String),
}

pub(crate) fn read(fields: &mut Fields<'_>, file: &str) -> Option<Mesh> {
    let mut mesh = Mesh::default();
    let Some(spec) = fields.get("spec") else { return Some(mesh) };
    spec.object(|fields| {
        if let Some(domain) = fields.get("trustDomain").and_then(|c| trust_domain(&c)) {
            mesh.trust_domain = domain;
        }
        if let Some(namespace) = fields.get("rootNamespace").and_then(|c| c.nonempty()) {
            mesh.root_namespace = namespace.to_owned();
        }
        if let Some(mode) = fields.get("outboundTrafficPolicy").and_then(|c| outbound(&c)) {
            mesh.outbound = mode;
        }
        mesh.registries = registries(fields, file);
        mesh
    })
}

fn trust_domain(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    match SpiffeId::new(text, "default", "default") {
        Ok(_) => Some(text.to_owned()),
        Err(error) => {
            cursor.error(
                Code::BadValue,
                format!("{text:?} is no trust domain: {}", error.reason),
                "write a name such as cluster.local",
            );
            None
        }
    }
}

fn outbound(cursor: &Cursor<'_>) -> Option<OutboundPolicy> {
    cursor.object(|fields| {
        let words = [("ALLOW_ANY", OutboundPolicy::AllowAny), ("REGISTRY_ONLY", OutboundPolicy::RegistryOnly)];
        fields.required("mode")?.one_of(&words)
    })?
}

fn registries(fields: &mut Fields<'_>, file: &str) -> Vec<Registry> {
    let mut registries: Vec<Registry> = Vec::new();
    for cursor in fields.list("registries") {
        let Some(registry) = registry(&cursor, file) else { continue };
        if registries.iter().any(|other| other.host == registry.host) {
            cursor.error(Code::Conflict, format!("{} is there already", registry.host), "keep one of the two");
            continue;
        }
        registries.push(registry);
    }
    registries
}

fn registry(cursor: &Cursor<'_>, file: &str) -> Option<Registry> {
    cursor.object(|fields| {
        let host = fields.required("host").and_then(|c| host_port(&c));
        let mirror = fields.get("mirror").map(|c| host_port(&c));
        let ca = fields.get("ca").and_then(|c| c.nonempty()).map(|path| beside(file, path));
        let ca_ref = fields.get("caRef").map(|c| ca_ref(&c));
        let plain = fields.get("plainHttp").and_then(|c| c.boolean()).unwrap_or_default();
        let credentials = fields.get("credentials").map(|c| credentials(&c, file));
        if plain && (ca.is_some() || ca_ref.is_some()) {
            cursor.error(Code::Conflict, "plainHttp and ca exclude each other", "keep one of them");
        }
        if ca.is_some() && ca_ref.is_some() {
            cursor.error(Code::Conflict, "ca and caRef exclude each other", "keep one of them");
        }
        Some(Registry {
            host: host?,
            mirror: mirror.map_or(Some(None), |mirror| mirror.map(Some))?,
            ca,
            ca_ref: ca_ref.map_or(Some(None), |ca_ref| ca_ref.map(Some))?,
            transport: if plain { Transport::PlainHttp } else { Transport::Https },
            credentials: credentials.map_or(Some(None), |credentials| credentials.map(Some))?,
        })
    })?
}

fn ca_ref(cursor: &Cursor<'_>) -> Option<CaRef> {
    cursor.object(|fields| {
        type Make = fn(String) -> CaRef;
        let kinds: [(&str, Make); 2] = [("ConfigMap", CaRef::ConfigMap), ("Secret", CaRef::Secret)];
        let kind = fields.required("kind").and_then(|c| c.one_of(&kinds));
        let name = fields.required("name").and_then(|c| c.nonempty());
        Some(kind?(name?.to_owned()))
    })?
}

fn host_port(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.nonempty()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    if text.contains("://") || text.contains('/') || !text.bytes().all(allowed) {
        cursor.error(
            Code::BadValue,
            format!("{text:?} is no HOST[:PORT]"),
            "write the host as image references do, without scheme and path",
        );
        return None;
    }
    Some(text.to_ascii_lowercase())
}

fn credentials(cursor: &Cursor<'_>, file: &str) -> Option<Credentials> {
    cursor.object(|fields| {
        fields.exclusive(&["dockerConfig", "username", "secret"]);
        if let Some(config) = fields.get("password") {
            config.error(
                Code::NotAllowed,
                "a password in the configuration",
                "write it into a file, and name that in passwordFile",
            );
        }
        if let Some(secret) = fields.get("secret") {
            return secret.nonempty().map(|name| Credentials::Secret { name: name.to_owned() });
        }
        let docker = fields.get("dockerConfig").map(|c| c.nonempty());
        let username = fields.get("username").and_then(|c| c.nonempty());
        let password = fields.get("passwordFile").and_then(|c| c.nonempty());
        if let Some(docker) = docker {
            return docker.map(|path| Credentials::DockerConfig { file: beside(file, path) });
        }
        let (Some(username), Some(password)) = (username, password) else {
            cursor.error(
                Code::MissingField,
                "half a pair of credentials",
                "write username and passwordFile, or dockerConfig, or in a cluster secret",
            );
            return None;
        };
        Some(Credentials::Password { username: username.to_owned(), password_file: beside(file, password) })
    })?
}

/// A path as it is meant in a file: relative to that file's folder.
pub(crate) fn beside(file: &str, path: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) if !path.starts_with('/') => format!("{folder}/{}", path.trim_start_matches("./")),
        _ => path.to_owned(),
    }
}
