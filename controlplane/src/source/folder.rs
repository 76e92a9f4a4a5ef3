//! A folder of YAML files as a source: one loop that watches first and reads then, so that no change falls between.
//!
//! Events only say that it is time to look; what counts is what a pass over the tree reads. It does not parse.

use super::scan::{Seen, Tree};
use super::settle::{Settle, Sighting};
use super::{FileCode, FileProblem, FileSet, Interest, Source};
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A folder, with all folders in it. It may appear later; while it is away, what was last read of it counts.
pub struct Folder {
    tree: Tree,
    /// Those of the tree, of symlinks' targets too: what happens in them concerns us.
    folders: BTreeSet<PathBuf>,
    settle: Settle,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    events: Receiver<Sighting>,
    last: Option<FileSet>,
    unwatched: Option<String>,
}

impl Folder {
    pub fn new(root: &Path) -> Self {
        let (sender, events) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // The loop may be gone already; then nobody misses the event.
            for sighting in sightings(event) {
                let _ = sender.send(sighting);
            }
        });
        let (watcher, unwatched) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            tree: Tree::new(root),
            folders: BTreeSet::new(),
            settle: Settle::default(),
            watcher,
            watched: BTreeSet::new(),
            events,
            last: None,
            unwatched,
        }
    }

    /// Reads the folder as it is now; what the loop reads later builds on it.
    pub fn read(&mut self, now: Instant) -> FileSet {
        self.settle.begin(now);
        let mut set = self.pass();
        if let Some(reason) = &self.unwatched {
            set.problems.push(FileProblem {
                code: FileCode::NotWatched,
                path: self.tree.root().display().to_string(),
                reason: format!("the system reports no changes here ({reason}); it is read every {SAFETY:?} instead"),
                remedy: "raise fs.inotify.max_user_watches or max_user_instances",
            });
        }
        self.last = Some(set.clone());
        set
    }

    fn pass(&mut self) -> FileSet {
        // Watch, then read, until a pass meets no folder that was not watched when it began.
        for _ in 0..PASSES_MAX {
            let scanned = self.tree.scan(&|path| self.settle.is_writing(path));
            self.folders = scanned.as_ref().map(|seen| seen.folders.clone()).unwrap_or_default();
            let mut wanted = self.folders.clone();
            wanted.extend(ancestors(self.tree.root()));
            if self.watch_only(wanted) == News::No {
                return scanned.map_or_else(|error| self.without_folder(&error), into_set);
            }
        }
        // Somebody makes folders faster than they can be watched; their events bring us back.
        self.tree.scan(&|path| self.settle.is_writing(path)).map_or_else(|error| self.without_folder(&error), into_set)
    }

    /// The folder is away (or unmounted): its last content counts, since an empty mesh is never what that means.
    fn without_folder(&self, error: &std::io::Error) -> FileSet {
        let files = self.last.as_ref().map(|set| set.files.clone()).unwrap_or_default();
        let problem = FileProblem {
            code: FileCode::FolderMissing,
            path: self.tree.root().display().to_string(),
            reason: error.to_string(),
            remedy: "make the folder; until then what was last read of it counts",
        };
        FileSet { files, problems: vec![problem], ..FileSet::default() }
    }

    fn watch_only(&mut self, wanted: BTreeSet<PathBuf>) -> News {
        let Some(watcher) = &mut self.watcher else { return News::No };
        for gone in self.watched.difference(&wanted) {
            let _ = watcher.unwatch(gone);
        }
        let mut news = News::No;
        let mut watched = BTreeSet::new();
        for folder in wanted {
            if self.watched.contains(&folder) {
                watched.insert(folder);
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    news = News::Yes;
                    watched.insert(folder);
                }
                Err(error) if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) => {
                    self.unwatched = Some(error.to_string());
                }
                // Gone again; the event of that is on its way.
                Err(_) => {}
            }
        }
        self.watched = watched;
        news
    }

    /// A folder that was replaced under its name is another one: its old watch hears nothing.
    fn forget_removed(&mut self, sighting: &Sighting) {
        let Sighting::Settled(path) = sighting else { return };
        let below: Vec<PathBuf> = self.watched.iter().filter(|folder| folder.starts_with(path)).cloned().collect();
        for folder in below {
            if let Some(watcher) = &mut self.watcher {
                let _ = watcher.unwatch(&folder);
            }
            self.watched.remove(&folder);
        }
    }

    /// What happens beside the folder is none of our business, and /tmp is a busy place.
    fn concerns(&self, sighting: &Sighting) -> bool {
        let (Sighting::Written(path) | Sighting::Settled(path)) = sighting else { return true };
        let inside = |path: &Path| self.folders.contains(path);
        self.tree.root().starts_with(path) || inside(path) || path.parent().is_some_and(inside)
    }

    fn gather(&mut self, wait: Duration) {
        match self.events.recv_timeout(wait) {
            Ok(sighting) if !self.concerns(&sighting) => {}
            Ok(sighting) => {
                self.forget_removed(&sighting);
                self.settle.saw(sighting, Instant::now());
            }
            // Without a watcher the sender is gone at once.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(wait),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

impl Source for Folder {
    fn watch(mut self, publish: &mut dyn FnMut(FileSet) -> Interest) {
        // What was read before the loop began was taken by whoever read it.
        let mut published = self.last.clone();
        let mut safety = Instant::now();
        loop {
            let now = Instant::now();
            if self.settle.due().is_some_and(|due| due <= now) || safety <= now {
                let set = self.read(now);
                safety = now + SAFETY;
                if published.as_ref() != Some(&set) {
                    if publish(set.clone()) == Interest::Gone {
                        return;
                    }
                    published = Some(set);
                }
            }
            let next = self.settle.due().map_or(safety, |due| due.min(safety));
            self.gather(next.saturating_duration_since(Instant::now()));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Yes,
    No,
}

fn into_set(seen: Seen) -> FileSet {
    FileSet { files: Arc::new(seen.files), problems: seen.problems, ..FileSet::default() }
}

/// The folders above, so that the folder's own making, renaming and removing are seen.
fn ancestors(root: &Path) -> BTreeSet<PathBuf> {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    absolute.ancestors().skip(1).filter(|above| above.is_dir()).take(ANCESTORS_MAX).map(Path::to_owned).collect()
}

fn sightings(event: notify::Result<notify::Event>) -> Vec<Sighting> {
    let Ok(event) = event else { return vec![Sighting::Anything] };
    if event.need_rescan() {
        return vec![Sighting::Anything];
    }
    let sighting: fn(PathBuf) -> Sighting = match event.kind {
        // Reading a file is no change, our own reading least of all.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Sighting::Settled,
        EventKind::Access(_) => return Vec::new(),
        EventKind::Modify(ModifyKind::Data(_)) => Sighting::Written,
        _ => Sighting::Settled,
    };
    event.paths.into_iter().map(sighting).collect()
}

/// Every so often the tree is read although nothing was reported: what no system reports (a network file system).
const SAFETY: Duration = Duration::from_secs(3);
const PASSES_MAX: usize = 8;
const ANCESTORS_MAX: usize = 2;

#[cfg(test)]
#[path = "folder/tests.rs"]
mod tests;
