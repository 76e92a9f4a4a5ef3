//! Why a filter gave no verdict.
//!
//! It does not decide what that means for the request: the caller does, by the policy's [`crate::OnFailure`].

use std::fmt;

/// A call of a filter that ended without a verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter {filter}: {reason}")]
pub struct Failure {
    pub kind: FailureKind,
    /// The policy's key.
    pub filter: String,
    /// One line for the log, without the filter's name.
    pub reason: String,
}

/// What a failure was, as metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// It ran past its deadline.
    Deadline,
    /// It recursed until its stack was used up.
    Stack,
    /// It trapped after the host had refused it memory.
    Memory,
    /// Any other trap: a panic, an access out of bounds, a host function that it may not call.
    Trap,
    /// It answered, and the answer breaks the contract: an unknown slot, an invalid field value, a status out of
    /// range, more data than the host copies.
    Output,
    /// An attribute of the request is not UTF-8 and the policy refuses that. The client's fault: answer 400 whatever
    /// the failure policy says.
    NotUtf8,
    /// It was not called: no instance is ready, or it has failed too often and is refused for a while.
    Unavailable,
}

impl FailureKind {
    pub const ALL: [Self; 7] =
        [Self::Deadline, Self::Stack, Self::Memory, Self::Trap, Self::Output, Self::NotUtf8, Self::Unavailable];

    /// The word that metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Stack => "stack",
            Self::Memory => "memory",
            Self::Trap => "trap",
            Self::Output => "output",
            Self::NotUtf8 => "not_utf8",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
