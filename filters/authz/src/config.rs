//! What people write for authz, and how a refusal is worded. It does not see requests.

use serde::Deserialize;
use weft_filter_sdk::{ConfigError, OneOrMany, Pairs};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub(crate) deny: Option<Vec<RuleConfig>>,
    #[serde(default)]
    pub(crate) allow: Option<Vec<RuleConfig>>,
    #[serde(default)]
    pub(crate) answer: AnswerConfig,
}

/// Lists of patterns. Within a list one has to fit, and all lists have to.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct RuleConfig {
    pub(crate) name: String,
    pub(crate) principals: Option<OneOrMany>,
    pub(crate) not_principals: Option<OneOrMany>,
    pub(crate) namespaces: Option<OneOrMany>,
    pub(crate) not_namespaces: Option<OneOrMany>,
    pub(crate) methods: Option<OneOrMany>,
    pub(crate) not_methods: Option<OneOrMany>,
    pub(crate) hosts: Option<OneOrMany>,
    pub(crate) not_hosts: Option<OneOrMany>,
    pub(crate) paths: Option<OneOrMany>,
    pub(crate) not_paths: Option<OneOrMany>,
    pub(crate) headers: Pairs<OneOrMany>,
    pub(crate) not_headers: Pairs<OneOrMany>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AnswerConfig {
    status: Option<u16>,
    body: Format,
    message: Option<String>,
    reason: Reason,
}

#[derive(Deserialize, Default, PartialEq)]
enum Format {
    #[default]
    Text,
    Json,
}

/// Whether the caller learns why.
#[derive(Deserialize, Default, PartialEq)]
enum Reason {
    #[default]
    Hidden,
    Shown,
}

/// How a refusal is worded.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: bool,
    message: String,
    reason_shown: bool,
}

impl AnswerConfig {
    pub(crate) fn checked(self) -> Result<Answer, ConfigError> {
        let status = self.status.unwrap_or(403);
        if !(400..500).contains(&status) {
            return Err(ConfigError::field("answer.status", "is not between 400 and 499; 403 and 404 are usual"));
        }
        Ok(Answer {
            status,
            json: self.body == Format::Json,
            message: self.message.unwrap_or_else(|| "access denied".into()),
            reason_shown: self.reason == Reason::Shown,
        })
    }
}

impl Answer {
    pub(crate) fn text_body(&self, reason: &str) -> String {
        match self.reason_shown {
            true => [&self.message, ": ", reason, "\n"].concat(),
            false => [self.message.as_str(), "\n"].concat(),
        }
    }

    pub(crate) fn json_body(&self, reason: &str) -> String {
        let mut body = String::from("{\"error\":");
        push_json(&mut body, &self.message);
        if self.reason_shown {
            body.push_str(",\"reason\":");
            push_json(&mut body, reason);
        }
        body.push_str("}\n");
        body
    }
}

fn push_json(body: &mut String, text: &str) {
    body.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => body.extend(['\\', letter]),
            // A reason is made of header values, in which no other control character can be.
            letter if letter.is_ascii_control() => body.push(' '),
            letter => body.push(letter),
        }
    }
    body.push('"');
}
