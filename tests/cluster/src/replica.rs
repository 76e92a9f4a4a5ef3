//! A control plane as a process beside the cluster: one that a test can stop, cut off, and hold against a fresh one.

use crate::within;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `weft controlplane --kubernetes`, killed when dropped.
pub struct Replica {
    child: Child,
    folder: PathBuf,
    status: String,
}

impl Replica {
    /// `name` is whom the Lease names; without a kubeconfig it takes the suite's.
    pub fn start(name: &str, kubeconfig: Option<&Path>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("weft-replica-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(weft_tests::weft());
        command
            .args(["controlplane", "--kubernetes", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--state"])
            .arg(folder.join("state"))
            .arg("--ports-file")
            .arg(folder.join("ports"))
            .envs([("POD_NAME", name), ("POD_NAMESPACE", "weft-system")])
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let child = command.spawn().unwrap();
        let mut replica = Self { child, folder, status: String::new() };
        let ports = replica.folder.join("ports");
        let ports = within(START_MAX, &format!("replica {name} serves"), || {
            let text = std::fs::read(&ports).map_err(|error| error.to_string())?;
            serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string())
        });
        replica.status = ports["status"].as_str().unwrap().to_owned();
        replica
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// What `weft status -o json` says.
    pub fn report(&self) -> Result<Value, String> {
        let said = crate::weft(["status", "-o", "json", "--at", &self.status])?;
        serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Hash of all that counts.
    pub fn revision(&self) -> Result<String, String> {
        Ok(self.report()?["configuration"]["revision"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until this replica has come to what a fresh one reads, which is all that there is.
    #[track_caller]
    pub fn catches_up(&self, limit: Duration, what: &str) {
        self.comes_to(&Self::start("fresh", None), limit, what);
    }

    /// The same until `end`, which may come while the fresh one still starts.
    #[track_caller]
    pub fn catches_up_by(&self, end: Instant, what: &str) {
        let fresh = Self::start("fresh", None);
        self.comes_to(&fresh, end.saturating_duration_since(Instant::now()), what);
    }

    #[track_caller]
    fn comes_to(&self, fresh: &Self, limit: Duration, what: &str) {
        within(limit, &format!("{what}: the revision of a fresh control plane"), || {
            let (own, wanted) = (self.revision()?, fresh.revision()?);
            if own == wanted { Ok(()) } else { Err(format!("{own} and not {wanted}")) }
        });
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- replica at {}:\n{}", self.status, self.log());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const START_MAX: Duration = Duration::from_secs(60);
