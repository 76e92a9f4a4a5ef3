//! A mesh on this machine: a control plane on a folder, and a sidecar process beside each app.

use crate::{Process, eventually, weft, weft_proxy};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Debug, Default)]
pub struct MeshOptions {
    /// `--svid-life`; the control plane's default where it is `None`.
    pub svid_life: Option<String>,
    /// More arguments of each sidecar.
    pub sidecar: Vec<String>,
}

pub struct Mesh {
    folder: tempfile::TempDir,
    options: MeshOptions,
    controlplane: Option<Process>,
    /// Fixed at the first start, so that sidecars find a control plane that was started again.
    stream: Option<SocketAddr>,
    status: Option<SocketAddr>,
    sidecars: BTreeMap<String, Sidecar>,
}

pub struct Sidecar {
    pub name: String,
    pub outbound: SocketAddr,
    pub inbound: SocketAddr,
    pub admin: SocketAddr,
    process: Process,
}

impl Mesh {
    /// `yaml` is the first file of the config folder, `mesh.yaml`.
    pub fn start(yaml: &str, options: MeshOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("config")).unwrap();
        let sidecars = BTreeMap::new();
        let mut mesh = Self { folder, options, controlplane: None, stream: None, status: None, sidecars };
        mesh.write("mesh.yaml", yaml);
        mesh.start_controlplane();
        mesh
    }

    /// The folder of all that this mesh writes.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the config folder as editors do: beside it, then renamed over it.
    pub fn write(&self, name: &str, text: &str) {
        let config = self.folder.path().join("config");
        let draft = config.join(format!(".{name}.tmp"));
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, config.join(name)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("config").join(name)).unwrap();
    }

    pub fn start_controlplane(&mut self) {
        let ports = self.folder.path().join("controlplane.ports");
        let _ = std::fs::remove_file(&ports);
        let any = || "127.0.0.1:0".to_owned();
        let mut command = Command::new(weft());
        command
            .args(["controlplane", "-f"])
            .arg(self.folder.path().join("config"))
            .arg("--state")
            .arg(self.controlplane_state())
            .args(["--listen", &self.stream.map_or_else(any, |address| address.to_string())])
            .args(["--status", &self.status.map_or_else(any, |address| address.to_string())])
            .arg("--ports-file")
            .arg(&ports);
        if let Some(life) = &self.options.svid_life {
            command.args(["--svid-life", life]);
        }
        let mut process = Process::spawn("weft controlplane", &mut command);
        let ports = process.ports(&ports);
        self.stream = Some(address(&ports, "stream"));
        self.status = Some(address(&ports, "status"));
        self.controlplane = Some(process);
    }

    /// SIGKILL, as a crash would.
    pub fn kill_controlplane(&mut self) {
        self.controlplane.take().expect("the control plane runs").kill();
    }

    pub fn controlplane_state(&self) -> PathBuf {
        self.folder.path().join("controlplane")
    }

    pub fn controlplane_address(&self) -> SocketAddr {
        self.stream.expect("the control plane was started")
    }

    /// The control plane's answer at /status.
    pub async fn status(&self) -> Value {
        let mut client = crate::Client::new(self.status.expect("the control plane was started"), crate::Version::Http1);
        client.get("/status").await.map(|answer| answer.json()).unwrap_or_default()
    }

    /// A join token for `NAMESPACE/SERVICEACCOUNT`, by the command that a user types.
    pub fn token(&self, identity: &str, more: &[&str]) -> String {
        let output = Command::new(weft())
            .args(["token", "create", "--for", identity, "--state"])
            .arg(self.controlplane_state())
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "weft token create: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The command line of a sidecar of `default/NAME`, not started yet.
    pub fn sidecar_command(&self, name: &str, token: Option<&str>) -> Command {
        let mut command = Command::new(weft_proxy());
        command
            .args(["--workload", &format!("default/{name}")])
            .args(["--controlplane", &self.controlplane_address().to_string()])
            .args(["--inbound", "127.0.0.1:0", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--state")
            .arg(self.folder.path().join(format!("state-{name}")))
            .arg("--ports-file")
            .arg(self.ports_file(name))
            .args(&self.options.sidecar);
        if let Some(token) = token {
            command.env("WEFT_TOKEN", token);
        }
        command
    }

    /// Where a sidecar of this name says its ports.
    pub fn ports_file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.ports"))
    }

    /// Joins and starts the sidecar of `default/NAME`, whose service account has the same name, and waits until it is
    /// ready.
    pub async fn join(&mut self, name: &str) -> &Sidecar {
        let token = self.token(&format!("default/{name}"), &[]);
        self.start_sidecar(name, Some(&token)).await
    }

    /// Starts it again, from its state folder alone where there is no token.
    pub async fn start_sidecar(&mut self, name: &str, token: Option<&str>) -> &Sidecar {
        let file = self.ports_file(name);
        let _ = std::fs::remove_file(&file);
        let mut process = Process::spawn(&format!("sidecar {name}"), &mut self.sidecar_command(name, token));
        let ports = process.ports(&file);
        let [outbound, inbound, admin] = ["outbound", "inbound", "admin"].map(|which| address(&ports, which));
        let mut sidecar = Sidecar { name: name.to_owned(), outbound, inbound, admin, process };
        let mut client = crate::Client::new(admin, crate::Version::Http1);
        crate::eventually_async(&format!("sidecar {name} is ready"), async || {
            sidecar.process.must_run();
            match client.get("/ready").await {
                Ok(answer) if answer.status.is_success() => Ok(()),
                other => Err(other),
            }
        })
        .await;
        self.sidecars.insert(name.to_owned(), sidecar);
        &self.sidecars[name]
    }

    pub fn sidecar(&self, name: &str) -> &Sidecar {
        &self.sidecars[name]
    }

    /// Takes it out of the mesh's care: to signal it, or to wait for its end.
    pub fn take_sidecar(&mut self, name: &str) -> Process {
        self.sidecars.remove(name).unwrap_or_else(|| panic!("no sidecar {name}")).process
    }
}

impl Sidecar {
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn output(&self) -> String {
        self.process.output()
    }

    /// The value of one metric whose line contains all of `parts`; 0 where there is none; the sum of several.
    pub async fn metric(&self, parts: &[&str]) -> f64 {
        let mut client = crate::Client::new(self.admin, crate::Version::Http1);
        let text = client.get("/stats/prometheus").await.map(|answer| answer.text().to_owned()).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#') && parts.iter().all(|part| line.contains(part)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric is `want`: an exchange is counted when it is over, which is just after its answer has gone.
    pub async fn counted(&self, parts: &[&str], want: f64) {
        crate::eventually_async(&format!("{} counts {want} of {parts:?}", self.name), async || {
            let count = self.metric(parts).await;
            if count == want { Ok(()) } else { Err(count) }
        })
        .await;
    }

    /// All lines of one metric, for a failure's message.
    pub async fn metrics(&self, name: &str) -> String {
        let mut client = crate::Client::new(self.admin, crate::Version::Http1);
        let text = client.get("/stats/prometheus").await.map(|answer| answer.text().to_owned()).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join("\n")
    }

    pub async fn config_dump(&self) -> Value {
        let mut client = crate::Client::new(self.admin, crate::Version::Http1);
        client.get("/config_dump").await.map(|answer| answer.json()).unwrap_or_default()
    }

    /// Waits until `accept` likes the config dump.
    pub async fn configured(&self, what: &str, accept: impl Fn(&Value) -> bool) {
        crate::eventually_async(what, async || {
            let dump = self.config_dump().await;
            if accept(&dump) { Ok(()) } else { Err(dump.to_string()) }
        })
        .await;
    }
}

fn address(ports: &Value, which: &str) -> SocketAddr {
    let text = ports[which].as_str().unwrap_or_else(|| panic!("the ports file has no {which}: {ports}"));
    eventually(&format!("{which} is an address"), || text.parse())
}
