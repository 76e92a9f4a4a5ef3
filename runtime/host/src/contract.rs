//! The types of `wit/` as they cross the component boundary, field by field and case by case.
//!
//! They are raw: `Manifest::parse` and `check` turn them into what the rest of the host and the proxy use.

use wasmtime::component::{ComponentType, Lift, Lower};

pub(crate) const HOST: &str = "weft:filter/host@0.1.0";
pub(crate) const REQUEST: &str = "weft:filter/request@0.1.0";
pub(crate) const POLICY: &str = "weft:filter/policy@0.1.0";
pub(crate) const REQUEST_PHASE: &str = "weft:filter/request-phase@0.1.0";
pub(crate) const RESPONSE_PHASE: &str = "weft:filter/response-phase@0.1.0";

#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Manifest {
    pub(crate) request: Vec<String>,
    pub(crate) response: Vec<String>,
    #[component(name = "request-writes")]
    pub(crate) request_writes: Vec<String>,
    #[component(name = "response-writes")]
    pub(crate) response_writes: Vec<String>,
    pub(crate) upstreams: Vec<String>,
    pub(crate) counters: Vec<String>,
    pub(crate) callouts: Vec<String>,
    #[component(name = "body-limit")]
    pub(crate) body_limit: u32,
    pub(crate) guard: bool,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Op {
    #[component(name = "set")]
    Set(String),
    #[component(name = "append")]
    Append(String),
    #[component(name = "remove")]
    Remove,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Edit {
    pub(crate) slot: u32,
    pub(crate) op: Op,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Callout {
    pub(crate) target: u32,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    #[component(name = "timeout-ms")]
    pub(crate) timeout_ms: u32,
    pub(crate) state: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Forward {
    pub(crate) edits: Vec<Edit>,
    pub(crate) pick: Option<u32>,
    pub(crate) state: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Denial {
    pub(crate) reply: Reply,
    pub(crate) reason: String,
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Verdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "forward")]
    Forward(Forward),
    #[component(name = "respond")]
    Respond(Reply),
    #[component(name = "deny")]
    Deny(Denial),
    #[component(name = "call")]
    Call(Callout),
}

#[derive(Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum ResponseVerdict {
    #[component(name = "pass")]
    Pass,
    #[component(name = "edit")]
    Edit(Vec<Edit>),
    #[component(name = "replace")]
    Replace(Reply),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "made by lifting alone")]
pub(crate) enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
