//! What people write for the headers filter, and its checks. It does not see requests.

use serde::Deserialize;
use weft_filter_sdk::{ConfigError, OneOrMany, Pairs};

use crate::rewrite::Rewrite;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    rewrite: Vec<RewriteConfig>,
    #[serde(default)]
    request: OperationsConfig,
    #[serde(default)]
    response: OperationsConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RewriteConfig {
    prefix: String,
    to: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct OperationsConfig {
    #[serde(default)]
    set: Pairs<String>,
    #[serde(default)]
    add: Pairs<OneOrMany>,
    #[serde(default)]
    remove: Vec<String>,
}

/// The same, checked: lower-case names that may be written, one value at a time.
pub(crate) struct Checked {
    pub(crate) rewrite: Vec<Rewrite>,
    pub(crate) request: Operations,
    pub(crate) response: Operations,
}

pub(crate) struct Operations {
    pub(crate) set: Vec<(String, String)>,
    pub(crate) add: Vec<(String, String)>,
    pub(crate) remove: Vec<String>,
}

/// Headers of one hop or of the message's framing: the proxy writes them itself.
const PROXY_ONLY: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Config {
    pub(crate) fn checked(self) -> Result<Checked, ConfigError> {
        let mut rewrite = Vec::new();
        for (index, rule) in self.rewrite.into_iter().enumerate() {
            let path = ["rewrite[", &index.to_string(), "]"].concat();
            for (field, value) in [(".prefix", &rule.prefix), (".to", &rule.to)] {
                if !value.starts_with('/') {
                    return Err(ConfigError::field([&path, field].concat(), "is no path; begin it with `/`"));
                }
            }
            rewrite.push(Rewrite::new(&rule.prefix, &rule.to));
        }
        Ok(Checked { rewrite, request: self.request.checked("request")?, response: self.response.checked("response")? })
    }
}

impl OperationsConfig {
    fn checked(self, phase: &str) -> Result<Operations, ConfigError> {
        let mut set = Vec::new();
        for (name, value) in self.set.0 {
            let field = [phase, ".set.", &name].concat();
            if name.eq_ignore_ascii_case("set-cookie") {
                return Err(ConfigError::field(field, "would drop other cookies; use `add`"));
            }
            set.push((header_name(field, &name)?, value));
        }
        let mut add = Vec::new();
        for (name, values) in self.add.0 {
            let name = header_name([phase, ".add.", &name].concat(), &name)?;
            add.extend(values.0.into_iter().map(|value| (name.clone(), value)));
        }
        let mut remove = Vec::new();
        for (index, name) in self.remove.into_iter().enumerate() {
            let field = [phase, ".remove[", &index.to_string(), "]"].concat();
            if name.eq_ignore_ascii_case("set-cookie") {
                return Err(ConfigError::field(field, "set-cookie cannot be removed, only added"));
            }
            remove.push(header_name(field, &name)?);
        }
        Ok(Operations { set, add, remove })
    }
}

fn header_name(field: String, name: &str) -> Result<String, ConfigError> {
    let name = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.starts_with(':') {
        return Err(ConfigError::field(field, "is not a header; the path is changed by `rewrite`"));
    }
    if name.is_empty() || !name.bytes().all(token) {
        return Err(ConfigError::field(field, ["`", &name, "` is no header name"].concat()));
    }
    match PROXY_ONLY.contains(&name.as_str()) {
        true => Err(ConfigError::field(field, ["`", &name, "` is written by the proxy alone"].concat())),
        false => Ok(name),
    }
}
