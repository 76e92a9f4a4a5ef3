//! What a filter decided, checked against its manifest: what the proxy can apply without looking again.
//!
//! It does not know how a verdict crosses the component boundary (`contract`), nor how it is applied (the proxy).

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it on unchanged.
    Pass,
    /// Send it on, changed.
    Forward(Forward),
    /// Answer it here.
    Respond(Reply),
    /// Refuse it.
    Deny(Denial),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forward {
    pub edits: Vec<Edit>,
    /// Index into `Manifest::upstreams`.
    pub pick: Option<u32>,
    /// Handed back to `on_response` of the same exchange.
    pub state: Option<Vec<u8>>,
}

/// A change of one header, or of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Index into `Manifest::request_writes` or `response_writes`, by phase; always in range.
    pub slot: u32,
    pub op: Op,
}

/// Values are valid field values (RFC 9110, section 5.5), for `:path` a valid origin-form target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Set(String),
    Append(String),
    Remove,
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// Lower-case names that are tokens and concern no hop and no framing, with valid field values.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A refusal by a filter. The reason is for the log, the trace and `explain`, not for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub reply: Reply,
    pub reason: String,
}

/// What becomes of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseVerdict {
    Pass,
    Edit(Vec<Edit>),
    /// Answer this instead; the upstream's body is dropped.
    Replace(Reply),
}
