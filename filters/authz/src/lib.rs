//! Permits or denies a request by who calls, from where, and what is asked for.
//!
//! It does not know what lies behind the service, and takes nothing that a caller can write for proof of who he is,
//! other than what a rule names itself.

mod config;
mod path;
mod pattern;
mod rule;

use weft_filter_sdk::{ConfigError, Filter, Interest, Reply, Request, Verdict};

use config::{Answer, Config};
use rule::{Attributes, Rule};

pub struct Authz {
    attributes: Attributes,
    deny: Vec<Rule>,
    /// None: whatever is not denied may pass.
    allow: Option<Vec<Rule>>,
    answer: Answer,
}

impl Filter for Authz {
    type Config = Config;

    fn configure(config: Config, interest: &mut Interest) -> Result<Self, ConfigError> {
        interest.guard();
        let answer = config.answer.checked()?;
        let deny = rule::list("deny", config.deny.unwrap_or_default(), interest)?;
        let allow = config.allow.map(|rules| rule::list("allow", rules, interest)).transpose()?;
        if deny.is_empty() && allow.is_none() {
            return Err(ConfigError::field("", "has neither `allow` nor `deny`; give at least one list of rules"));
        }
        Ok(Self { attributes: Attributes::declared(interest), deny, allow, answer })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let subject = self.attributes.of(request);
        if let Some(rule) = self.deny.iter().find(|rule| rule.denies(&subject)) {
            return self.answer.denial(&["deny rule ", rule.label(), " fits ", &subject.to_string()].concat());
        }
        match &self.allow {
            Some(rules) if !rules.iter().any(|rule| rule.allows(&subject)) => {
                self.answer.denial(&["no allow rule fits ", &subject.to_string()].concat())
            }
            _ => Verdict::Pass,
        }
    }
}

impl Answer {
    fn denial(&self, reason: &str) -> Verdict {
        let reply = Reply::status(self.status);
        let reply = match self.json {
            true => reply.json(self.json_body(reason)),
            false => reply.text(self.text_body(reason)),
        };
        reply.deny(reason)
    }
}

weft_filter_sdk::export!(
    filter: Authz,
    world: request-filter,
    schema: include_str!("../schema.json"),
    doc: include_str!("../README.md"),
);

#[cfg(test)]
mod tests;
