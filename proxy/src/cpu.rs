//! How many workers fit: the CPU limit of the container, rounded up.
//!
//! A machine's cores are no measure: a sidecar shares them with its app and with everybody else's.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Without a limit: two, so that one long call of a filter never stops everything.
const DEFAULT: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

pub fn workers() -> NonZeroUsize {
    quota().and_then(NonZeroUsize::new).unwrap_or(DEFAULT)
}

/// The tightest limit of this process's control groups.
fn quota() -> Option<usize> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let unified = own.lines().find_map(|line| line.strip_prefix("0::"));
    let root = Path::new("/sys/fs/cgroup");
    let of_group = |group: PathBuf| std::fs::read_to_string(group.join("cpu.max")).ok().and_then(|max| cpus(&max));
    // In a container the own group is often mounted as the root.
    let groups = unified.map(|path| root.join(path.trim_start_matches('/'))).into_iter();
    let unified = groups.flat_map(|group| group.ancestors().map(Path::to_path_buf).collect::<Vec<_>>());
    let limits = unified.take_while(|group| group.starts_with(root)).filter_map(of_group);
    limits.min().or_else(|| {
        let read = |name: &str| std::fs::read_to_string(root.join("cpu").join(name)).ok();
        cpus(&format!("{} {}", read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim()))
    })
}

/// `QUOTA PERIOD`, or `max PERIOD` where there is no limit.
fn cpus(max: &str) -> Option<usize> {
    let (quota, period) = max.trim().split_once(' ')?;
    let (quota, period): (usize, usize) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0 && quota > 0).then(|| quota.div_ceil(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let cases = [
            ("max 100000", None),
            ("200000 100000", Some(2)),
            ("150000 100000\n", Some(2)),
            ("5000 100000", Some(1)),
            ("-1 100000", None),
            ("0 100000", None),
            ("1 0", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(cpus(text), want, "{text:?}");
        }
    }
}
