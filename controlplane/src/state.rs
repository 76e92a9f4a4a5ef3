//! The folder in which the control plane keeps what must outlive it: keys, used tokens, joined workloads.
//!
//! It answers for permissions and atomic replacement; it does not know what lies in the files.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A folder of mode 0700 that belongs to this user alone; files in it are 0600 and replaced whole.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
}

/// Held while a process changes what others read and change too. Released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Which version of a file there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    changed: (i64, i64),
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state folder {path}: {doing}: {source}; it needs to be a folder that this user may write")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("state folder {path} may be written or read by others (mode {mode:o}); run chmod 700 {path}")]
    Open { path: PathBuf, mode: u32 },
    #[error("state folder {path} belongs to user {owner}, and this is user {user}; give one of your own with --state")]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error("another control plane runs on state folder {path}; stop it, or give another folder with --state")]
    Taken { path: PathBuf },
    #[error("{path} in the state folder is damaged: {reason}; restore it, or move the folder away to start anew")]
    Damaged { path: PathBuf, reason: String },
}

impl StateFolder {
    /// Creates the folder where it is missing; refuses one that others own or may write or read.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |doing| move |source| StateError::Io { path: path.to_owned(), doing, source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("cannot create it"))?;
        let folder = Self { path: path.to_owned() };
        let meta = fs::metadata(path).map_err(failed("cannot look at it"))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StateError::Open { path: path.to_owned(), mode });
        }
        // The owner of a file that this process makes is its own user id; std has no other way to ask.
        let probe = folder.lock_file(CHANGES)?;
        let user = probe.metadata().map_err(failed("cannot look at its lock"))?.uid();
        if user != meta.uid() {
            return Err(StateError::Foreign { path: path.to_owned(), owner: meta.uid(), user });
        }
        Ok(folder)
    }

    /// The folder given, or the one that this user's control plane takes when none is given.
    pub fn default_path() -> PathBuf {
        let base = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        base.or_else(home).unwrap_or_else(|| PathBuf::from(".")).join("weft/controlplane")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None` where there is no such file yet.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        match fs::read(self.path.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Io { path: self.path.join(name), doing: "cannot read it", source }),
        }
    }

    /// A reader sees the old bytes or the new ones, also after a power failure.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        let target = self.path.join(name);
        let temporary = self.path.join(format!(".{name}.new"));
        let replace = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &target)?;
            File::open(&self.path)?.sync_all()
        };
        replace().map_err(|source| StateError::Io { path: target.clone(), doing: "cannot write it", source })
    }

    /// Another value after each [`StateFolder::write`], by whichever process; `None` where there is no such file.
    pub fn stamp(&self, name: &str) -> Option<Stamp> {
        // Times alone are too coarse; each write is another inode.
        let meta = fs::metadata(self.path.join(name)).ok()?;
        Some(Stamp { inode: meta.ino(), changed: (meta.ctime(), meta.ctime_nsec()) })
    }

    /// For the life of a control plane: two on one folder would give out two truths.
    pub fn claim(&self) -> Result<Lock, StateError> {
        let file = self.lock_file(RUNNING)?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StateError::Taken { path: self.path.clone() }),
            Err(TryLockError::Error(source)) => {
                Err(StateError::Io { path: self.path.clone(), doing: "cannot lock it", source })
            }
        }
    }

    /// The first folder in `shared` on which no other control plane runs; the next one there finds what this one leaves.
    pub fn claim_in(shared: &Path) -> Result<(Self, Lock), StateError> {
        for number in 0..SHARERS_MAX {
            let folder = Self::open(&shared.join(format!("replica-{number}")))?;
            match folder.claim() {
                Ok(claim) => return Ok((folder, claim)),
                Err(StateError::Taken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StateError::Taken { path: shared.to_owned() })
    }

    /// For one read-change-write of a file that the CLI changes beside a running control plane.
    pub fn lock_changes(&self) -> Result<Lock, StateError> {
        let file = self.lock_file(CHANGES)?;
        let failed = |source| StateError::Io { path: self.path.clone(), doing: "cannot lock it", source };
        file.lock().map_err(failed)?;
        Ok(Lock { _file: file })
    }

    pub fn damaged(&self, name: &str, reason: impl ToString) -> StateError {
        StateError::Damaged { path: self.path.join(name), reason: reason.to_string() }
    }

    fn lock_file(&self, name: &str) -> Result<File, StateError> {
        let failed = |source| StateError::Io { path: self.path.join(name), doing: "cannot open it", source };
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(name))
            .map_err(failed)
    }
}

const RUNNING: &str = "running.lock";
const CHANGES: &str = "changes.lock";
/// More replicas than any mesh has.
const SHARERS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_that_others_may_read_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        StateFolder::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        for mode in [0o750, 0o705, 0o770] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = StateFolder::open(&path);
            assert!(matches!(refused, Err(StateError::Open { .. })), "mode {mode:o}: {refused:?}");
        }
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&scratch.path().join("state")).unwrap();
        assert_eq!(folder.read("a").unwrap(), None);
        for text in ["one", "2"] {
            folder.write("a", text.as_bytes()).unwrap();
            assert_eq!(folder.read("a").unwrap().as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn two_control_planes_cannot_share_a_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&scratch.path().join("state")).unwrap();
        let held = folder.claim().unwrap();
        assert!(matches!(folder.claim(), Err(StateError::Taken { .. })));
        drop(held);
        folder.claim().unwrap();
    }

    #[test]
    fn replicas_share_a_volume_and_take_over_what_others_left() {
        let volume = tempfile::tempdir().unwrap();
        let (first, held) = StateFolder::claim_in(volume.path()).unwrap();
        first.write("a", b"kept").unwrap();
        let (second, _held) = StateFolder::claim_in(volume.path()).unwrap();
        assert_ne!(first.path(), second.path());
        drop(held);
        let (third, _held) = StateFolder::claim_in(volume.path()).unwrap();
        assert_eq!(third.path(), first.path());
        assert_eq!(third.read("a").unwrap().as_deref(), Some(&b"kept"[..]));
    }
}
