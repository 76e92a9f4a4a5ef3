//! A text as it was read, and how old what lies in it is.
//!
//! It does not know what a folder or a cluster is: callers choose the paths, and in a folder their order is the age.

use std::sync::Arc;

/// A file that holds YAML documents, or one object of a cluster. `path` is what problems print. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: Arc<str>,
    pub bytes: Arc<[u8]>,
    /// When a cluster's object was made (RFC 3339, UTC), which is its age. `None` in a folder, where age is the order of
    /// paths and a place is a line.
    pub created: Option<Arc<str>>,
}

impl SourceFile {
    pub fn new(path: impl Into<Arc<str>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into().into(), created: None }
    }

    /// One object of a cluster, as JSON, which is YAML.
    pub fn of_cluster(path: impl Into<Arc<str>>, bytes: impl Into<Vec<u8>>, created: impl Into<Arc<str>>) -> Self {
        Self { path: path.into(), bytes: bytes.into().into(), created: Some(created.into()) }
    }

    /// True where it is this very text, which is seen without reading it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.path == other.path
            && self.created == other.created
            && (Arc::ptr_eq(&self.bytes, &other.bytes) || self.bytes == other.bytes)
    }
}
