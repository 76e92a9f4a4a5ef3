//! The stream's messages, and a snapshot as bytes: what the control plane and a proxy say to each other.
//!
//! Pure values: this crate knows neither sockets nor files nor keys, and never panics on bytes from outside.

mod convert;
mod error;
mod file;
mod ledger;
mod level;
pub mod rpc;
mod seen;
mod sign;

pub use convert::{decode_key, decode_resource, encode_key, encode_resource};
pub use error::{ApplyError, DecodeError};
pub use file::{SnapshotFile, SnapshotFileError};
pub use ledger::{Applied, Hash, Holding, Ledger, resource_hash, revision};
pub use level::{LEVEL, LEVEL_MIN};
pub use seen::{Seen, decode_seen, encode_seen};
pub use sign::{SIGNATURE_LEN, artifact_payload, snapshot_payload};

/// The messages of `proto/weft.proto` as prost types.
#[allow(clippy::large_enum_variant, unreachable_pub)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/weft.v1.rs"));
}

/// Longest message on the stream, in bytes. gRPC's own limit of 4 MiB is too small for a first update.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Longest `FetchChunk::data`, in bytes.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
