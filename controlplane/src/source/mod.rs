//! Where configuration comes from. A source watches, and hands over everything whenever something has changed.
//!
//! It knows neither what the files mean nor who wants them, so that another source (Kubernetes) can stand beside
//! the folder: same hand-over, same world.

mod folder;
mod scan;
mod settle;

pub use folder::Folder;

use std::collections::BTreeMap;
use std::sync::Arc;
use weft_config::SourceFile;

/// All that a source has at one moment; each replaces the one before as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileSet {
    /// In path order, which is the order of age.
    pub files: Arc<Vec<SourceFile>>,
    pub problems: Vec<FileProblem>,
    /// Good versions of a cluster's objects that are broken now, kept for replicas that never saw them.
    pub last_good: Arc<Vec<SourceFile>>,
    /// How far a cluster's source has come: by kind, the highest resourceVersion that it has seen. Empty for a folder.
    pub versions: Arc<BTreeMap<String, u64>>,
}

impl FileSet {
    /// True where the two differ at most in their files and in how far they have come.
    pub fn is_like(&self, other: &Self) -> bool {
        self.problems == other.problems && self.last_good == other.last_good
    }

    /// These files, but what a cluster says of its pods, services and endpoints as `newer` has it: that is fact, and
    /// waits for no configuration.
    pub fn with_discovery_of(&self, newer: &Self) -> Self {
        let (kept, found) = (|file: &&SourceFile| !is_discovery(file), is_discovery);
        let rules = self.files.iter().filter(kept);
        let facts = newer.files.iter().filter(|file| found(file));
        Self { files: Arc::new(rules.chain(facts).cloned().collect()), ..self.clone() }
    }
}

/// Of pods, services and endpoints of a cluster, which are facts and no configuration.
pub(crate) fn is_discovery(file: &SourceFile) -> bool {
    let kind = file.path.split('/').next();
    file.created.is_some() && matches!(kind, Some("Pod" | "EndpointSlice" | "Service"))
}

/// A file or folder that could not be taken in as it is. What was last read of it counts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProblem {
    pub code: FileCode,
    pub path: String,
    pub reason: String,
    pub remedy: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCode {
    FolderMissing,
    Unreadable,
    TooLarge,
    NotWatched,
    /// The cluster's schema would cut the field `filters` off.
    SchemaLacksFilters,
}

impl FileCode {
    /// True where the path names an object of a cluster, and no file.
    pub fn is_of_cluster(self) -> bool {
        self == Self::SchemaLacksFilters
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::FolderMissing => "FolderMissing",
            Self::Unreadable => "Unreadable",
            Self::TooLarge => "TooLarge",
            Self::NotWatched => "NotWatched",
            Self::SchemaLacksFilters => "SchemaLacksFilters",
        }
    }
}

/// Whether a source should go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Wanted,
    /// Nobody listens any more.
    Gone,
}

/// Something that has configuration and sees when it changes.
pub trait Source: Send + 'static {
    /// Calls `publish` at once and after each change, on the calling thread, until nobody wants it any more.
    fn watch(self, publish: &mut dyn FnMut(FileSet) -> Interest);
}
