//! Harm to the node's own daemons, and to processes in pods. Only on a node of `tests/cluster/run`, which starts again what
//! has ended.

use crate::{eventually, own_node};
use std::collections::BTreeMap;
use std::process::Command;

/// A daemon by its name: `apiserver`, `etcd`, `controllers`, `scheduler`, `kubelet`, `proxy`, `containerd`.
fn pid(daemon: &str) -> i32 {
    let file = own_node().expect("the node is ours").join(format!("{daemon}.pid"));
    eventually(&format!("{} holds a number", file.display()), || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        text.trim().parse().map_err(|_| text)
    })
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: kill has no memory effects; the node's PIDs are those of its own namespace, in which this runs.
    #[allow(unsafe_code)]
    let result = unsafe { libc::kill(pid, signal) };
    assert_eq!(result, 0, "signal {signal} to {pid}");
}

/// SIGKILL. The node starts it again at once.
pub fn kill(daemon: &str) {
    signal(pid(daemon), libc::SIGKILL);
}

/// What the kernel says (`/proc/PID/status`) of each process that was started as `/NAME`, the first word of each line; none
/// where the node is not ours.
pub fn processes(name: &str) -> Vec<BTreeMap<String, String>> {
    let mut found = Vec::new();
    let Some(folder) = own_node().and_then(|_| std::fs::read_dir("/proc").ok()) else { return found };
    for entry in folder.flatten() {
        // One that ends meanwhile is none.
        let Ok(line) = std::fs::read_to_string(entry.path().join("cmdline")) else { continue };
        if line.split('\0').next() != Some(&format!("/{name}")) {
            continue;
        }
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        let word = |line: &str| {
            let (field, rest) = line.split_once(':')?;
            Some((field.to_owned(), rest.split_whitespace().next().unwrap_or_default().to_owned()))
        };
        found.push(status.lines().filter_map(word).collect());
    }
    found
}

/// The process of a pod's sidecar.
pub struct Sidecar {
    pid: i32,
    pub pod: String,
    /// Resident, in kB.
    pub memory: String,
}

/// Those of all pods, by name.
pub fn sidecars() -> Vec<Sidecar> {
    let of = |status: BTreeMap<String, String>| {
        let pid = status.get("Pid")?.parse().ok()?;
        // One that ends meanwhile is none.
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let pod = environment.split('\0').find_map(|variable| variable.strip_prefix("POD_NAME="))?.to_owned();
        Some(Sidecar { pid, pod, memory: status.get("VmRSS")?.clone() })
    };
    let mut all: Vec<_> = processes("weft-proxy").into_iter().filter_map(of).collect();
    all.sort_by(|a, b| a.pod.cmp(&b.pod));
    all
}

impl Sidecar {
    /// SIGKILL: it has no time to finish anything. The kubelet starts it again.
    pub fn kill(&self) {
        signal(self.pid, libc::SIGKILL);
    }
}

/// A daemon that does not answer and does not end, until this is dropped.
pub struct Frozen {
    pid: i32,
}

pub fn freeze(daemon: &str) -> Frozen {
    let pid = pid(daemon);
    signal(pid, libc::SIGSTOP);
    Frozen { pid }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.pid, libc::SIGCONT);
    }
}

/// A process of a test that is stopped, until this is dropped.
pub struct Stopped {
    pid: i32,
}

impl Stopped {
    pub fn process(pid: i32) -> Self {
        signal(pid, libc::SIGSTOP);
        Self { pid }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.pid, libc::SIGCONT);
    }
}

/// Packets to and from an address of the node are dropped without a word, until this is dropped.
pub struct CutAddress;

pub fn cut_address(address: &str) -> CutAddress {
    nft(&["add table inet away", "add chain inet away input { type filter hook input priority 0; }"]);
    nft(&[
        &format!("add rule inet away input ip daddr {address} drop"),
        &format!("add rule inet away input ip saddr {address} drop"),
    ]);
    CutAddress
}

impl Drop for CutAddress {
    fn drop(&mut self) {
        nft(&["delete table inet away"]);
    }
}

/// Packets from pods to the API server are dropped without a word, until this is dropped.
pub struct Cut;

pub fn cut_api_server() -> Cut {
    nft(&["add table inet cut", "add chain inet cut input { type filter hook input priority 0; }"]);
    nft(&["add rule inet cut input iifname pods tcp dport 6443 drop"]);
    Cut
}

impl Drop for Cut {
    fn drop(&mut self) {
        nft(&["delete table inet cut"]);
    }
}

fn nft(lines: &[&str]) {
    for line in lines {
        let status = Command::new("nft").arg(line).status().unwrap();
        assert!(status.success(), "nft {line}: {status}");
    }
}
