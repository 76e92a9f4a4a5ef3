//! Who plays in the demo: the control plane, a sidecar process beside each of Bookinfo's services, one for the client.

use super::process::{Process, Processes};
use super::stage::Stage;
use crate::output::progress;
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest wait until every sidecar says that it is ready.
const READY_MAX: Duration = Duration::from_secs(30);

/// A workload of `examples/bookinfo/mesh`: its WorkloadEntry, its service account, and the app to run.
struct Role {
    workload: &'static str,
    account: &'static str,
    app: Option<App>,
}

struct App {
    /// As its WorkloadEntry has it.
    port: u16,
    args: &'static [&'static str],
}

const fn app(port: u16, args: &'static [&'static str]) -> Option<App> {
    Some(App { port, args })
}

const ROLES: &[Role] = &[
    Role { workload: "ratings", account: "bookinfo-ratings", app: app(19082, &["ratings"]) },
    Role { workload: "details", account: "bookinfo-details", app: app(19081, &["details"]) },
    Role {
        workload: "reviews-v1",
        account: "bookinfo-reviews",
        app: app(19083, &["reviews", "--version", "v1", "--pod-name", "reviews-v1"]),
    },
    Role {
        workload: "reviews-v2",
        account: "bookinfo-reviews",
        app: app(19084, &["reviews", "--version", "v2", "--pod-name", "reviews-v2"]),
    },
    Role {
        workload: "reviews-v3",
        account: "bookinfo-reviews",
        app: app(19085, &["reviews", "--version", "v3", "--pod-name", "reviews-v3"]),
    },
    Role { workload: "productpage", account: "bookinfo-productpage", app: app(PRODUCTPAGE, &["productpage"]) },
    Role { workload: "client", account: "client", app: None },
];

/// The app that a person opens.
pub(super) const PRODUCTPAGE: u16 = 9080;

pub(super) fn app_ports() -> impl Iterator<Item = u16> {
    ROLES.iter().filter_map(|role| role.app.as_ref()).map(|app| app.port)
}

pub(super) struct Cast {
    processes: Processes,
    /// The outbound side of the client's sidecar.
    pub(super) client: SocketAddr,
    pub(super) client_admin: SocketAddr,
    pub(super) status: SocketAddr,
    pub(super) sidecars: usize,
}

impl Cast {
    pub(super) async fn enter(stage: &Stage) -> Result<Self> {
        let mut processes = Processes::default();
        let weft = std::env::current_exe().context("cannot find this program's own file")?;
        let (controlplane, [stream, status]) = start_controlplane(stage, &weft).await?;
        processes.add(controlplane);
        progress(format_args!("control plane on {stream}, status on http://{status}/status"));
        let mut sidecars = Vec::new();
        for role in ROLES {
            let mut sidecar = start_sidecar(stage, &weft, role, stream)?;
            // The token is used up before the next one is made: start-up is then the same each time.
            let ports = sidecar.ports(&stage.path("ports", role.workload)).await?;
            sidecars.push((role.workload, address(&ports, "outbound")?, address(&ports, "admin")?));
            processes.add(sidecar);
        }
        for (workload, _, admin) in &sidecars {
            let log = stage.path("logs", &format!("{workload}.log"));
            ready(&mut processes, workload, *admin, &log.display().to_string()).await?;
        }
        let (_, client, client_admin) = *sidecars.last().context("the cast has a client")?;
        progress(format_args!("{} sidecars joined, each with an identity of its own", sidecars.len()));
        Ok(Self { processes, client, client_admin, status, sidecars: sidecars.len() })
    }

    /// Fails where one of them has left.
    pub(super) fn must_play(&mut self) -> Result<()> {
        self.processes.must_run()
    }
}

async fn start_controlplane(stage: &Stage, weft: &std::path::Path) -> Result<(Process, [SocketAddr; 2])> {
    let ports = stage.path("ports", "controlplane");
    let mut command = Command::new(weft);
    command
        .args(["controlplane", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "-f"])
        .arg(stage.folder.join("mesh"))
        .arg("--state")
        .arg(stage.path("state", "controlplane"))
        .arg("--ports-file")
        .arg(&ports);
    let mut process = Process::start("the control plane", stage.path("logs", "controlplane.log"), &mut command)?;
    let ports = process.ports(&ports).await?;
    Ok((process, [address(&ports, "stream")?, address(&ports, "status")?]))
}

fn start_sidecar(stage: &Stage, weft: &std::path::Path, role: &Role, controlplane: SocketAddr) -> Result<Process> {
    let mut command = Command::new(weft);
    command
        .args(["sidecar", "--inbound", "127.0.0.1:0", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--workload", &format!("default/{}", role.workload)])
        .args(["--controlplane", &controlplane.to_string()])
        .args(["--access-log", "-", "--workers", "1"])
        .arg("--state")
        .arg(stage.path("state", role.workload))
        .arg("--ports-file")
        .arg(stage.path("ports", role.workload))
        .env("WEFT_TOKEN", token(stage, weft, role)?);
    if let Some(app) = &role.app {
        let listen = stage.ports.address(app.port).to_string();
        command.arg("--").arg(weft).arg("bookinfo").args(app.args).args(["--listen", &listen]);
    }
    Process::start(role.workload, stage.path("logs", &format!("{}.log", role.workload)), &mut command)
}

/// By the command that a user types.
fn token(stage: &Stage, weft: &std::path::Path, role: &Role) -> Result<String> {
    let output = Command::new(weft)
        .args(["token", "create", "--for", &format!("default/{}", role.account), "--state"])
        .arg(stage.path("state", "controlplane"))
        .output()
        .context("cannot run weft token create")?;
    anyhow::ensure!(output.status.success(), "weft token create: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn address(ports: &serde_json::Value, which: &str) -> Result<SocketAddr> {
    let text = ports[which].as_str().with_context(|| format!("the ports file has no {which}: {ports}"))?;
    text.parse().with_context(|| format!("{text} is no address"))
}

async fn ready(processes: &mut Processes, workload: &str, admin: SocketAddr, log: &str) -> Result<()> {
    let start = Instant::now();
    let mut client = super::audience::Client::new(admin);
    loop {
        let last = client.get(&format!("http://{admin}/ready"), &[]).await.map(|answer| answer.status);
        if last == Ok(200) {
            return Ok(());
        }
        processes.must_run()?;
        anyhow::ensure!(
            start.elapsed() < READY_MAX,
            "{workload} is not ready within {READY_MAX:?} ({last:?}); its log: {log}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
