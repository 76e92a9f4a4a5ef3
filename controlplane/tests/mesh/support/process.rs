//! The control plane as a process of its own: it can be killed, and it compiles filters.

use super::Mesh;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Killed when it is dropped, as `kill -9` does.
pub(crate) struct Process {
    child: Child,
    pub(crate) stream: SocketAddr,
    pub(crate) status: SocketAddr,
}

impl Process {
    pub(crate) fn start(mesh: &Mesh) -> Self {
        Self::start_with(mesh, &[])
    }

    pub(crate) fn start_with(mesh: &Mesh, arguments: &[&str]) -> Self {
        let ports = mesh.path().join("ports.json");
        let _ = std::fs::remove_file(&ports);
        let child = Command::new(env!("CARGO_BIN_EXE_weft-controlplane"))
            .args(["-f".as_ref(), mesh.folder().as_os_str(), "--state".as_ref(), mesh.state().as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--log-level", "warn", "--ports-file"])
            .arg(&ports)
            .args(arguments)
            .spawn();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self { child: child.unwrap(), stream: nowhere, status: nowhere };
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(text) = std::fs::read_to_string(&ports) {
                let read: serde_json::Value = serde_json::from_str(&text).unwrap();
                let address = |name: &str| read[name].as_str().unwrap().parse().unwrap();
                (process.stream, process.status) = (address("stream"), address("status"));
                return process;
            }
            assert!(Instant::now() < deadline, "it never listened");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; the test says so elsewhere.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
