//! The one trait that a filter implements.

use serde::de::DeserializeOwned;

use crate::{ConfigError, Interest, Request, Response, ResponseVerdict, Verdict};

/// A policy. One value serves many requests, one after another; nothing about a request may be kept in it, because
/// the instance can be replaced between a request and its response.
pub trait Filter: Sized + 'static {
    /// What stands under `config` in the mesh's configuration. `#[derive(Deserialize)]` with
    /// `#[serde(deny_unknown_fields)]` turns a misspelt field into an error that names it.
    type Config: DeserializeOwned;

    /// Checks the config and declares what the filter wants to see and may change. Deterministic: the same config
    /// declares the same.
    fn configure(config: Self::Config, interest: &mut Interest) -> Result<Self, ConfigError>;

    /// Decides about a request. Called only with what was declared.
    fn on_request(&self, request: &Request) -> Verdict;

    /// Decides about a response. Called only where `configure` declared an attribute of the response.
    fn on_response(&self, response: &Response) -> ResponseVerdict {
        let _ = response;
        ResponseVerdict::Pass
    }
}
