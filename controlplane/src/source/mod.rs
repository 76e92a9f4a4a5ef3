//! Where configuration comes from. A source watches, and hands over everything whenever something has changed.
//!
//! It knows neither what the files mean nor who wants them, so that another source (Kubernetes) can stand beside
//! the folder: same hand-over, same world.

mod folder;
mod scan;
mod settle;

pub use folder::Folder;

use std::sync::Arc;
use weft_config::SourceFile;

/// All that a source has at one moment; each replaces the one before as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileSet {
    /// In path order, which is the order of age.
    pub files: Arc<Vec<SourceFile>>,
    pub problems: Vec<FileProblem>,
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
}

impl FileCode {
    pub fn name(self) -> &'static str {
        match self {
            Self::FolderMissing => "FolderMissing",
            Self::Unreadable => "Unreadable",
            Self::TooLarge => "TooLarge",
            Self::NotWatched => "NotWatched",
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
