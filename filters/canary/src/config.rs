//! What people write for the canary, and its checks. It does not see requests.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use weft_filter_sdk::{ConfigError, Pairs};

/// Weights for a config without `subsets`, fixed when the component was built: `v1=90,v3=10`.
const BUILT_IN: Option<&str> = option_env!("WEFT_CANARY_SUBSETS");

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    #[serde(default)]
    subsets: Pairs<u32>,
    #[serde(default)]
    pub(crate) sticky_by: Option<StickyBy>,
    #[serde(default)]
    pub(crate) matches: Vec<MatchConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StickyBy {
    Header(String),
    Cookie(Cookie),
    Hash(String),
}

/// The name alone, or the name and how the cookie of a new user is set.
pub(crate) struct Cookie {
    name: String,
    settings: CookieSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NamedCookie {
    name: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    same_site: SameSite,
    #[serde(default)]
    secure: bool,
    #[serde(default = "yes")]
    http_only: bool,
    #[serde(default)]
    new_user: OnNewUser,
}

type CookieSettings = Option<NamedCookie>;

#[derive(Deserialize, Default)]
enum SameSite {
    #[default]
    Lax,
    Strict,
    None,
}

#[derive(Deserialize, Default, PartialEq)]
enum OnNewUser {
    #[default]
    SetCookie,
    Random,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatchConfig {
    #[serde(default)]
    header: Option<String>,
    #[serde(default)]
    cookie: Option<String>,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    exact: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    pub(crate) subset: String,
}

/// What the value of a match has to be.
pub(crate) enum Value {
    Exact(String),
    Prefix(String),
    Present,
}

/// By what users are told apart.
pub(crate) struct Sticky {
    pub(crate) attribute: String,
    pub(crate) new_user: NewUser,
}

/// What happens to a request that does not say whose it is.
pub(crate) enum NewUser {
    /// Its user gets a name, in a cookie on the response.
    GetsCookie { name: String, attributes: String },
    /// It is sent by chance.
    StaysUnknown,
}

impl Config {
    /// Subsets and weights, of which at least one is above 0.
    pub(crate) fn weights(&self) -> Result<Vec<(String, u32)>, ConfigError> {
        let problem = |reason: &str| ConfigError::field("subsets", reason);
        let weights: Vec<(String, u32)> = match (self.subsets.0.is_empty(), BUILT_IN) {
            (false, _) => self.subsets.0.clone(),
            (true, Some(text)) => {
                built_in(text).ok_or_else(|| problem("the component's built-in weights are broken"))?
            }
            (true, None) => {
                return Err(problem("is missing; name each subset and its weight, such as {v1: 90, v3: 10}"));
            }
        };
        match weights.iter().any(|(_, weight)| *weight > 0) {
            true => Ok(weights),
            false => Err(problem("has no weight above 0, so there is nothing to choose")),
        }
    }
}

fn yes() -> bool {
    true
}

fn built_in(text: &str) -> Option<Vec<(String, u32)>> {
    let pairs = text.split(',').map(|pair| {
        let (name, weight) = pair.split_once('=')?;
        Some((name.trim().to_owned(), weight.trim().parse().ok()?))
    });
    pairs.collect()
}

impl StickyBy {
    pub(crate) fn checked(self) -> Result<Sticky, ConfigError> {
        match self {
            Self::Header(name) => {
                Ok(Sticky { attribute: header_name("stickyBy.header", &name)?, new_user: NewUser::StaysUnknown })
            }
            Self::Hash(attribute) if attribute.is_empty() => {
                Err(ConfigError::field("stickyBy.hash", "is empty; name an attribute such as @source.address"))
            }
            Self::Hash(attribute) => Ok(Sticky { attribute, new_user: NewUser::StaysUnknown }),
            Self::Cookie(cookie) => {
                let name = token("stickyBy.cookie", &cookie.name)?;
                let attribute = ["@cookie:", &name].concat();
                let new_user = match &cookie.settings {
                    Some(settings) if settings.new_user == OnNewUser::Random => NewUser::StaysUnknown,
                    Some(settings) => NewUser::GetsCookie { name, attributes: settings.attributes()? },
                    None => NewUser::GetsCookie { name, attributes: "; Path=/; HttpOnly; SameSite=Lax".into() },
                };
                Ok(Sticky { attribute, new_user })
            }
        }
    }
}

impl NamedCookie {
    /// All that follows `NAME=VALUE`.
    fn attributes(&self) -> Result<String, ConfigError> {
        let mut text = String::new();
        let mut push = |name: &str, value: &str| {
            text.push_str("; ");
            text.push_str(name);
            text.push_str(value);
        };
        push("Path=", plain("stickyBy.cookie.path", self.path.as_deref().unwrap_or("/"))?);
        if let Some(domain) = &self.domain {
            push("Domain=", plain("stickyBy.cookie.domain", domain)?);
        }
        if let Some(ttl) = &self.ttl {
            let seconds = seconds(ttl).ok_or_else(|| {
                ConfigError::field("stickyBy.cookie.ttl", "is no duration; write it like 30m, 24h or 7d")
            })?;
            push("Max-Age=", &seconds.to_string());
        }
        if self.http_only {
            push("HttpOnly", "");
        }
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None if self.secure => "None",
            SameSite::None => {
                let reason = "is None, which browsers take only with `secure: true`; set it too";
                return Err(ConfigError::field("stickyBy.cookie.sameSite", reason));
            }
        };
        push("SameSite=", same_site);
        if self.secure {
            push("Secure", "");
        }
        Ok(text)
    }
}

impl MatchConfig {
    /// The attribute as the contract names it.
    pub(crate) fn attribute(&self, path: &str) -> Result<String, ConfigError> {
        match (&self.header, &self.cookie, &self.query) {
            (Some(name), None, None) => header_name(&[path, ".header"].concat(), name),
            (None, Some(name), None) => Ok(["@cookie:", &token(&[path, ".cookie"].concat(), name)?].concat()),
            (None, None, Some(name)) => Ok(["@query:", name].concat()),
            _ => Err(ConfigError::field(path, "needs exactly one of `header`, `cookie`, `query`")),
        }
    }

    pub(crate) fn value(&self, path: &str) -> Result<Value, ConfigError> {
        match (&self.exact, &self.prefix) {
            (Some(value), None) => Ok(Value::Exact(value.clone())),
            (None, Some(value)) => Ok(Value::Prefix(value.clone())),
            (None, None) => Ok(Value::Present),
            (Some(_), Some(_)) => Err(ConfigError::field(path, "has both `exact` and `prefix`; keep one")),
        }
    }
}

impl Value {
    pub(crate) fn fits(&self, value: &str) -> bool {
        match self {
            Self::Exact(want) => value == want,
            Self::Prefix(want) => value.starts_with(want.as_str()),
            Self::Present => true,
        }
    }
}

impl<'de> Deserialize<'de> for Cookie {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrObject;

        impl<'de> Visitor<'de> for NameOrObject {
            type Value = Cookie;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a cookie's name, or an object with `name`, `ttl`, …")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Cookie, E> {
                Ok(Cookie { name: name.into(), settings: None })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Cookie, M::Error> {
                let named = NamedCookie::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Cookie { name: named.name.clone(), settings: Some(named) })
            }
        }

        // An object is the hint; the reader offers a text where it finds one.
        deserializer.deserialize_map(NameOrObject)
    }
}

fn header_name(path: &str, name: &str) -> Result<String, ConfigError> {
    token(path, &name.to_ascii_lowercase())
}

fn token(path: &str, name: &str) -> Result<String, ConfigError> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !name.is_empty() && name.bytes().all(valid) {
        true => Ok(name.to_owned()),
        false => Err(ConfigError::field(path, ["`", name, "` is no name of a header or cookie"].concat())),
    }
}

/// Text that may stand in an attribute of a cookie.
fn plain<'a>(path: &str, text: &'a str) -> Result<&'a str, ConfigError> {
    match text.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b';' && byte != b',') {
        true => Ok(text),
        false => Err(ConfigError::field(path, "holds a character that a cookie's attribute may not have")),
    }
}

fn seconds(text: &str) -> Option<u64> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit)?;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    })
}
