//! A proxy as a process: signals, the app behind it, exit codes. The process is this test binary itself, started again.

use crate::app::{App, whole};
use crate::client::{Client, get};
use crate::config::{Served, endpoint};
use http::{Response, StatusCode};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use weft_proxy::app::{Addresses, Serve, Source};
use weft_proxy::files::Files;
use weft_proxy::settings::Settings;
use weft_proxy::{Options, run};

const FOLDER: &str = "WEFT_TEST_FOLDER";
const APP: &str = "WEFT_TEST_APP";
const COMMAND: &str = "WEFT_TEST_COMMAND";

/// What the other process runs; nothing in a usual run.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let app: SocketAddr = std::env::var(APP).unwrap().parse().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let snapshot = Served::http("reviews", vec![endpoint(app)]).alone();
    let files = Files { snapshot, revision: "1".to_owned(), ..Files::default() };
    let (_told, watched) = watch::channel(Some(files));
    let command = std::env::var(COMMAND).map_or(Vec::new(), |script| vec!["sh".into(), "-c".into(), script.into()]);
    let code = run(Options {
        source: Source::Files(watched),
        addresses: Addresses { inbound: Some(any), outbound: Some(any), listen: Some(any), ..Addresses::default() },
        serve: Serve {
            admin: any,
            workers: 2.try_into().unwrap(),
            access_log: None,
            ports_file: Some(Path::new(&folder).join("ports.json")),
            settings: Settings { drain: Duration::from_secs(30), ..Settings::default() },
        },
        log: None,
        command,
    });
    let code = code.unwrap();
    std::process::exit((0..=255).find(|number| ExitCode::from(*number as u8) == code).unwrap_or(255));
}

struct Process {
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    fn start(app: SocketAddr, command: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["process::child", "--exact", "--nocapture", "--quiet"]);
        process.env(FOLDER, folder.path()).env(APP, app.to_string()).current_dir(folder.path());
        for name in ["NO_PROXY", "no_proxy"] {
            process.env_remove(name);
        }
        if let Some(command) = command {
            process.env(COMMAND, command);
        }
        Self { child: process.spawn().unwrap(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Of the ports file, as soon as it is there.
    async fn port(&self, name: &str) -> SocketAddr {
        let text = self.text("ports.json").await;
        let ports: serde_json::Value = serde_json::from_str(&text).unwrap();
        ports[name].as_str().unwrap().parse().unwrap()
    }

    /// Of the admin port, 200 once there is a plan.
    async fn readiness(&self) -> StatusCode {
        let request = http::Request::get("/ready").header("host", "admin").body(whole("")).unwrap();
        Client::http1(self.port("admin").await).await.send(request).await.status
    }

    /// The outbound address, once requests are answered there by the plan.
    async fn serving(&self) -> SocketAddr {
        crate::eventually("ready", async || (self.readiness().await == StatusCode::OK).then_some(())).await;
        self.port("outbound").await
    }

    async fn text(&self, name: &str) -> String {
        let path = self.path(name);
        crate::eventually(&format!("{name} is written"), async || {
            std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))
        })
        .await
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    async fn ended(mut self) -> ExitStatus {
        crate::eventually("the process ends", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_signal_waits_for_what_has_begun() {
    let app = App::start(|_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Response::new(whole("finished"))
    })
    .await;
    let process = Process::start(app.address, None);
    let mut client = Client::http1(process.serving().await).await;
    let began = Instant::now();
    let signalled = async {
        crate::eventually("the request is under way", async || (app.seen().len() == 1).then_some(())).await;
        process.signal("-TERM");
    };
    let (answer, ()) = tokio::join!(client.get("http://reviews:9080/"), signalled);
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "finished"));
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "it ends when all is done, not when the limit is over");
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let app = App::start(|_| async { std::future::pending().await }).await;
    let process = Process::start(app.address, None);
    let mut client = Client::http1(process.serving().await).await;
    let signalled = async {
        crate::eventually("the request is under way", async || (app.seen().len() == 1).then_some(())).await;
        process.signal("-TERM");
        crate::eventually("the first one counts", async || (process.readiness().await != StatusCode::OK).then_some(()))
            .await;
        process.signal("-TERM");
    };
    let (answer, ()) = tokio::join!(client.try_send(get("http://reviews:9080/")), signalled);
    assert!(answer.is_err());
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_apps_own_end_is_the_proxys() {
    let app = App::saying("hello").await;
    let process = Process::start(app.address, Some("echo \"$HTTP_PROXY $http_proxy $NO_PROXY\" > seen; exit 7"));
    let (text, outbound) = (process.text("seen").await, process.port("outbound").await);
    assert_eq!(text, format!("http://{outbound} http://{outbound} localhost,127.0.0.1,::1\n"));
    assert_eq!(process.ended().await.code(), Some(7));
}

#[tokio::test]
async fn signals_reach_the_app() {
    let app = App::saying("hello").await;
    let script = "trap 'echo hup > hup' HUP; trap 'exit 3' TERM; echo up > up; while :; do sleep 0.05; done";
    let process = Process::start(app.address, Some(script));
    process.text("up").await;
    process.signal("-HUP");
    process.text("hup").await;
    process.signal("-TERM");
    assert_eq!(process.ended().await.code(), Some(3));
}

#[tokio::test]
async fn the_admin_port_tells_when_it_is_ready() {
    let app = App::saying("hello").await;
    let process = Process::start(app.address, None);
    process.serving().await;
    process.signal("-INT");
    assert_eq!(process.ended().await.code(), Some(0));
}
