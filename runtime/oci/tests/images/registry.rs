//! Debian's docker-registry on a free loopback port, with or without TLS and passwords.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const USER: &str = "anna";
pub(crate) const PASSWORD: &str = "se:cret";
/// bcrypt of [`PASSWORD`].
const HTPASSWD: &str = "anna:$2y$05$Weft0Weft0Weft0Weft0WeIFbgpkGrQNPXmggX2BuyYAVPaDnJdxa\n";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    /// With a CA of its own, in [`Registry::ca`].
    Tls,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Anybody,
    Password,
}

pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    process: Child,
}

impl Registry {
    pub(crate) fn start(transport: Transport, access: Access) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: '{address}'\n",
            at("storage")
        );
        if transport == Transport::Tls {
            certificate(&folder);
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", at("server.pem"), at("server.key"));
        }
        if access == Access::Password {
            fs::write(at("htpasswd"), HTPASSWD).unwrap();
            config += &format!("auth: {{htpasswd: {{realm: weft, path: {}}}}}\n", at("htpasswd"));
        }
        fs::write(at("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing: apt-get install docker-registry");
        let mut registry = Self { address, folder, process };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert_eq!(registry.process.try_wait().unwrap(), None, "docker-registry ended");
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    pub(crate) fn plain() -> Self {
        Self::start(Transport::Plain, Access::Anybody)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Where the registry keeps the bytes of a blob.
    pub(crate) fn blob(&self, digest: weft_snapshot::Digest) -> PathBuf {
        let hex = digest.to_string().trim_start_matches("sha256:").to_owned();
        let blobs = self.folder.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    pub(crate) fn stop(mut self) -> SocketAddr {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn certificate(folder: &tempfile::TempDir) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    fs::write(folder.path().join("ca.pem"), ca_pem).unwrap();
    fs::write(folder.path().join("server.pem"), server.pem()).unwrap();
    fs::write(folder.path().join("server.key"), key.serialize_pem()).unwrap();
}
