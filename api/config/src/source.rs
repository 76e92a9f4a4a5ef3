//! A file as it was read.
//!
//! It does not know what a folder is: callers choose the paths, and their order is the age of what lies in them.

/// A file that holds YAML documents. `path` is what problems print and what orders files by age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: String,
    pub bytes: Vec<u8>,
}

impl SourceFile {
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }
}
