//! Why bytes from outside are no key, resource, update or snapshot file.
//!
//! Every variant names the field; none of them is recoverable by guessing a default.

use std::fmt;
use weft_snapshot::InvalidName;

/// Bytes that do not mean what they should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// No protobuf message of this type.
    Bytes {
        what: &'static str,
        reason: String,
    },
    /// A field that must be there is not, or is of a kind that this build does not know.
    Missing {
        field: &'static str,
    },
    /// An enum value that this build does not know: its meaning may forbid something.
    Unknown {
        field: &'static str,
        value: i32,
    },
    /// A value outside what the field may hold.
    Value {
        field: &'static str,
        value: String,
    },
    Name {
        field: &'static str,
        error: InvalidName,
    },
    /// The same key in other bytes than this build writes: keys are compared as bytes.
    NotCanonical {
        key: String,
    },
    /// A resource under a key that is not its own.
    Misplaced {
        key: String,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { what, reason } => write!(f, "these bytes are no {what}: {reason}"),
            Self::Missing { field } => write!(f, "{field} is missing, or of a kind that this version does not know"),
            Self::Unknown { field, value } => write!(f, "{field} has value {value}, which this version does not know"),
            Self::Value { field, value } => write!(f, "{field} cannot be {value}"),
            Self::Name { field, error } => write!(f, "{field}: {error}"),
            Self::NotCanonical { key } => write!(f, "key {key} is not encoded in its one form"),
            Self::Misplaced { key } => write!(f, "the resource under key {key} is another one's"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why an update is refused; the proxy answers it as a nack and keeps what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    Level {
        needed: u32,
        spoken: u32,
    },
    Base {
        held: String,
        base: String,
    },
    Decode(DecodeError),
    /// The result is not what the control plane meant.
    Revision {
        claimed: String,
        computed: String,
    },
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level { needed, spoken } => {
                write!(f, "the update needs protocol level {needed} and this proxy speaks {spoken}; upgrade the proxy")
            }
            Self::Base { held, base } => {
                write!(f, "the update builds on revision {base:?}, but this proxy is at {held:?}")
            }
            Self::Decode(error) => write!(f, "the update cannot be read: {error}"),
            Self::Revision { claimed, computed } => {
                write!(f, "the update gives revision {computed:?} and not {claimed:?} as it says")
            }
        }
    }
}

impl std::error::Error for ApplyError {}

impl From<DecodeError> for ApplyError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}
