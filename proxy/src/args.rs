//! What a person can set when a proxy starts: shared by `weft-proxy`, `weft sidecar` and `weft proxy`.
//!
//! It parses; what the values do is `app`'s and `settings`'.

use crate::admin::ProcessLog;
use crate::app::{Addresses, Options, Pod, Serve, Source};
use crate::connections::SilenceLimits;
use crate::control::{FirstContact, JoinToken, Projected};
use crate::cpu;
use crate::settings::{FilterTrace, Settings};
use crate::status;
use crate::telemetry::{LogFormat, LogOptions, LogTarget};
use anyhow::Context;
use clap::ValueEnum;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;
use weft_snapshot::WorkloadName;

/// Runs a sidecar that is joined to a control plane, and with `-- CMD` the app behind it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SIDECAR_EXAMPLES)]
pub struct SidecarArgs {
    /// NAMESPACE/NAME of the WorkloadEntry that this is the sidecar of
    #[arg(long, value_name = "NS/NAME", env = "WEFT_WORKLOAD")]
    pub workload: WorkloadName,
    /// HOST:PORT of the control plane; several, separated by commas, are tried in turn
    #[arg(
        long,
        value_name = "ADDR",
        env = "WEFT_CONTROLPLANE",
        value_delimiter = ',',
        default_value = "127.0.0.1:15012"
    )]
    pub controlplane: Vec<String>,
    /// Join token from `weft token create`; needed at the first start only
    #[arg(long, value_name = "TOKEN", env = "WEFT_TOKEN", hide_env_values = true, conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File that holds the join token; with --root-file a pod's projected service-account token, read before each use
    #[arg(long, value_name = "FILE", env = "WEFT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// File (PEM) with the roots that alone are believed at first contact, read before each use; for pods
    #[arg(long, value_name = "FILE", env = "WEFT_ROOT_FILE", requires = "token_file")]
    pub root_file: Option<PathBuf>,
    /// Trust domain of the mesh, where --root-file and not a join token says whom to believe
    #[arg(long, value_name = "DOMAIN", env = "WEFT_TRUST_DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Folder for key, certificate, snapshot and filters [default: $XDG_STATE_HOME/weft/NS-NAME]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    pub state: Option<PathBuf>,
    /// Serves what weft-init's rules redirect (ports 15006 and 15001) and a pod's probes (15020, 15021, 15090)
    #[arg(long, env = "WEFT_INTERCEPT", conflicts_with_all = ["inbound", "outbound"])]
    pub intercept: bool,
    /// With --intercept, where the kubelet asks for the app's probes
    #[arg(long, value_name = "PORT", env = "WEFT_STATUS_PORT", default_value_t = STATUS_PORT)]
    pub status_port: u16,
    /// Where other sidecars reach the app
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15006")]
    pub inbound: SocketAddr,
    /// Where the app sends its requests (its HTTP_PROXY)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15001")]
    pub outbound: SocketAddr,
    #[command(flatten)]
    pub serve: ServeArgs,
    /// The app to run behind the sidecar, with HTTP_PROXY set; signals and exit code pass
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// How a proxy serves, wherever its configuration comes from. Port 0 means any free port.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Readiness, metrics, config dump, log level
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15000")]
    pub admin: SocketAddr,
    /// Worker threads [default: the CPU limit of the container, rounded up; else 2]
    #[arg(long, value_name = "N", env = "WEFT_WORKERS")]
    pub workers: Option<NonZeroUsize>,
    /// Where requests are logged: `-` (standard output), a file, or `off`
    #[arg(long, value_name = "-|PATH|off", default_value = "off")]
    pub access_log: String,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub access_log_format: Format,
    /// Written once all ports are bound: {"inbound": "ADDR", "outbound": "ADDR", "listen": "ADDR", "admin": "ADDR"}
    #[arg(long, value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
    /// What the proxy logs of itself, as RUST_LOG writes it
    #[arg(long, value_name = "LEVEL", env = "WEFT_LOG", default_value = "info")]
    pub log_level: String,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
    /// How long connections may take to finish after SIGTERM; a second signal cuts them at once
    #[arg(
        long,
        value_name = "DURATION",
        env = "WEFT_DRAIN",
        default_value = "45s",
        value_parser = duration,
        help_heading = "Limits"
    )]
    pub drain: Duration,
    /// Connections from clients, for each worker and side
    #[arg(long, value_name = "N", default_value = "10000", help_heading = "Limits")]
    pub connections_max: NonZeroUsize,
    /// Bytes of a request's head
    #[arg(long, value_name = "BYTES", default_value = "61440", help_heading = "Limits")]
    pub head_bytes_max: NonZeroUsize,
    /// Headers of a request
    #[arg(long, value_name = "N", default_value = "100", help_heading = "Limits")]
    pub headers_max: NonZeroUsize,
    /// Concurrent requests on one HTTP/2 connection from a client
    #[arg(long, value_name = "N", default_value = "250", help_heading = "Limits")]
    pub streams_max: NonZeroU32,
    /// How long a client's connection may be without a request
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration, help_heading = "Limits")]
    pub idle_timeout: Duration,
    /// How long a client may take to send a request's head
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    pub head_timeout: Duration,
    /// How long to wait for a client's first bytes where nobody said what a port speaks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, help_heading = "Limits")]
    pub detect_timeout: Duration,
    /// How long both sides of a TCP connection may be silent
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration, help_heading = "Limits")]
    pub tcp_idle_timeout: Duration,
    /// Responses name the filters that they met, in x-weft-filters
    #[arg(long)]
    pub filter_header: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

/// Istio's, of its agent.
pub const STATUS_PORT: u16 = 15020;

const SIDECAR_EXAMPLES: &str = "\
Examples:
  Join as reviews-v1 and run the app behind the sidecar:
    weft sidecar --workload default/reviews-v1 --token \"$(weft token create --for default/reviews)\" -- ./reviews
  A second sidecar on this machine needs ports of its own (0: any; --ports-file tells which):
    weft sidecar --workload default/ratings --inbound 127.0.0.1:0 --outbound 127.0.0.1:0 --admin 127.0.0.1:0 \\
      --ports-file ratings.json
  An app reaches the mesh with HTTP_PROXY=http://127.0.0.1:15001";

impl SidecarArgs {
    pub fn options(self) -> anyhow::Result<Options> {
        let state = match self.state {
            Some(state) => state,
            None => default_state(&self.workload)?,
        };
        let first = first_contact(self.token, self.token_file, self.root_file, self.trust_domain)?;
        let workload = self.workload;
        let addresses = if self.intercept {
            let pod = Pod { status_port: self.status_port, app: status::App::from_environment()? };
            Addresses { pod: Some(pod), ..Addresses::default() }
        } else {
            Addresses { inbound: Some(self.inbound), outbound: Some(self.outbound), ..Addresses::default() }
        };
        Ok(Options {
            source: Source::ControlPlane { addresses: self.controlplane, first, workload, state },
            addresses,
            serve: self.serve.serve()?,
            log: None,
            command: self.command,
        })
    }
}

impl ServeArgs {
    pub fn process_log(&self) -> ProcessLog {
        match self.log_format {
            Format::Text => ProcessLog::Text,
            Format::Json => ProcessLog::Json,
        }
    }

    pub fn serve(self) -> anyhow::Result<Serve> {
        let format = match self.access_log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        let target = match self.access_log.as_str() {
            "off" => None,
            "-" => Some(LogTarget::Stdout),
            path => Some(LogTarget::File(path.into())),
        };
        Ok(Serve {
            admin: self.admin,
            workers: self.workers.unwrap_or_else(cpu::workers),
            access_log: target.map(|target| LogOptions { target, format }),
            ports_file: self.ports_file,
            settings: Settings {
                connections_max: self.connections_max.get(),
                head_bytes_max: self.head_bytes_max.get(),
                headers_max: self.headers_max.get(),
                streams_max: self.streams_max.get(),
                silence: SilenceLimits { idle: self.idle_timeout, head: self.head_timeout },
                detect_timeout: self.detect_timeout,
                tcp_idle_timeout: self.tcp_idle_timeout,
                drain: self.drain,
                filter_trace: if self.filter_header { FilterTrace::Send } else { FilterTrace::Omit },
                ..Settings::default()
            },
        })
    }
}

fn first_contact(
    token: Option<String>,
    token_file: Option<PathBuf>,
    root_file: Option<PathBuf>,
    trust_domain: String,
) -> anyhow::Result<Option<FirstContact>> {
    let token = match (token, token_file, root_file) {
        (None, Some(token), Some(root)) => {
            return Ok(Some(FirstContact::Projected(Projected { token, root, trust_domain })));
        }
        (Some(token), _, _) => token,
        (None, Some(file), None) => {
            std::fs::read_to_string(&file).with_context(|| format!("cannot read --token-file {}", file.display()))?
        }
        (None, None, _) => return Ok(None),
    };
    Ok(Some(token.trim().parse::<JoinToken>()?.into()))
}

fn default_state(workload: &WorkloadName) -> anyhow::Result<PathBuf> {
    let base = match (std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME")) {
        (Some(state), _) if !state.is_empty() => PathBuf::from(state),
        (_, Some(home)) => PathBuf::from(home).join(".local/state"),
        (_, None) => {
            anyhow::bail!("neither XDG_STATE_HOME nor HOME is set; say with --state where to keep the identity")
        }
    };
    Ok(base.join("weft").join(format!("{}-{}", workload.namespace, workload.name)))
}

/// `250ms`, `45s`, `20m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("{text:?} is no duration; write it as 250ms, 45s, 20m or 1h");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| form())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(form()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        sidecar: SidecarArgs,
    }

    #[test]
    fn durations() {
        let cases = [
            ("250ms", Some(250)),
            ("45s", Some(45_000)),
            ("0s", Some(0)),
            ("1h", Some(3_600_000)),
            ("45", None),
            ("s", None),
            ("1d", None),
            ("99999999999999999999s", None),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text).ok(), want.map(Duration::from_millis), "duration {text:?}");
        }
    }

    #[test]
    fn a_command_line_becomes_options() {
        let line =
            "weft-proxy --workload default/reviews-v1 --state /s --controlplane a:1,b:2 --access-log - -- app -x";
        let options = Cli::parse_from(line.split(' ')).sidecar.options().expect("valid");
        let Source::ControlPlane { addresses, workload, .. } = options.source else { panic!("joins a control plane") };
        assert_eq!((addresses, workload.to_string()), (vec!["a:1".into(), "b:2".into()], "default/reviews-v1".into()));
        assert_eq!(options.command, ["app", "-x"]);
        assert!(options.serve.access_log.is_some());
        assert_eq!(options.addresses.inbound.map(|address| address.port()), Some(15006));
    }

    #[test]
    fn limits_default_to_the_settings_own() {
        let line = "weft-proxy --workload default/a --state /s";
        let options = Cli::parse_from(line.split(' ')).sidecar.options().expect("valid");
        assert_eq!(format!("{:?}", options.serve.settings), format!("{:?}", Settings::default()));
    }
}
