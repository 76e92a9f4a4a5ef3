//! Replaces the beginning of a path. It knows whole segments, and no patterns.

/// `prefix` becomes `to`.
pub(crate) struct Rewrite {
    /// Without a slash at its end, so that `/api/` and `/api` mean the same.
    prefix: String,
    to: String,
}

impl Rewrite {
    pub(crate) fn new(prefix: &str, to: &str) -> Self {
        let open = |path: &str| path.trim_end_matches('/').to_owned();
        Self { prefix: open(prefix), to: open(to) }
    }

    /// The new path, where the old one lies under the prefix: `/api` holds `/api`, `/api/x` and `/api?x`, not `/apis`.
    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        match rest.bytes().next() {
            None | Some(b'?') if self.to.is_empty() => Some(["/", rest].concat()),
            None | Some(b'?' | b'/') => Some([&self.to, rest].concat()),
            Some(_) => None,
        }
    }
}
