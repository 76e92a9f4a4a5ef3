//! What is wrong with a piece of configuration, where, and what to do about it.
//!
//! It does not know how problems are found, and it does not print: callers choose text or JSON.

use serde::Serialize;
use std::cmp::Ordering;
use std::fmt;

/// One thing that is wrong. Its text form is `file:line:column code object: what is wrong; what to do`; of an object of a
/// cluster, which has no line (0), it begins with the code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Problem {
    pub code: Code,
    pub severity: Severity,
    pub file: String,
    /// From 1; 0 for an object of a cluster.
    pub line: u32,
    /// From 1, in characters; 0 for an object of a cluster.
    pub column: u32,
    /// `Kind namespace/name`, or empty where a document did not say what it is.
    pub object: String,
    /// Such as `spec.http[0].route[1].weight`, or empty where the object as a whole is meant.
    pub field: String,
    /// What is wrong, with the value that is.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object, or the part that is named, does not take effect.
    Error,
    /// It takes effect, and probably not as it was meant.
    Warning,
}

impl Problem {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// In the order in which a reader meets them: file, line, column, then code.
    pub fn reading_order(&self, other: &Self) -> Ordering {
        let key = |p: &Self| (p.line, p.column, p.code);
        (self.file.as_str(), key(self), &self.reason).cmp(&(other.file.as_str(), key(other), &other.reason))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}:{} ", self.file, self.line, self.column)?;
        }
        write!(f, "{}", self.code)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

impl Code {
    /// True of what the arrival of another object may cure, so that it is no reason to refuse this one: objects come
    /// in any order.
    pub fn may_heal(self) -> bool {
        matches!(
            self,
            Self::UnknownHost
                | Self::UnknownSubset
                | Self::UnknownPort
                | Self::UnknownFilter
                | Self::UnknownTarget
                | Self::NoWorkload
                | Self::ImageUnavailable
        )
    }
}

/// One table for the codes: the name that users see, and the sentence that explains it.
macro_rules! codes {
    ($($(#[doc = $explanation:literal])+ $name:ident,)+) => {
        /// The kind of a problem. Names are stable: people filter by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code { $($(#[doc = $explanation])+ $name,)+ }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// One line that explains the code as such.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$name => concat!($($explanation,)+).trim_ascii_start(),)+ }
            }
        }
    };
}

codes! {
    // Text and documents.
    /// The file is not UTF-8 text.
    NotUtf8,
    /// The text is no YAML; nothing of this document is read.
    BadYaml,
    /// A key occurs twice in one mapping.
    DuplicateKey,
    /// The document is no object with apiVersion, kind and metadata.name.
    NotAnObject,
    /// A name, namespace or label that Kubernetes would not accept.
    BadName,
    /// No kind of Weft's has this name.
    UnknownKind,
    /// Weft knows the kind, but not in this apiVersion.
    UnknownVersion,
    /// A Kubernetes kind that does not configure the mesh; it is left aside.
    ForeignKind,
    /// Two objects of one kind have the same namespace and name; the first in path order counts.
    DuplicateObject,
    // One object.
    /// The kind has no such field.
    UnknownField,
    /// A field that must be there is missing.
    MissingField,
    /// A field holds another type than it must.
    WrongType,
    /// A field holds a value that it may not hold.
    BadValue,
    /// A regular expression does not compile.
    BadRegex,
    /// Fields exclude each other.
    Conflict,
    /// Istio has this field, value or kind, and this version of Weft does not support it yet.
    NotSupported,
    /// All weights of a rule with several destinations are 0.
    ZeroWeight,
    /// The field is allowed here and changes nothing.
    NoEffect,
    // Several objects.
    /// No service of this host is known where the rule applies.
    UnknownHost,
    /// No DestinationRule that applies defines this subset.
    UnknownSubset,
    /// The service has no such port.
    UnknownPort,
    /// The service has several ports, and the destination names none.
    PortRequired,
    /// Several VirtualServices speak of one host to the same callers; the oldest counts.
    DuplicateHost,
    /// A rule can never be reached, because an earlier one takes every request.
    Shadowed,
    /// A service or subset selects no workload.
    NoWorkload,
    /// The object may not do this from its namespace.
    NotAllowed,
    /// The API server holds less than was written: another project's CRD does not know the field; the last good version counts.
    FieldPruned,
    /// A filter reference that names no Filter.
    UnknownFilter,
    /// A targetRef that names no object of that kind in the Filter's namespace.
    UnknownTarget,
    /// A Filter that protects a service runs only at the caller, who could go round it.
    GuardAtCaller,
    /// A filter picks among subsets that no destination of its rule has.
    NothingToPick,
    /// The image of a Filter cannot be resolved or pulled; the last good one runs on.
    ImageUnavailable,
    /// A component, or its config, is refused; the last good one runs on.
    NotAdmitted,
    /// A policy, or a part of one, that does not count here.
    IgnoredPolicy,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: Code, field: &str) -> Problem {
        Problem {
            code,
            severity: Severity::Error,
            file: "mesh/reviews.yaml".into(),
            line: 9,
            column: 5,
            object: "VirtualService default/reviews".into(),
            field: field.into(),
            reason: "no field \"hots\"".into(),
            remedy: "did you mean \"hosts\"?".into(),
        }
    }

    #[test]
    fn a_problem_reads_as_one_line() {
        let cases = [
            (
                problem(Code::UnknownField, "spec.hots"),
                "mesh/reviews.yaml:9:5 UnknownField VirtualService default/reviews: spec.hots: no field \"hots\"; did you mean \"hosts\"?",
            ),
            (
                Problem { object: String::new(), ..problem(Code::BadYaml, "") },
                "mesh/reviews.yaml:9:5 BadYaml: no field \"hots\"; did you mean \"hosts\"?",
            ),
        ];
        for (problem, want) in cases {
            assert_eq!(problem.to_string(), want, "{:?}", problem.code);
        }
    }

    #[test]
    fn every_code_has_a_name_of_its_own_and_a_sentence() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let text = code.explanation();
            assert!(text.len() > 10 && text.ends_with('.') && !text.contains('\n'), "{code}: {text:?}");
            assert_eq!(serde_json::to_string(code).expect("plain enum"), format!("{:?}", code.name()));
        }
    }
}
