//! Plain tests of a filter, without Wasm: build a request, ask, and look at the verdict by names.
//!
//! Attributes are taken from the request as the proxy takes them. Where the host would call a verdict a failure of the
//! filter, the harness panics and says why. What it does not show: limits, deadlines, the component itself.

mod message;
mod outcome;

pub(crate) mod host;

pub use host::{counted, logged, set_now_ms, set_random};
pub use message::{TestRequest, TestResponse, get, request, response};
pub use outcome::{Outcome, ResponseOutcome};

use crate::abi::Value;
use crate::guest::Instance;
use crate::{ConfigError, Filter, Interest, Request, Response, config};

/// A configured filter under test.
pub struct Harness<F>(Instance<F>);

/// Configures a filter as its host would; `config` is JSON.
pub fn configure<F: Filter>(config: &str) -> Result<Harness<F>, ConfigError> {
    let mut interest = Interest::default();
    let filter = F::configure(config::parse(config)?, &mut interest)?;
    Ok(Harness(Instance { filter, interest }))
}

/// The error text of a config that must be refused; panics where it is accepted.
pub fn refusal<F: Filter>(config: &str) -> String {
    match configure::<F>(config) {
        Ok(_) => panic!("accepted: {config}"),
        Err(problem) => problem.to_string(),
    }
}

impl<F: Filter> Harness<F> {
    /// Asks about a request.
    pub fn request(&self, request: TestRequest) -> Outcome {
        let interest = &self.0.interest;
        let texts: Vec<_> = interest.request.iter().map(|name| request.attribute(name)).collect();
        let values: Vec<_> = texts.iter().map(|text| Value::of(text.as_deref())).collect();
        host::set_headers(request.headers.clone());
        let verdict = self.0.filter.on_request(&Request::new(interest, &values));
        Outcome::new(verdict, interest, request)
    }

    /// Asks about the response to a request that was forwarded.
    pub fn response(&self, asked: &Outcome, response: TestResponse) -> ResponseOutcome {
        let interest = &self.0.interest;
        let texts: Vec<_> = interest.response.iter().map(|name| response.attribute(name, asked.request())).collect();
        let values: Vec<_> = texts.iter().map(|text| Value::of(text.as_deref())).collect();
        host::set_headers(response.headers.clone());
        let verdict = self.0.filter.on_response(&Response::new(interest, &values, asked.state()));
        ResponseOutcome::new(verdict, interest)
    }

    pub fn interest(&self) -> &Interest {
        &self.0.interest
    }
}

#[cfg(test)]
mod tests;
