//! A file of bytes that have been verified: nobody sees it before its digest and its size are right.
//!
//! Does not know where the bytes come from.

use crate::component::Binary;
use crate::error::Cause;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::Path;
use tempfile::{NamedTempFile, TempPath};
use weft_snapshot::Digest;

/// A verified file; it is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub struct Spooled {
    path: TempPath,
    digest: Digest,
    bytes: u64,
}

impl Spooled {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Moves the file; the spool folder has to lie on the same file system as `path`.
    pub fn keep(self, path: &Path) -> std::io::Result<()> {
        self.path.persist(path).map_err(|error| error.error)
    }
}

/// Takes bytes as they arrive.
pub(crate) struct Spool {
    file: NamedTempFile,
    hash: Sha256,
    start: Vec<u8>,
    written: u64,
    expected: Digest,
    bytes: u64,
}

const HEADER_BYTES: usize = 8;

impl Spool {
    /// For a blob of which a manifest says digest and size.
    pub(crate) fn new(folder: &Path, expected: Digest, bytes: u64, bytes_max: u64) -> Result<Self, Cause> {
        if bytes > bytes_max {
            return Err(Cause::TooLarge { what: "the component", bytes, bytes_max });
        }
        let file = tempfile::Builder::new()
            .prefix(".spool-")
            .tempfile_in(folder)
            .map_err(|error| folder_cause(folder, &error))?;
        Ok(Self { file, hash: Sha256::new(), start: Vec::new(), written: 0, expected, bytes })
    }

    /// Small writes to a file in the page cache; they do not wait for the disk.
    pub(crate) fn write(&mut self, chunk: &[u8]) -> Result<(), Cause> {
        self.written += chunk.len() as u64;
        if self.written > self.bytes {
            return Err(Cause::TooLarge { what: "the component", bytes: self.written, bytes_max: self.bytes });
        }
        let missing = HEADER_BYTES.saturating_sub(self.start.len()).min(chunk.len());
        self.start.extend_from_slice(&chunk[..missing]);
        self.hash.update(chunk);
        self.file.write_all(chunk).map_err(|error| folder_cause(self.file.path(), &error))
    }

    pub(crate) fn finish(self) -> Result<Spooled, Cause> {
        let got = Digest(self.hash.finalize().into());
        if got != self.expected {
            return Err(Cause::Tampered { what: "the component", expected: self.expected, got });
        }
        match Binary::of(&self.start) {
            Binary::Component => Ok(Spooled { path: self.file.into_temp_path(), digest: got, bytes: self.written }),
            other => Err(Cause::NotComponent { found: other.described(&self.start) }),
        }
    }
}

pub(crate) fn folder_cause(path: &Path, error: &std::io::Error) -> Cause {
    Cause::Folder { path: path.display().to_string(), reason: error.to_string() }
}
