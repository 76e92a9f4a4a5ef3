//! The machines that filters are compiled for: a processor, a system, and the oldest CPU that runs the result.
//!
//! It does not know the engine's settings, which are the same for all of them.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    arch: Arch,
    system: System,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arch {
    X86,
    Arm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Linux,
    MacOs,
}

impl Target {
    /// Of this build.
    pub(crate) const OWN: Self = Self {
        arch: if cfg!(target_arch = "x86_64") { Arch::X86 } else { Arch::Arm },
        system: if cfg!(target_os = "macos") { System::MacOs } else { System::Linux },
    };

    /// For which this build can compile, its own first. A cluster may have nodes of both processors, and one control
    /// plane; on a Mac everything runs on one machine.
    #[cfg(feature = "compiler")]
    pub(crate) fn compiled() -> Vec<Self> {
        let linux = [Arch::X86, Arch::Arm].map(|arch| Self { arch, system: System::Linux });
        let others = linux.into_iter().filter(|other| Self::OWN.system == System::Linux && *other != Self::OWN);
        std::iter::once(Self::OWN).chain(others).collect()
    }

    #[cfg(feature = "compiler")]
    pub(crate) fn triple(self) -> &'static str {
        match (self.arch, self.system) {
            (Arch::X86, System::Linux) => "x86_64-unknown-linux-gnu",
            (Arch::X86, System::MacOs) => "x86_64-apple-darwin",
            (Arch::Arm, System::Linux) => "aarch64-unknown-linux-gnu",
            (Arch::Arm, System::MacOs) => "aarch64-apple-darwin",
        }
    }

    /// On x86 SSE4.2 and POPCNT, every server since 2009: filters move strings, and gain nothing from AVX that would
    /// pay for a second artifact. On Arm the first that has 64 bits.
    pub(crate) fn baseline(self) -> &'static str {
        match self.arch {
            Arch::X86 => "x86-64-v2",
            Arch::Arm => "armv8.0-a",
        }
    }

    /// With which Cranelift may use what the baseline has and the triple alone does not promise.
    #[cfg(feature = "compiler")]
    pub(crate) fn cranelift_flag(self) -> Option<&'static str> {
        match self.arch {
            Arch::X86 => Some(self.baseline()),
            Arch::Arm => None,
        }
    }
}

/// As it stands in artifact keys.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arch = match self.arch {
            Arch::X86 => "x86_64",
            Arch::Arm => "aarch64",
        };
        let system = match self.system {
            System::Linux => "linux",
            System::MacOs => "macos",
        };
        write!(f, "{arch}-{system}")
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn the_own_one_is_that_of_the_build() {
        let want = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        assert_eq!(Target::OWN.to_string(), want);
    }
}
