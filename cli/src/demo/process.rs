//! The processes of the demo: started with their output in a file each, ended together, none left behind.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a process to write its ports file; a cold machine takes under 2 s.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest wait for a process to end after SIGTERM, before SIGKILL.
const STOP_MAX: Duration = Duration::from_secs(5);

pub(super) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    pub(super) fn start(name: &str, log: PathBuf, command: &mut Command) -> Result<Self> {
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = output.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    /// Waits for the JSON of a ports file; fails at once where the process has ended.
    pub(super) async fn ports(&mut self, file: &Path) -> Result<serde_json::Value> {
        let start = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(file)
                && let Ok(ports) = serde_json::from_str(&text)
            {
                return Ok(ports);
            }
            self.must_run()?;
            if start.elapsed() > START_MAX {
                bail!("{} is not up within {START_MAX:?}; its log: {}", self.name, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails, with the end of its log, where the process has ended.
    pub(super) fn must_run(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(15).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!("{} ended with {status}:\n{}", self.name, last.join("\n"))
    }

    fn terminate(&self) {
        // `kill` of coreutils' kind is in every shell and no crate: one signal does not earn a dependency.
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
    }
}

/// All of them; ended in reverse order of their start when dropped.
#[derive(Default)]
pub(super) struct Processes(Vec<Process>);

impl Processes {
    pub(super) fn add(&mut self, process: Process) {
        self.0.push(process);
    }

    pub(super) fn must_run(&mut self) -> Result<()> {
        self.0.iter_mut().try_for_each(Process::must_run)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in self.0.iter().rev() {
            process.terminate();
        }
        let start = Instant::now();
        for process in self.0.iter_mut().rev() {
            while matches!(process.child.try_wait(), Ok(None)) {
                if start.elapsed() > STOP_MAX {
                    let _ = process.child.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
