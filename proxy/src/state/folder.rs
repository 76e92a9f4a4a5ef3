//! The state folder itself: who may touch it, and files that are replaced whole.
//!
//! It knows names and bytes; what is in them is its neighbours' business.

use super::artifacts::ArtifactFolder;
use super::identity::{StoredIdentity, StoredTrust};
use super::pem;
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use weft_wire::SnapshotFile;

/// An open state folder; no other process has it open.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    artifacts: ArtifactFolder,
    /// Locked while the process lives; the kernel frees it even after a kill.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the state folder {} cannot be made: {reason}; make it, or name another with --state", path.display())]
    Create { path: PathBuf, reason: io::Error },
    #[error("the state folder {} is no folder; name another with --state", path.display())]
    NoFolder { path: PathBuf },
    #[error(
        "the state folder {} belongs to user {owner} and not to user {me} who runs this; \
         chown it, or name another with --state", path.display()
    )]
    Owner { path: PathBuf, owner: u32, me: u32 },
    #[error(
        "others may write the state folder {} (mode {mode:04o}), which holds a private key; \
         chmod 700 it, or name another with --state", path.display()
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error("the state folder {} is in use by another proxy; give each its own with --state", path.display())]
    Busy { path: PathBuf },
    #[error("{} cannot be read: {reason}", path.display())]
    Read { path: PathBuf, reason: io::Error },
    #[error("{} cannot be written: {reason}; is the disk full?", path.display())]
    Write { path: PathBuf, reason: io::Error },
    #[error("{} is not usable: {reason}; {remedy}", path.display())]
    Damaged { path: PathBuf, reason: String, remedy: &'static str },
}

impl StateFolder {
    /// Makes the folder (0700) where there is none.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        make(path)?;
        check(path)?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&file)
            .map_err(|reason| StateError::Write { path: file, reason })?;
        lock.try_lock().map_err(|_| StateError::Busy { path: path.to_owned() })?;
        let artifacts = path.join("artifacts");
        make(&artifacts)?;
        check(&artifacts)?;
        Ok(Self { path: path.to_owned(), artifacts: ArtifactFolder::new(artifacts), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn artifacts(&self) -> &ArtifactFolder {
        &self.artifacts
    }

    /// Key and SVID; `None` where the proxy has never joined.
    pub fn identity(&self) -> Result<Option<StoredIdentity>, StateError> {
        self.parsed(IDENTITY, JOIN_AGAIN, StoredIdentity::from_pem)
    }

    pub fn save_identity(&self, identity: &StoredIdentity) -> Result<(), StateError> {
        self.write(IDENTITY, identity.to_pem().as_bytes())
    }

    pub fn trust(&self) -> Result<Option<StoredTrust>, StateError> {
        self.parsed(TRUST, JOIN_AGAIN, StoredTrust::from_pem)
    }

    pub fn save_trust(&self, trust: &StoredTrust) -> Result<(), StateError> {
        self.write(TRUST, trust.to_pem().as_bytes())
    }

    /// The key with which this proxy joins: kept, so that a join whose answer was lost can be asked again.
    pub fn join_key(&self) -> Result<Option<PrivatePkcs8KeyDer<'static>>, StateError> {
        self.parsed(JOIN_KEY, "remove it and join with a new token", pem::private_key)
    }

    pub fn save_join_key(&self, key: &PrivatePkcs8KeyDer<'static>) -> Result<(), StateError> {
        self.write(JOIN_KEY, pem::encode("PRIVATE KEY", key.secret_pkcs8_der()).as_bytes())
    }

    pub fn snapshot(&self) -> Result<Option<SnapshotFile>, StateError> {
        let remedy = "the control plane will send it anew";
        self.parsed(SNAPSHOT, remedy, |bytes| SnapshotFile::decode(bytes).map_err(|error| error.to_string()))
    }

    pub fn save_snapshot(&self, snapshot: &SnapshotFile) -> Result<(), StateError> {
        self.write(SNAPSHOT, &snapshot.encode())
    }

    /// Where peers reached the inbound side last time: to be bound again, since they may not hear of another.
    pub fn inbound_address(&self) -> Result<Option<SocketAddr>, StateError> {
        let stored = self.parsed(INBOUND, "another address is taken", |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            text.trim().parse().map_err(|_| format!("{:?} is no IP:PORT", text.trim()))
        });
        match stored {
            Err(error @ StateError::Damaged { .. }) => {
                tracing::warn!("{error}");
                Ok(None)
            }
            other => other,
        }
    }

    pub fn save_inbound_address(&self, address: SocketAddr) -> Result<(), StateError> {
        self.write(INBOUND, format!("{address}\n").as_bytes())
    }

    /// Keeps a file that cannot be used for who wants to look at it, and out of the way.
    pub fn set_aside(&self, error: &StateError) {
        if let StateError::Damaged { path, .. } = error {
            let mut aside = path.clone().into_os_string();
            aside.push(".damaged");
            let _ = std::fs::rename(path, aside);
        }
    }

    fn parsed<T>(
        &self,
        name: &str,
        remedy: &'static str,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, StateError> {
        let path = self.path.join(name);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        parse(&bytes).map(Some).map_err(|reason| StateError::Damaged { path, reason, remedy })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let path = self.path.join(name);
        replace(&path, bytes).map_err(|reason| StateError::Write { path, reason })
    }
}

fn make(path: &Path) -> Result<(), StateError> {
    let built = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
    built.map_err(|reason| StateError::Create { path: path.to_owned(), reason })
}

fn check(path: &Path) -> Result<(), StateError> {
    let found = std::fs::metadata(path).map_err(|reason| StateError::Read { path: path.to_owned(), reason })?;
    if !found.is_dir() {
        return Err(StateError::NoFolder { path: path.to_owned() });
    }
    let (owner, me) = (found.uid(), effective_user());
    if owner != me {
        return Err(StateError::Owner { path: path.to_owned(), owner, me });
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StateError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

#[allow(unsafe_code)]
fn effective_user() -> u32 {
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() }
}

/// `None` where there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |reason| StateError::Read { path: path.to_owned(), reason };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(failed(reason)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// After a crash at any point either the old or the new content is there, never a part.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_folder(path)
}

/// A rename lasts only once its folder has reached the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

const FOLDER_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;
/// Longest file that is read into memory, in bytes; a snapshot is the longest there is.
const FILE_BYTES_MAX: u64 = 256 << 20;

const IDENTITY: &str = "identity.pem";
const TRUST: &str = "trust.pem";
const JOIN_KEY: &str = "join.key";
const SNAPSHOT: &str = "snapshot";
const INBOUND: &str = "inbound";

const JOIN_AGAIN: &str = "join again with --token (`weft token create` makes one)";
