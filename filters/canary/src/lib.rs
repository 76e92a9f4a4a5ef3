//! Splits the requests of a route among subsets by weight, the same user always to the same subset.
//!
//! It does not know which endpoints a subset has: it names the subset, and the proxy balances within it.

mod config;
mod split;

use weft_filter_sdk::{ConfigError, Filter, Interest, Pick, Request, Response, ResponseVerdict, Verdict, random};

use config::{Config, NewUser, Sticky};
use split::Split;

pub struct Canary {
    matches: Vec<Match>,
    sticky: Option<Key>,
    new_user: NewUser,
    split: Split<Pick>,
}

/// Sends what fits it to one subset, whatever the weights.
struct Match {
    attribute: weft_filter_sdk::RequestAttribute,
    value: config::Value,
    pick: Pick,
}

/// What makes two requests the same user's.
struct Key {
    attribute: weft_filter_sdk::RequestAttribute,
    /// An address is an IP and a port; the port differs from connection to connection.
    is_address: bool,
}

impl Filter for Canary {
    type Config = Config;

    fn configure(config: Config, interest: &mut Interest) -> Result<Self, ConfigError> {
        let weights = config.weights()?;
        let split = Split::new(weights.iter().map(|(name, weight)| (interest.pick(name), name.as_str(), *weight)));
        let mut matches = Vec::new();
        for (index, one) in config.matches.into_iter().enumerate() {
            let path = ["matches[", &index.to_string(), "]"].concat();
            if !weights.iter().any(|(name, _)| *name == one.subset) {
                let reason = ["`", &one.subset, "` is not among `subsets`; add it there, with weight 0 if need be"];
                return Err(ConfigError::field([&path, ".subset"].concat(), reason.concat()));
            }
            let attribute = interest.request(one.attribute(&path)?);
            matches.push(Match { attribute, value: one.value(&path)?, pick: interest.pick(one.subset) });
        }
        let (sticky, new_user) = match config.sticky_by {
            None => (None, NewUser::StaysUnknown),
            Some(by) => {
                let Sticky { attribute, new_user } = by.checked()?;
                let is_address = attribute == "@source.address";
                (Some(Key { attribute: interest.request(attribute), is_address }), new_user)
            }
        };
        if let NewUser::GetsCookie { .. } = new_user {
            // Any attribute makes the host call `on_response`, and this one is always there.
            interest.response(":status");
            interest.set_response("set-cookie");
        }
        Ok(Self { matches, sticky, new_user, split })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        for one in &self.matches {
            if request.attribute(one.attribute).is_some_and(|value| one.value.fits(value)) {
                return request.forward().pick(one.pick).into();
            }
        }
        let known = self.sticky.as_ref().and_then(|key| key.read(request));
        match (known, &self.new_user) {
            (Some(user), _) => request.forward().pick(self.split.choose(split::hash(user.as_bytes()))).into(),
            (None, NewUser::GetsCookie { .. }) => {
                let user = split::user_id(random());
                let pick = self.split.choose(split::hash(&user));
                request.forward().pick(pick).state(user).into()
            }
            (None, NewUser::StaysUnknown) => request.forward().pick(self.split.choose(random())).into(),
        }
    }

    fn on_response(&self, response: &Response) -> ResponseVerdict {
        let user = response.state().and_then(|state| std::str::from_utf8(state).ok());
        match (user, &self.new_user) {
            (Some(user), NewUser::GetsCookie { name, attributes }) => {
                response.edit().append("set-cookie", [name, "=", user, attributes].concat()).into()
            }
            _ => ResponseVerdict::Pass,
        }
    }
}

impl Key {
    fn read<'a>(&self, request: &Request<'a>) -> Option<&'a str> {
        let value = request.attribute(self.attribute).filter(|value| !value.is_empty())?;
        match self.is_address {
            true => Some(value.rsplit_once(':').map_or(value, |(ip, _)| ip)),
            false => Some(value),
        }
    }
}

weft_filter_sdk::export!(
    filter: Canary,
    world: filter,
    schema: include_str!("../schema.json"),
    doc: include_str!("../README.md"),
);

#[cfg(test)]
mod tests;
