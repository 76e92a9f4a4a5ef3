//! Istio's patterns for strings: `exact`, `prefix*`, `*suffix`, and `*` for anything that is not empty.

use weft_filter_sdk::ConfigError;

#[derive(Debug, PartialEq)]
pub(crate) enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    NotEmpty,
}

impl Pattern {
    /// An asterisk elsewhere than at an end would look like a pattern and be none.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self, ConfigError> {
        let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            _ if text == "*" => Self::NotEmpty,
            (Some(suffix), None) => Self::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => Self::Prefix(prefix.to_owned()),
            (None, None) => Self::Exact(text.to_owned()),
            (Some(_), Some(_)) => {
                let reason = ["`", text, "` has an asterisk at both ends; keep one"];
                return Err(ConfigError::field(field, reason.concat()));
            }
        };
        let rest = match &pattern {
            Self::Exact(rest) | Self::Prefix(rest) | Self::Suffix(rest) => rest,
            Self::NotEmpty => return Ok(pattern),
        };
        if rest.is_empty() {
            return Err(ConfigError::field(field, "is empty; write `*` for anything"));
        }
        match rest.contains('*') {
            true => Err(ConfigError::field(
                field,
                ["`", text, "` has an asterisk inside; it stands for the rest at the beginning or the end alone"]
                    .concat(),
            )),
            false => Ok(pattern),
        }
    }

    pub(crate) fn fits(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => value.ends_with(suffix.as_str()),
            Self::NotEmpty => !value.is_empty(),
        }
    }

    /// The same pattern over another spelling of the values.
    pub(crate) fn respelled(&self, spell: impl Fn(&Self, &str) -> String) -> Self {
        match self {
            Self::Exact(text) => Self::Exact(spell(self, text)),
            Self::Prefix(text) => Self::Prefix(spell(self, text)),
            Self::Suffix(text) => Self::Suffix(spell(self, text)),
            Self::NotEmpty => Self::NotEmpty,
        }
    }
}
