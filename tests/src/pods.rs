//! Pods without Kubernetes: network namespaces on one bridge, redirected by weft-init, each with a sidecar of uid 1337,
//! joined to a control plane on a folder. Needs root.

use crate::binaries::copy_program;
use crate::{Client, Process, Version, eventually, weft, weft_init, weft_proxy};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// A network namespace, for as long as a file to it is open.
#[derive(Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            // SAFETY: it concerns this thread alone, which ends with the closure.
            #[allow(unsafe_code)]
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "a network namespace: {}", std::io::Error::last_os_error());
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let namespace = Self(Arc::new(made.join().unwrap()));
        namespace.run("ip link set lo up");
        namespace
    }

    fn enter(&self) {
        // SAFETY: it concerns this thread alone.
        #[allow(unsafe_code)]
        let result = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
    }

    /// Sockets and programs that it makes belong to this namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The same for what waits, on a runtime of its own.
    pub fn wait<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.inside(|| runtime().block_on(work()))
    }

    /// Something that goes on serving, on a runtime of its own until the test ends.
    pub fn keep<T: Send + 'static>(&self, make: impl AsyncFnOnce() -> T + Send + 'static) {
        let namespace = self.clone();
        let (made, is_made) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            namespace.enter();
            runtime().block_on(async {
                let _kept = make().await;
                made.send(()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        is_made.recv().expect("it has been made");
    }

    /// Programs with their arguments, by line.
    pub fn run(&self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let mut command = Command::new(words.next().unwrap());
            let output = self.inside(|| command.args(words).output().unwrap());
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The bridge at 10.9.0.1 and fd09::1, the control plane there, and the pods around it.
pub struct Pods {
    /// Where the bridge is; also 203.0.113.7, 203.0.113.8 and 2001:db8:7::7, which no pod and no service has.
    pub node: Namespace,
    folder: tempfile::TempDir,
    controlplane: Option<Process>,
    pods: u8,
}

/// One pod.
pub struct Pod {
    pub name: String,
    pub namespace: Namespace,
    pub ipv4: IpAddr,
    pub ipv6: IpAddr,
    folder: PathBuf,
    sidecar: Option<Process>,
}

impl Pods {
    pub fn new(yaml: &str) -> Self {
        let node = Namespace::new();
        // Without an address of its own a bridge takes another one as ports come, and who has the old one in its
        // neighbour table talks to nobody for seconds.
        node.run(
            "ip link add br0 address 02:00:00:00:00:01 type bridge
             ip addr add 10.9.0.1/24 dev br0
             ip addr add fd09::1/64 dev br0 nodad
             ip addr add 203.0.113.7/32 dev lo
             ip addr add 203.0.113.8/32 dev lo
             ip addr add 2001:db8:7::7/128 dev lo nodad
             ip link set br0 up",
        );
        let folder = tempfile::tempdir().unwrap();
        // The sidecars' user has to get at its own folder below.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        let mut pods = Self { node, folder, controlplane: None, pods: 0 };
        pods.write("mesh.yaml", yaml);
        pods.start_controlplane();
        pods
    }

    /// Writes a file of the config folder as editors do.
    pub fn write(&self, name: &str, text: &str) {
        let config = self.folder.path().join("config");
        std::fs::write(config.join(format!(".{name}.tmp")), text).unwrap();
        std::fs::rename(config.join(format!(".{name}.tmp")), config.join(name)).unwrap();
    }

    /// A file of the config folder.
    pub fn config(&self, name: &str) -> PathBuf {
        self.folder.path().join("config").join(name)
    }

    pub fn start_controlplane(&mut self) {
        let ports = self.folder.path().join("controlplane.ports");
        let _ = std::fs::remove_file(&ports);
        let mut command = Command::new(weft());
        command.args(["controlplane", "--listen", CONTROLPLANE, "--status", "10.9.0.1:15014", "-f"]);
        command.arg(self.folder.path().join("config")).arg("--state").arg(self.state());
        command.arg("--ports-file").arg(&ports);
        let mut process = self.node.inside(|| Process::spawn("weft controlplane", &mut command));
        process.ports(&ports);
        self.controlplane = Some(process);
    }

    pub fn kill_controlplane(&mut self) {
        self.controlplane.take().expect("the control plane runs").kill();
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("controlplane")
    }

    /// A pod that nobody redirects.
    pub fn plain(&mut self, name: &str) -> Pod {
        self.pods += 1;
        let (namespace, number) = (Namespace::new(), self.pods + 10);
        let node = format!("/proc/{}/fd/{}", std::process::id(), self.node.0.as_raw_fd());
        namespace.run(&format!(
            "ip link add eth0 type veth peer name veth{number} netns {node}
             ip addr add 10.9.0.{number}/24 dev eth0
             ip addr add fd09::{number}/64 dev eth0 nodad
             ip link set eth0 up
             ip route add default via 10.9.0.1"
        ));
        self.node.run(&format!("ip link set veth{number} master br0 up"));
        namespace.run("ip route add default via fd09::1");
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        chown(&folder, Some(SIDECAR), Some(SIDECAR)).unwrap();
        let address = |text: String| text.parse().unwrap();
        Pod {
            name: name.to_owned(),
            namespace,
            ipv4: address(format!("10.9.0.{number}")),
            ipv6: address(format!("fd09::{number}")),
            folder,
            sidecar: None,
        }
    }

    /// A pod of `default/NAME` with its sidecar, which is ready; `env` is what injection would write.
    pub fn pod(&mut self, name: &str, env: &[(&str, &str)]) -> Pod {
        let mut pod = self.plain(name);
        let output = pod.init(&[]);
        assert!(output.status.success(), "weft-init: {}", String::from_utf8_lossy(&output.stderr));
        let token = Command::new(weft())
            .args(["token", "create", "--for", &format!("default/{name}"), "--state"])
            .arg(self.state())
            .output()
            .unwrap();
        assert!(token.status.success(), "weft token create: {}", String::from_utf8_lossy(&token.stderr));
        let token = String::from_utf8(token.stdout).unwrap();
        let mut command = pod.sidecar_command();
        command.env("WEFT_TOKEN", token.trim()).envs(env.iter().copied());
        let mut sidecar = pod.namespace.inside(|| Process::spawn(&format!("sidecar {name}"), &mut command));
        let readiness = SocketAddr::new(pod.ipv4, 15021);
        self.node.inside(|| {
            eventually(&format!("sidecar {name} is ready"), || {
                sidecar.must_run();
                match runtime().block_on(Client::new(readiness, Version::Http1).get("/healthz/ready")) {
                    Ok(answer) if answer.status.is_success() => Ok(()),
                    other => Err(other.map(|answer| answer.text().to_owned())),
                }
            });
        });
        pod.sidecar = Some(sidecar);
        pod
    }
}

impl Pod {
    pub fn init(&self, arguments: &[&str]) -> Output {
        self.namespace.inside(|| Command::new(weft_init()).args(arguments).output().unwrap())
    }

    /// Not started yet; as the user that weft-init leaves alone, and without any capability.
    pub fn sidecar_command(&self) -> Command {
        let mut command = Command::new(self.program());
        command
            .args(["--intercept", "--controlplane", CONTROLPLANE, "--access-log", "-"])
            .args(["--workload", &format!("default/{}", self.name)])
            .arg("--state")
            .arg(self.folder.join("state"))
            .uid(SIDECAR)
            .gid(SIDECAR);
        command
    }

    /// Where the sidecars' user may run it.
    pub fn program(&self) -> PathBuf {
        let program = self.folder.join("weft-proxy");
        if !program.exists() {
            copy_program(weft_proxy(), &program);
        }
        program
    }

    pub fn sidecar(&self) -> &Process {
        self.sidecar.as_ref().expect("the pod has a sidecar")
    }

    /// Takes it out of the pod's care: to signal it, or to wait for its end.
    pub fn take_sidecar(&mut self) -> Process {
        self.sidecar.take().expect("the pod has a sidecar")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ipv4, port)
    }

    pub fn at_ipv6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ipv6, port)
    }
}

const CONTROLPLANE: &str = "10.9.0.1:15012";
const SIDECAR: u32 = 1337;
