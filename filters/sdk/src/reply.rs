//! A response that a filter gives itself.

use crate::{Denial, Reply, ResponseVerdict, Verdict};

impl Reply {
    /// An answer without headers and body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body of plain text.
    #[must_use]
    pub fn text(self, body: impl Into<String>) -> Self {
        self.body("text/plain; charset=utf-8", body.into())
    }

    /// A body of JSON; the caller has encoded it.
    #[must_use]
    pub fn json(self, body: impl Into<String>) -> Self {
        self.body("application/json", body.into())
    }

    #[must_use]
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Refuses the request with this answer. The reason reaches the log and the trace, not the caller.
    #[must_use]
    pub fn deny(self, reason: impl Into<String>) -> Verdict {
        Verdict::Deny(Denial { reply: self, reason: reason.into() })
    }
}

impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        Self::Respond(reply)
    }
}

impl From<Reply> for ResponseVerdict {
    fn from(reply: Reply) -> Self {
        Self::Replace(reply)
    }
}
