//! Reads a tree of YAML files, and again only those that have changed.
//!
//! It does not watch; it says which folders would have to be watched for the tree that it saw.

use super::{FileCode, FileProblem};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use weft_config::SourceFile;

/// What was read last, by path.
#[derive(Debug)]
pub(super) struct Tree {
    /// Absolute, as events name it.
    root: PathBuf,
    /// As the person wrote it, for problems and for paths that are relative to a file.
    shown: PathBuf,
    read: BTreeMap<PathBuf, Kept>,
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    file: SourceFile,
}

/// If none of these changed, neither did the bytes: every write moves ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// What one pass over the tree saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) files: Vec<SourceFile>,
    pub(super) problems: Vec<FileProblem>,
    /// Folders in which a change would concern the tree, those of symlinks' targets too.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// One pass under way.
struct Pass<'a> {
    writing: &'a dyn Fn(&Path) -> bool,
    seen: Seen,
    kept: BTreeMap<PathBuf, Kept>,
    entered: BTreeSet<(u64, u64)>,
    bytes_left: u64,
}

impl Tree {
    pub(super) fn new(shown: &Path) -> Self {
        let root = std::path::absolute(shown).unwrap_or_else(|_| shown.to_owned());
        Self { root, shown: shown.to_owned(), read: BTreeMap::new() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Files for which `writing` is true stay as they were read last. Fails where the folder itself cannot be read.
    pub(super) fn scan(&mut self, writing: &dyn Fn(&Path) -> bool) -> io::Result<Seen> {
        let root = self.root.clone();
        fs::read_dir(&root)?;
        let mut pass = Pass {
            writing,
            seen: Seen::default(),
            kept: BTreeMap::new(),
            entered: BTreeSet::new(),
            bytes_left: TREE_BYTES_MAX,
        };
        self.enter(&root, 0, &mut pass);
        self.read = pass.kept;
        pass.seen.files = self.read.values().map(|kept| kept.file.clone()).collect();
        Ok(pass.seen)
    }

    fn enter(&mut self, folder: &Path, depth: usize, pass: &mut Pass<'_>) {
        let entries = match fs::metadata(folder).and_then(|meta| Ok((meta, fs::read_dir(folder)?))) {
            // A symlink may lead back up.
            Ok((meta, _)) if !pass.entered.insert((meta.dev(), meta.ino())) || depth > DEPTH_MAX => return,
            Ok((_, entries)) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                pass.seen.problems.push(unreadable(self.shown(folder), &error));
                self.keep_below(folder, pass);
                return;
            }
        };
        pass.seen.folders.insert(folder.to_owned());
        if folder.join("oci-layout").is_file() {
            return; // images, not configuration
        }
        for entry in entries.flatten() {
            let path = entry.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with('.') {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.enter(&path, depth + 1, pass),
                Ok(kind) if kind.is_symlink() => self.follow(&path, depth, pass),
                _ if is_yaml(name) => self.file(&path, pass),
                _ => {}
            }
        }
    }

    fn follow(&mut self, link: &Path, depth: usize, pass: &mut Pass<'_>) {
        // The target may change without an event in the folder of the link.
        if let Some(parent) = fs::canonicalize(link).ok().as_deref().and_then(Path::parent) {
            pass.seen.folders.insert(parent.to_owned());
        }
        match fs::metadata(link) {
            Ok(meta) if meta.is_dir() => self.enter(link, depth + 1, pass),
            _ if link.file_name().and_then(|name| name.to_str()).is_some_and(is_yaml) => self.file(link, pass),
            _ => {}
        }
    }

    fn file(&mut self, path: &Path, pass: &mut Pass<'_>) {
        let earlier = self.read.remove(path);
        if (pass.writing)(path) {
            pass.kept.extend(earlier.map(|earlier| (path.to_owned(), earlier)));
            return;
        }
        let meta = match fs::metadata(path) {
            Ok(meta) if meta.is_file() => meta,
            // Pipes and devices are no configuration, and reading them could block.
            Ok(_) => return,
            Err(error) => return self.fail(path, earlier, &error, pass),
        };
        let stamp = Stamp::of(&meta);
        if let Some(earlier) = earlier.as_ref().filter(|earlier| earlier.stamp == stamp) {
            pass.bytes_left = pass.bytes_left.saturating_sub(earlier.file.bytes.len() as u64);
        }
        match earlier {
            Some(earlier) if earlier.stamp == stamp => {
                pass.kept.insert(path.to_owned(), earlier);
            }
            earlier => match read(path, stamp.bytes, &mut pass.bytes_left) {
                Ok(bytes) => {
                    let file = SourceFile::new(self.shown(path), bytes);
                    pass.kept.insert(path.to_owned(), Kept { stamp, file });
                }
                Err(error) => self.fail(path, earlier, &error, pass),
            },
        }
    }

    /// What was read of it before counts on; a file that is gone is gone.
    fn fail(&self, path: &Path, earlier: Option<Kept>, error: &io::Error, pass: &mut Pass<'_>) {
        if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() {
            return;
        }
        let problem = match error.kind() {
            io::ErrorKind::FileTooLarge => FileProblem {
                code: FileCode::TooLarge,
                path: self.shown(path),
                reason: error.to_string(),
                remedy: "split it into smaller files",
            },
            _ => unreadable(self.shown(path), error),
        };
        pass.seen.problems.push(problem);
        pass.kept.extend(earlier.map(|earlier| (path.to_owned(), earlier)));
    }

    fn shown(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).map(|below| self.shown.join(below));
        below.unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
    }

    fn keep_below(&mut self, folder: &Path, pass: &mut Pass<'_>) {
        let (below, rest) = std::mem::take(&mut self.read).into_iter().partition(|(path, _)| path.starts_with(folder));
        self.read = rest;
        pass.kept.extend::<BTreeMap<_, _>>(below);
    }
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino(), bytes: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) }
    }
}

fn read(path: &Path, expected: u64, bytes_left: &mut u64) -> io::Result<Vec<u8>> {
    let limit = FILE_BYTES_MAX.min(*bytes_left);
    let mut bytes = Vec::with_capacity(expected.min(limit) as usize);
    fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let reason = match limit == FILE_BYTES_MAX {
            true => "it is larger than 4 MiB",
            false => "the folder as a whole is larger than 256 MiB",
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    *bytes_left -= bytes.len() as u64;
    Ok(bytes)
}

fn unreadable(path: String, error: &io::Error) -> FileProblem {
    FileProblem {
        code: FileCode::Unreadable,
        path,
        reason: error.to_string(),
        remedy: "make it readable for the user of the control plane, or remove it",
    }
}

/// Not `.json`: what tools leave about is mostly that. Editors' own files end otherwise or begin with a dot.
fn is_yaml(name: &str) -> bool {
    [".yaml", ".yml"].iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

const FILE_BYTES_MAX: u64 = 4 << 20;
const TREE_BYTES_MAX: u64 = 256 << 20;
const DEPTH_MAX: usize = 32;
