//! Changes headers of requests and responses, and the prefix of a path, with values taken from the exchange.
//!
//! It does not choose anything: every request that passes gets the same operations.

mod config;
mod rewrite;
mod template;

use weft_filter_sdk::{ConfigError, Filter, Interest, Request, RequestHeader, Response, ResponseHeader};
use weft_filter_sdk::{RequestAttribute, ResponseAttribute, ResponseVerdict, Verdict};

use config::{Config, Operations};
use rewrite::Rewrite;
use template::Template;

pub struct Headers {
    rewrite: Option<(RequestAttribute, RequestHeader, Vec<Rewrite>)>,
    request: Changes<RequestHeader, RequestAttribute>,
    response: Changes<ResponseHeader, ResponseAttribute>,
}

/// Removed first, then set, then added, as Istio does it.
struct Changes<Header, Attribute> {
    remove: Vec<Header>,
    set: Vec<(Header, Template<Attribute>)>,
    add: Vec<(Header, Template<Attribute>)>,
}

impl Filter for Headers {
    type Config = Config;

    fn configure(config: Config, interest: &mut Interest) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let rewrite = match config.rewrite.is_empty() {
            true => None,
            false => Some((interest.request(":path"), interest.set_request(":path"), config.rewrite)),
        };
        let request = Changes::declare(
            "request",
            config.request,
            interest,
            |interest, header| interest.set_request(header),
            |interest, attribute| interest.request(attribute),
        )?;
        let response = Changes::declare(
            "response",
            config.response,
            interest,
            |interest, header| interest.set_response(header),
            |interest, attribute| interest.response(attribute),
        )?;
        if !response.is_empty() {
            // Without an attribute of the response the host would not ask; this one is always there.
            interest.response(":status");
        }
        Ok(Self { rewrite, request, response })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let value = |attribute| request.attribute(attribute);
        let mut forward = request.forward();
        if let Some((path, slot, rules)) = &self.rewrite
            && let Some(path) = request.attribute(*path)
            && let Some(rewritten) = rules.iter().find_map(|rule| rule.apply(path))
        {
            forward = forward.set(*slot, rewritten);
        }
        for header in &self.request.remove {
            forward = forward.remove(*header);
        }
        for (header, template) in &self.request.set {
            if let Some(text) = template.fill(value) {
                forward = forward.set(*header, text);
            }
        }
        for (header, template) in &self.request.add {
            if let Some(text) = template.fill(value) {
                forward = forward.append(*header, text);
            }
        }
        forward.into()
    }

    fn on_response(&self, response: &Response) -> ResponseVerdict {
        let value = |attribute| response.attribute(attribute);
        let mut edit = response.edit();
        for header in &self.response.remove {
            edit = edit.remove(*header);
        }
        for (header, template) in &self.response.set {
            if let Some(text) = template.fill(value) {
                edit = edit.set(*header, text);
            }
        }
        for (header, template) in &self.response.add {
            if let Some(text) = template.fill(value) {
                edit = edit.append(*header, text);
            }
        }
        edit.into()
    }
}

impl<Header, Attribute> Changes<Header, Attribute> {
    fn declare(
        phase: &str,
        operations: Operations,
        interest: &mut Interest,
        header: impl Fn(&mut Interest, String) -> Header,
        attribute: impl Fn(&mut Interest, &str) -> Attribute,
    ) -> Result<Self, ConfigError> {
        let remove = operations.remove.into_iter().map(|name| header(interest, name)).collect();
        let mut all = Vec::new();
        for (operation, values) in [("set", operations.set), ("add", operations.add)] {
            let mut templates = Vec::new();
            for (name, text) in values {
                let template = Template::parse(&text, |name| attribute(interest, name))
                    .map_err(|reason| ConfigError::field([phase, ".", operation, ".", &name].concat(), reason))?;
                templates.push((header(interest, name), template));
            }
            all.push(templates);
        }
        let add = all.pop().unwrap_or_default();
        let set = all.pop().unwrap_or_default();
        Ok(Self { remove, set, add })
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

weft_filter_sdk::export!(
    filter: Headers,
    world: filter,
    schema: include_str!("../schema.json"),
    doc: include_str!("../README.md"),
);

#[cfg(test)]
mod tests;
