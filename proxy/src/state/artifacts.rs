//! Artifacts by digest: written once, read-only, each beside the signature with which it came.
//!
//! A file gets its name only after its bytes gave that digest. Who may sign is `control`'s to say.

use super::folder::{FILE_MODE, read, replace, sync_folder};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use weft_snapshot::Digest;

/// The `artifacts` folder. A clone names the same folder.
#[derive(Clone, Debug)]
pub struct ArtifactFolder {
    path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("artifact {digest} has other bytes than its digest says ({got})")]
    Digest { digest: Digest, got: Digest },
    #[error("artifact {digest} is longer than {max} bytes")]
    TooLong { digest: Digest, max: u64 },
    #[error("artifact {digest} is not signed by a control plane that this proxy trusts")]
    Signature { digest: Digest },
    #[error("artifact {digest} cannot be kept in {}: {reason}", path.display())]
    Write { digest: Digest, path: PathBuf, reason: io::Error },
}

/// An artifact on its way in.
#[derive(Debug)]
pub struct Spool {
    digest: Digest,
    target: PathBuf,
    partial: PathBuf,
    file: File,
    sum: Sha256,
    written: u64,
}

impl ArtifactFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the artifact lies, if it does.
    pub fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.target(digest);
        path.is_file().then_some(path)
    }

    /// The signature of an artifact whose bytes are what its name says. `None`: not here, or not any more.
    /// A file with other bytes is removed, so that it is fetched again.
    pub fn signature(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.target(digest);
        let signature = read(&with_ending(&path, SIGNATURE)).ok()??;
        match file_digest(&path) {
            Ok(found) if found == *digest => Some(signature),
            Ok(_) => {
                self.remove(digest);
                None
            }
            Err(_) => None,
        }
    }

    pub fn spool(&self, digest: &Digest) -> Result<Spool, ArtifactError> {
        let target = self.target(digest);
        let partial = with_ending(&target, ".part");
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&partial);
        let failed = |reason| ArtifactError::Write { digest: *digest, path: partial.clone(), reason };
        let file = opened.map_err(failed)?;
        Ok(Spool { digest: *digest, target, partial, file, sum: Sha256::new(), written: 0 })
    }

    pub fn remove(&self, digest: &Digest) {
        let path = self.target(digest);
        let _ = std::fs::remove_file(with_ending(&path, SIGNATURE));
        let _ = std::fs::remove_file(path);
    }

    /// Removes what `kept` does not name. A loaded artifact lives on: its file is mapped.
    pub fn prune(&self, kept: impl Fn(&Digest) -> bool) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let stem = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
            match format!("sha256:{stem}").parse::<Digest>() {
                Ok(digest) if kept(&digest) => {}
                _ => drop(std::fs::remove_file(entry.path())),
            }
        }
    }

    fn target(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.to_string().trim_start_matches("sha256:"))
    }
}

impl Spool {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ArtifactError> {
        self.written += bytes.len() as u64;
        if self.written > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLong { digest: self.digest, max: ARTIFACT_BYTES_MAX });
        }
        self.sum.update(bytes);
        self.file.write_all(bytes).map_err(|reason| self.failed(reason))
    }

    /// The caller has verified `signature`; the digest is verified here.
    pub fn finish(self, signature: &[u8]) -> Result<PathBuf, ArtifactError> {
        let got = Digest(self.sum.clone().finalize().into());
        if got != self.digest {
            let _ = std::fs::remove_file(&self.partial);
            return Err(ArtifactError::Digest { digest: self.digest, got });
        }
        self.keep(signature).map_err(|reason| self.failed(reason))?;
        Ok(self.target)
    }

    fn keep(&self, signature: &[u8]) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(READ_ONLY))?;
        self.file.sync_all()?;
        replace(&with_ending(&self.target, SIGNATURE), signature)?;
        std::fs::rename(&self.partial, &self.target)?;
        sync_folder(&self.target)
    }

    fn failed(&self, reason: io::Error) -> ArtifactError {
        ArtifactError::Write { digest: self.digest, path: self.partial.clone(), reason }
    }
}

fn file_digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest(sum.finalize().into())),
            length => sum.update(&piece[..length]),
        }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

const SIGNATURE: &str = ".sig";
const READ_ONLY: u32 = 0o400;
/// A precompiled Python component is about 60 MB.
const ARTIFACT_BYTES_MAX: u64 = 256 << 20;
