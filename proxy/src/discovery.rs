//! How an exchange asks for a host that the plan does not know.
//!
//! It does not know who answers: with a control plane `control` does, with files nobody has to.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use weft_snapshot::Host;

/// Owned by the request path; `control` implements it.
pub trait Discovery: Send + Sync {
    /// Registers interest in a host, as the app wrote it; never blocks. The answer comes as a new plan.
    fn ask(&self, host: &Host);

    /// The host was used just now. Called at most about once a minute for each host and worker.
    fn used(&self, _host: &Host) {}
}

/// For a proxy whose snapshot is complete: what is not in it is absent.
#[derive(Debug)]
pub struct Complete;

impl Discovery for Complete {
    fn ask(&self, _host: &Host) {}
}

/// The hosts of which one worker has told that they are used, in this minute: each is told once, and not for each
/// connection, since telling wakes another thread.
#[derive(Default)]
pub struct Told {
    minute: Cell<u32>,
    hosts: RefCell<HashSet<Host, foldhash::fast::RandomState>>,
}

impl Told {
    /// True where nobody was told yet.
    pub fn first(&self, host: &Host, minute: u32) -> bool {
        let mut hosts = self.hosts.borrow_mut();
        if self.minute.replace(minute) != minute || hosts.len() >= HOSTS_MAX {
            hosts.clear();
        }
        !hosts.contains(host) && hosts.insert(host.clone())
    }
}

/// An app may call ever new hosts; then some are told again.
const HOSTS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_once_a_minute_and_the_memory_of_it_is_bounded() {
        let told = Told::default();
        let host = |text: &str| text.parse::<Host>().expect("a host");
        for (name, minute, want) in
            [("a", 0, true), ("a", 0, false), ("b", 0, true), ("a", 1, true), ("a", 1, false), ("b", 1, true)]
        {
            assert_eq!(told.first(&host(name), minute), want, "{name} in minute {minute}");
        }
        let news = (0..3 * HOSTS_MAX).filter(|n| told.first(&host(&format!("h{n}")), 2)).count();
        assert_eq!(news, 3 * HOSTS_MAX);
        assert!(told.hosts.borrow().len() <= HOSTS_MAX);
    }
}
