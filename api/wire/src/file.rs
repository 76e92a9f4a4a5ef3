//! The snapshot file of a proxy's state folder: a header line, a checksum, then the signed entries.
//!
//! The header names the protocol level that the snapshot needs, so that an earlier build takes none of it for what it is
//! not. The checksum tells a damaged file from a forged one; the signature is checked by who has the signers' keys.

use crate::{DecodeError, LEVEL, LEVEL_MIN, Ledger, Seen, decode_seen, encode_seen, proto};
use prost::Message;
use sha2::{Digest as _, Sha256};
use std::fmt;
use weft_snapshot::WorkloadName;

/// What a proxy needs to start without its control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub workload: WorkloadName,
    /// Over [`crate::snapshot_payload`] of `workload` and the ledger's revision.
    pub signature: Vec<u8>,
    pub ledger: Ledger,
    /// As it came with the update.
    pub seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotFileError {
    /// Another format, or a later version of this one.
    Header,
    /// Cut short or damaged.
    Checksum,
    Decode(DecodeError),
    /// The entries are not those of the revision that was signed.
    Revision {
        claimed: String,
        computed: String,
    },
}

impl fmt::Display for SnapshotFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => {
                write!(f, "it does not start with the header of a snapshot file of version {LEVEL_MIN} to {LEVEL}")
            }
            Self::Checksum => f.write_str("its checksum does not match: the file is damaged or cut short"),
            Self::Decode(error) => error.fmt(f),
            Self::Revision { claimed, computed } => {
                write!(f, "its entries give revision {computed:?} and not {claimed:?} as it says")
            }
        }
    }
}

impl std::error::Error for SnapshotFileError {}

impl SnapshotFile {
    pub fn encode(&self) -> Vec<u8> {
        let stored = proto::StoredSnapshot {
            workload: self.workload.to_string(),
            revision: self.ledger.revision(),
            signature: self.signature.clone(),
            entries: self.ledger.entries(),
            seen: encode_seen(&self.seen),
        };
        let body = stored.encode_to_vec();
        let header = header(self.ledger.level());
        let mut bytes = Vec::with_capacity(header.len() + 32 + body.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotFileError> {
        let known = (LEVEL_MIN..=LEVEL).find_map(|level| bytes.strip_prefix(header(level).as_bytes()));
        let rest = known.ok_or(SnapshotFileError::Header)?;
        let (checksum, body) = rest.split_at_checked(32).ok_or(SnapshotFileError::Checksum)?;
        if Sha256::digest(body).as_slice() != checksum {
            return Err(SnapshotFileError::Checksum);
        }
        let unreadable = |e: prost::DecodeError| DecodeError::Bytes { what: "snapshot file", reason: e.to_string() };
        let stored = proto::StoredSnapshot::decode(body).map_err(|e| SnapshotFileError::Decode(unreadable(e)))?;
        let workload = stored.workload.parse().map_err(|error| {
            SnapshotFileError::Decode(DecodeError::Name { field: "StoredSnapshot.workload", error })
        })?;
        let ledger = Ledger::of_entries(stored.entries).map_err(SnapshotFileError::Decode)?;
        let computed = ledger.revision();
        if computed != stored.revision {
            return Err(SnapshotFileError::Revision { claimed: stored.revision, computed });
        }
        Ok(Self { workload, signature: stored.signature, ledger, seen: decode_seen(&stored.seen) })
    }
}

fn header(level: u32) -> String {
    format!("weft snapshot file {level}\n")
}
