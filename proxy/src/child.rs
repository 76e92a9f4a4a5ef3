//! The user's own program behind the sidecar: started with its proxy set, signalled, and waited for.
//!
//! It does not know when to start or to stop it.

use anyhow::Context;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitStatus;
use tokio::process::{Child, Command};

/// A running program.
pub struct App {
    child: Child,
    name: String,
}

impl App {
    pub fn start(command: &[OsString], outbound: Option<SocketAddr>) -> anyhow::Result<Self> {
        let (program, arguments) = command.split_first().context("no command after --")?;
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(outbound) = outbound {
            let proxy = format!("http://{outbound}");
            for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"] {
                command.env(name, &proxy);
            }
            // What an app asks of its own machine is none of the mesh's business, unless it says otherwise.
            if std::env::var_os("NO_PROXY").or_else(|| std::env::var_os("no_proxy")).is_none() {
                command.env("NO_PROXY", NOT_PROXIED).env("no_proxy", NOT_PROXIED);
            }
        }
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        Ok(Self { child, name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Passes a signal on; a program that has ended gets none.
    pub fn signal(&self, signal: i32) {
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        // SAFETY: kill has no memory effects; the id is a child that has not been waited for, so it is still ours.
        #[allow(unsafe_code)]
        unsafe {
            libc::kill(id, signal);
        }
    }
}

/// The shell's convention: the program's own code, or 128 and the signal that ended it.
pub fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

const NOT_PROXIED: &str = "localhost,127.0.0.1,::1";
