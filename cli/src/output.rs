//! How answers, progress and errors of commands reach a person.

use std::io::Write;

/// `error: what: why: why that`, on standard error.
pub(crate) fn complain(error: &anyhow::Error) {
    // Where standard error is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

/// What a command answers, on standard output; a reader who went away (`| head`) is no error.
pub(crate) fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Progress, on standard error, so that standard output stays the answer.
pub(crate) fn progress(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
