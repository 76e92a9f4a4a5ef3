//! User and password for one registry host, from where the settings say.
//!
//! Read anew for each challenge, so that rotated files are seen; kept nowhere. Does not know HTTP.

use crate::error::Cause;
use crate::settings::{Credentials, DockerConfig, Registries};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// Without the password: this may end up in a log.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    auths: HashMap<String, Auth>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// `None`: nothing is said about `host`, which is then asked anonymously.
pub(crate) fn login(host: &str, registries: &Registries) -> Result<Option<Login>, Cause> {
    let failed = |reason| Cause::Credentials { host: host.to_owned(), reason };
    if let Some(first) = &registries.pull_secret
        && let Some(login) = in_docker_config(host, first).map_err(failed)?
    {
        return Ok(Some(login));
    }
    let stated = registries.entry(host).and_then(|entry| entry.credentials.as_ref());
    let found = match (stated, &registries.docker_config) {
        (Some(Credentials::Password { user, file }), _) => {
            read(file).map(|text| Some(Login { user: user.clone(), password: text.trim_end().to_owned() }))
        }
        (Some(Credentials::DockerConfig(config)), _) => in_docker_config(host, config),
        // A person's own, which need not be there.
        (None, Some(DockerConfig::File(file))) if !file.exists() => Ok(None),
        (None, Some(config)) => in_docker_config(host, config),
        (None, None) => Ok(None),
    };
    found.map_err(failed)
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn in_docker_config(host: &str, config: &DockerConfig) -> Result<Option<Login>, String> {
    match config {
        DockerConfig::File(path) => listed(host, &read(path)?, &config.origin()),
        DockerConfig::Text { origin, json } => listed(host, json, origin),
    }
}

fn listed(host: &str, json: &str, file: &str) -> Result<Option<Login>, String> {
    let config: Document = serde_json::from_str(json).map_err(|error| format!("{file}: {error}"))?;
    let named = |key: &&String| key_host(key).eq_ignore_ascii_case(host);
    let Some(auth) = config.auths.keys().find(named).and_then(|key| config.auths.get(key)) else {
        return match config.cred_helpers.keys().find(named) {
            Some(_) => Err(format!("{file} names a credential helper, which is not supported")),
            None => Ok(None),
        };
    };
    if !auth.username.is_empty() {
        return Ok(Some(Login { user: auth.username.clone(), password: auth.password.clone() }));
    }
    if auth.auth.is_empty() {
        return match (&config.creds_store, auth.identitytoken.is_empty()) {
            (Some(_), _) => Err(format!("{file} keeps them in a credential store, which is not supported")),
            (None, false) => Err(format!("{file} holds an identity token, which is not supported")),
            (None, true) => Ok(None),
        };
    }
    let broken = || format!("{file}: auth is not base64 of USER:PASSWORD");
    let decoded = STANDARD.decode(auth.auth.trim()).map_err(|_| broken())?;
    let decoded = String::from_utf8(decoded).map_err(|_| broken())?;
    let (user, password) = decoded.split_once(':').ok_or_else(broken)?;
    Ok(Some(Login { user: user.to_owned(), password: password.to_owned() }))
}

/// Docker writes a host, a URL of it, or a URL with a version.
fn key_host(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split_once('/').map_or(rest, |(host, _)| host) {
        "index.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_configs() {
        let encoded = STANDARD.encode("anna:se:cret");
        let anna = Ok(Some(Login { user: "anna".to_owned(), password: "se:cret".to_owned() }));
        let cases = [
            ("a host", format!(r#"{{"auths":{{"r.example":{{"auth":"{encoded}"}}}}}}"#), anna.clone()),
            ("a URL", format!(r#"{{"auths":{{"https://r.example/v1/":{{"auth":"{encoded}"}}}}}}"#), anna.clone()),
            ("in clear", r#"{"auths":{"r.example":{"username":"anna","password":"se:cret"}}}"#.to_owned(), anna),
            ("another host", format!(r#"{{"auths":{{"other.example":{{"auth":"{encoded}"}}}}}}"#), Ok(None)),
            ("another port", format!(r#"{{"auths":{{"r.example:5000":{{"auth":"{encoded}"}}}}}}"#), Ok(None)),
            ("nothing", "{}".to_owned(), Ok(None)),
            (
                "a helper",
                r#"{"credHelpers":{"r.example":"x"}}"#.to_owned(),
                Err("f names a credential helper, which is not supported".to_owned()),
            ),
            (
                "garbage",
                r#"{"auths":{"r.example":{"auth":"?"}}}"#.to_owned(),
                Err("f: auth is not base64 of USER:PASSWORD".to_owned()),
            ),
        ];
        for (row, text, want) in cases {
            assert_eq!(listed("r.example", &text, "f"), want, "{row}");
        }
    }
}
