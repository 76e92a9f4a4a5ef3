//! Which sidecars are still served: those of this release, of the two minor releases before it, and of later ones.
//!
//! A rule on two version numbers. What the protocol itself can still carry, its levels say (stream).

/// What becomes of a sidecar of some release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    Served,
    /// It keeps the last snapshot that it was told.
    Unsupported,
}

impl Support {
    /// `own` and `theirs` as `0.4.1`; what says no such thing is a build of one's own, and is served.
    pub(super) fn of(own: &str, theirs: &str) -> Self {
        let (Some(own), Some(theirs)) = (Minor::of(own), Minor::of(theirs)) else { return Self::Served };
        let served = match own.major.checked_sub(theirs.major) {
            None => true,
            Some(0) => theirs.minor.saturating_add(MINORS_BEFORE) >= own.minor,
            // How many minor releases the major one before had, no number says: all of them count as the last one.
            Some(1) => own.minor < MINORS_BEFORE,
            Some(_) => false,
        };
        if served { Self::Served } else { Self::Unsupported }
    }
}

/// Minor releases before our own that are served.
const MINORS_BEFORE: u64 = 2;

struct Minor {
    major: u64,
    minor: u64,
}

impl Minor {
    fn of(version: &str) -> Option<Self> {
        let mut parts = version.split(['.', '-', '+']);
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_minor_releases_before_ours_are_served() {
        use Support::{Served, Unsupported};
        let rows = [
            ("0.4.0", "0.4.0", Served),
            ("0.4.0", "0.3.9", Served),
            ("0.4.7", "0.2.0", Served),
            ("0.4.0", "0.1.9", Unsupported),
            ("0.4.0", "0.5.0", Served),
            ("0.1.0", "0.0.1", Served),
            ("0.12.0", "0.9.0", Unsupported),
            ("0.12.0", "0.10.0", Served),
            ("1.0.0", "0.9.0", Served),
            ("1.1.0", "0.9.0", Served),
            ("1.2.0", "0.9.0", Unsupported),
            ("2.0.0", "0.9.0", Unsupported),
            ("1.2.0", "2.0.0", Served),
            ("0.4.0-rc.1", "0.1.0-rc.2", Unsupported),
            ("0.4.0+build", "0.2", Served),
            ("0.4.0", "main", Served),
            ("0.4.0", "", Served),
        ];
        for (own, theirs, want) in rows {
            assert_eq!(Support::of(own, theirs), want, "a control plane {own} and a sidecar {theirs}");
        }
    }
}
