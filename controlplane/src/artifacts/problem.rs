//! What is wrong with a filter's image, component or config, and what runs meanwhile.
//!
//! Does not know how it is shown; the control plane shows it beside the problems of the configuration.

use super::facts::Version;
use std::fmt;
use weft_snapshot::Digest;

/// One thing that keeps a filter from being what is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterProblem {
    pub kind: ProblemKind,
    /// `NAMESPACE/NAME` of the Filter.
    pub filter: String,
    /// Its place.
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// As written.
    pub image: String,
    /// What was refused, as far as it was known.
    pub refused: Option<Digest>,
    /// What runs on.
    pub running: Option<Version>,
    pub reason: String,
    pub remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// What its registry wants to see cannot be read in the cluster.
    CredentialsUnavailable,
    /// The image cannot be resolved or pulled.
    ImageUnavailable,
    /// The component, or its config, is refused.
    NotAdmitted,
    /// There is no compiler for the artifacts of some proxies.
    NoCompiler,
}

impl fmt::Display for FilterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{} {:?} Filter {}: {}",
            self.file,
            self.line,
            self.column,
            self.kind,
            self.filter,
            self.sentence()
        )
    }
}

impl FilterProblem {
    /// Without place and name: what is wrong, what runs, what to do.
    pub fn sentence(&self) -> String {
        format!("{}; {}; {}", self.reason_with_digests(), self.consequence(), self.remedy)
    }

    pub fn reason_with_digests(&self) -> String {
        match self.refused {
            Some(refused) => format!("{} at {refused}: {}", self.image, self.reason),
            None => format!("{}: {}", self.image, self.reason),
        }
    }

    fn consequence(&self) -> String {
        match self.running {
            Some(version) => format!("{} runs on", version.image),
            None => "it has never been ready, so its failurePolicy answers".to_owned(),
        }
    }
}
