//! A pod and the world outside it, as two network namespaces joined by a cable.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

/// Lives as long as a file to it is open.
pub struct Namespace(File);

impl Namespace {
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: it concerns this thread alone, which ends with the closure.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "unshare");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(made.join().unwrap());
        namespace.run("ip link set lo up");
        namespace
    }

    /// Sockets and programs that it makes belong to this namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: as above.
                assert_eq!(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) }, 0, "setns");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Programs with their arguments, by line; what they write to standard output.
    pub fn run(&self, lines: &str) -> String {
        let mut written = String::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let mut command = Command::new(words.next().unwrap());
            let output = self.inside(|| command.args(words).output().unwrap());
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            written.push_str(&String::from_utf8(output.stdout).unwrap());
        }
        written
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// The pod is 10.9.0.2 and fd09::2, its way out leads to `outside`, which is 203.0.113.7 and 2001:db8:7::7, too.
pub struct Net {
    pub pod: Namespace,
    pub outside: Namespace,
}

impl Net {
    pub fn new() -> Self {
        let (pod, outside) = (Namespace::new(), Namespace::new());
        pod.run(&format!("ip link add eth0 type veth peer name eth0 netns {}", outside.path()));
        pod.run(
            "ip addr add 10.9.0.2/24 dev eth0
             ip addr add fd09::2/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 10.9.0.1",
        );
        outside.run(
            "ip addr add 10.9.0.1/24 dev eth0
             ip addr add fd09::1/64 dev eth0 nodad
             ip addr add 203.0.113.7/32 dev lo
             ip addr add 2001:db8:7::7/128 dev lo nodad
             ip link set eth0 up",
        );
        pod.run("ip route add default via fd09::1");
        Self { pod, outside }
    }
}
