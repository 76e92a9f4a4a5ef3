//! One policy: a component with one config, as it is attached to rules, destinations and inbound ports.

use crate::Digest;
use std::fmt;
use std::time::Duration;

/// Names one policy: `NAMESPACE/NAME` of the Filter, and `#` with a hash of the config where an attachment
/// replaced the Filter's own. Attachments with the same key share instances.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterKey(pub String);

impl FilterKey {
    /// `NAMESPACE/NAME` of the Filter.
    pub fn filter(&self) -> &str {
        self.0.split_once('#').map_or(&self.0, |(filter, _)| filter)
    }
}

impl fmt::Display for FilterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Key: [`crate::Key::Filter`] with `key`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    pub key: FilterKey,
    /// Digest of the component as it was pushed: what logs, status and metrics show. `None`: never resolved yet.
    pub component: Option<Digest>,
    /// Digest of the component precompiled for this proxy's artifact key; what `Fetch` is asked for.
    /// `None` where there is none yet: the filter answers by `failure_policy`.
    pub artifact: Option<Digest>,
    /// JSON; what `configure` gets.
    pub config: String,
    /// Of one call. Default 2 ms.
    pub deadline: Duration,
    /// Linear memory of one instance, in bytes. Default 16 MiB.
    pub memory_max: u64,
    pub failure_policy: FailurePolicy,
    pub non_utf8: NonUtf8,
    pub isolation: Isolation,
}

/// What happens to a request whose filter trapped, ran too long, or has never been ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailurePolicy {
    /// 503, the filter's name in the log.
    Closed,
    /// As if the filter had said `pass`.
    Open,
}

/// What happens to a request attribute that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NonUtf8 {
    /// 400.
    Refuse,
    /// The filter sees none.
    Absent,
}

/// Which instance a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// The one that its worker keeps: what a call leaves in the instance, the next one finds.
    Reuse,
    /// One that has served nothing, dropped after the call.
    Request,
}
