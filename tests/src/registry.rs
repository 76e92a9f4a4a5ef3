//! Debian's docker-registry on a port of its own: the real server that users' registries are like.

use crate::{Process, eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Registry {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    process: Option<Process>,
    guard: Guard,
}

/// Who may speak to a registry, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    None,
    /// TLS by a CA of its own, and a password.
    Whole,
}

/// Of a guarded registry.
pub const USER: &str = "anna";
pub const PASSWORD: &str = "se:cret";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "anna:$2y$05$Weft0Weft0Weft0Weft0WeIFbgpkGrQNPXmggX2BuyYAVPaDnJdxa\n";

impl Registry {
    pub fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST)
    }

    pub fn start_on(address: Ipv4Addr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((address, 0));
        let mut registry = Self { address, folder, process: None, guard: Guard::None };
        registry.up();
        registry
    }

    /// On all addresses, as `host` to those who verify it, with TLS by a CA of its own and a password.
    pub fn start_guarded(host: IpAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path(), host);
        std::fs::write(folder.path().join("htpasswd"), HTPASSWD).unwrap();
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut registry = Self { address, folder, process: None, guard: Guard::Whole };
        registry.up();
        registry
    }

    /// The certificate of a guarded registry's CA, PEM.
    pub fn ca(&self) -> PathBuf {
        self.at("ca.pem")
    }

    /// A new file beside the registry's own.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it: again, on the same port with the same content.
    pub fn up(&mut self) {
        let mut config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp:\n  addr: '{}'\n",
            self.storage().display(),
            self.address
        );
        if self.guard == Guard::Whole {
            let at = |name: &str| self.at(name).display().to_string();
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", at("server.pem"), at("server.key"));
            config += &format!("auth: {{htpasswd: {{realm: weft, path: {}}}}}\n", at("htpasswd"));
        }
        let path = self.file("config.yml", &config);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path);
        let mut process = Process::spawn("docker-registry (apt-get install docker-registry)", &mut command);
        // It says which port it was given.
        let port = eventually("the registry listens", || {
            process.must_run();
            let output = process.output();
            let port = output.split_once("msg=\"listening on ").and_then(|(_, rest)| port(rest));
            port.ok_or(output)
        });
        self.address.set_port(port);
        self.process = Some(process);
    }

    pub fn down(&mut self) {
        self.process.take().expect("the registry runs").kill();
    }

    pub fn storage(&self) -> PathBuf {
        self.at("storage")
    }

    /// The file of a blob, by its hex digest.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.storage().join(Path::new("docker/registry/v2/blobs/sha256")).join(&hex[..2]).join(hex).join("data")
    }
}

/// Of an address, `127.0.0.1:5000", tls"`, at the beginning of a text.
fn port(text: &str) -> Option<u16> {
    let address = text.split(['"', ',', ' ']).next()?;
    address.rsplit_once(':')?.1.parse().ok()
}

fn certificates(folder: &Path, host: IpAddr) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec![host.to_string()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}
