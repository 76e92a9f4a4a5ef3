//! How an exchange asks for a host that the plan does not know.
//!
//! It does not know who answers: with a control plane `control` does, with files nobody has to.

use weft_snapshot::Host;

/// Owned by the request path; `control` implements it.
pub trait Discovery: Send + Sync {
    /// Registers interest in a host, as the app wrote it; never blocks. The answer comes as a new plan.
    fn ask(&self, host: &Host);

    /// The host was used just now. Called at most about once a minute for each host and worker.
    fn used(&self, _host: &Host) {}
}

/// For a proxy whose snapshot is complete: what is not in it is absent.
#[derive(Debug)]
pub struct Complete;

impl Discovery for Complete {
    fn ask(&self, _host: &Host) {}
}
