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
    /// How far a cluster's source has come: by kind, the highest resourceVersion that it has seen. Empty for a folder.
    pub versions: Arc<BTreeMap<String, u64>>,
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
