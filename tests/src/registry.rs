//! Debian's docker-registry on a port of its own: the real server that users' registries are like.

use crate::{Process, eventually, free_port};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Registry {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Registry {
    pub fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST)
    }

    pub fn start_on(address: Ipv4Addr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((address, free_port()));
        let mut registry = Self { address, folder, process: None };
        registry.up();
        registry
    }

    /// Starts it again on the same port with the same content.
    pub fn up(&mut self) {
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{}'}}\n",
            self.storage().display(),
            self.address
        );
        let path = self.folder.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path);
        let mut process = Process::spawn("docker-registry (apt-get install docker-registry)", &mut command);
        eventually("the registry listens", || {
            process.must_run();
            TcpStream::connect(self.address)
        });
        self.process = Some(process);
    }

    pub fn down(&mut self) {
        self.process.take().expect("the registry runs").kill();
    }

    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("storage")
    }

    /// The file of a blob, by its hex digest.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.storage().join(Path::new("docker/registry/v2/blobs/sha256")).join(&hex[..2]).join(hex).join("data")
    }
}
