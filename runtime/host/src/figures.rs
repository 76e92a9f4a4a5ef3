//! What a policy has done and suffered, and where it runs now: read by metrics, status and tests.
//!
//! Plain numbers of one moment; nothing here decides anything.

/// Sums over all workers since the policy was prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Calls of handlers begun, in either phase.
    pub calls: u64,
    /// Failures by kind, in the order of [`crate::FailureKind::ALL`].
    pub failures: [u64; 7],
    /// Calls stopped at their deadline on a worker.
    pub misses_on_workers: u64,
    /// Calls stopped at their deadline in the pool.
    pub misses_in_pool: u64,
    /// Calls that ran in the pool.
    pub pooled: u64,
    /// Instances made, the first included.
    pub instances: u64,
    /// Instances replaced because they had grown or served their number of calls.
    pub recycled: u64,
    /// Response attributes that were not UTF-8 and so were none.
    pub not_utf8: u64,
    /// Log lines dropped because the filter wrote too many.
    pub lines_dropped: u64,
    /// The filter's own counters, in the order of its manifest.
    pub counters: Vec<u64>,
    pub place: Place,
}

/// Where a policy's calls run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// On the worker that has the request.
    #[default]
    Worker,
    /// On the small pool: it missed its deadline too often.
    Pool,
    /// Nowhere for a while: it missed its deadline in the pool too.
    Refused,
}

impl Figures {
    pub fn failures_of(&self, kind: crate::FailureKind) -> u64 {
        crate::FailureKind::ALL.iter().position(|k| *k == kind).map_or(0, |index| self.failures[index])
    }
}
