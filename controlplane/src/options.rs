//! What a person can set when the control plane starts, shared by `weft controlplane` and `weft-controlplane`.

use crate::ca::{AuthorityOptions, GivenCa};
use crate::inject;
use crate::kube::WebhookOptions;
use crate::state::StateFolder;
use crate::token::ServiceAccount;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Runs the control plane on a folder of YAML, or on a Kubernetes cluster.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weft controlplane -f mesh/\n  weft controlplane -f mesh/ --state /var/lib/weft --listen 0.0.0.0:15012\n  weft controlplane --kubernetes --listen 0.0.0.0:15012"
)]
pub struct Options {
    #[command(flatten)]
    pub origin: Origin,
    /// Where sidecars connect (TLS)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15012")]
    pub listen: SocketAddr,
    /// Where `weft status` and Prometheus ask (plain HTTP: keep it on loopback)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15014")]
    pub status: SocketAddr,
    /// Where the API server asks about pods and configuration (TLS); with --kubernetes
    #[arg(long, value_name = "ADDR", requires = "kubernetes")]
    pub webhook: Option<SocketAddr>,
    /// Image of the sidecars that are injected
    #[arg(long, value_name = "IMAGE", env = "WEFT_SIDECAR_IMAGE")]
    pub sidecar_image: Option<String>,
    /// When nodes pull that image: Always, IfNotPresent or Never [default: as Kubernetes chooses by the tag]
    #[arg(long, value_name = "POLICY", env = "WEFT_SIDECAR_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub sidecar_pull_policy: Option<String>,
    /// Names of Secrets, in the pods' own namespaces, by which nodes pull that image
    #[arg(long, value_name = "NAME", env = "WEFT_SIDECAR_PULL_SECRETS", value_delimiter = ',')]
    pub sidecar_pull_secrets: Vec<String>,
    /// Folder for keys, used tokens and compiled filters [default: $XDG_STATE_HOME/weft/controlplane]
    #[arg(long, value_name = "DIR", env = "WEFT_CONTROLPLANE_STATE")]
    pub state: Option<PathBuf>,
    /// Replicas share --state, a volume that outlives them: each takes a folder in it that no other runs on
    #[arg(long, requires = "kubernetes")]
    pub state_shared: bool,
    /// Other replicas, which share this one's CA: what they have of filters is copied before this one serves
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub replicas: Vec<SocketAddr>,
    /// Folder of programs that compile filters for sidecars of other releases, each for one
    #[arg(long, value_name = "DIR", env = "WEFT_COMPILERS")]
    pub compilers: Option<PathBuf>,
    /// Life of a workload's certificate; sidecars renew at half of it
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub svid_life: Duration,
    /// Life of the mesh's own root; its successor is made when a fifth of it is left
    #[arg(long, value_name = "DURATION", default_value = "87600h", value_parser = duration)]
    pub root_life: Duration,
    /// Certificate (PEM) of a CA of yours that signs instead of an own root, then those that lead to its root
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    pub ca_cert: Option<PathBuf>,
    /// Key (PEM, PKCS#8) of --ca-cert
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    pub ca_key: Option<PathBuf>,
    /// Root (PEM) to which --ca-cert leads, where it is not itself one
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    pub ca_root: Option<PathBuf>,
    /// Written once all ports are bound: {"stream": "ADDR", "status": "ADDR"}
    #[arg(long, value_name = "FILE")]
    pub ports_file: Option<PathBuf>,
    /// What to log, as RUST_LOG writes it
    #[arg(long, value_name = "LEVEL", env = "WEFT_LOG", default_value = "info")]
    pub log_level: String,
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Where configuration comes from.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Origin {
    /// Folder of YAML files; watched, with all folders in it
    #[arg(short = 'f', long = "folder", value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The cluster in which it runs, or the one that KUBECONFIG names
    #[arg(long)]
    pub kubernetes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Makes a join token, by which one sidecar proves its identity at first contact.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  weft sidecar --workload default/reviews-v1 --token \"$(weft token create --for default/reviews)\""
)]
pub struct TokenOptions {
    /// NAMESPACE/SERVICEACCOUNT that the workload runs as (`serviceAccount` of its WorkloadEntry)
    #[arg(long = "for", value_name = "NS/ACCOUNT")]
    pub account: ServiceAccount,
    /// Good for any number of sidecars until it expires
    #[arg(long)]
    pub reusable: bool,
    /// How long it is good
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub ttl: Duration,
    /// The control plane's state folder [default: $XDG_STATE_HOME/weft/controlplane]
    #[arg(long, value_name = "DIR", env = "WEFT_CONTROLPLANE_STATE")]
    pub state: Option<PathBuf>,
}

/// Gives the mesh a new root: believed at once, signing when every older certificate has expired.
#[derive(Clone, Debug, clap::Args)]
pub struct RotateOptions {
    /// The control plane's state folder [default: $XDG_STATE_HOME/weft/controlplane]
    #[arg(long, value_name = "DIR", env = "WEFT_CONTROLPLANE_STATE")]
    pub state: Option<PathBuf>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.folder {
            Some(folder) => write!(f, "{}", folder.display()),
            None => f.write_str("the cluster"),
        }
    }
}

impl Options {
    pub fn state_path(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(StateFolder::default_path)
    }

    pub(crate) fn webhooks(&self) -> WebhookOptions {
        let usual = inject::Settings::default();
        let settings = inject::Settings {
            image: self.sidecar_image.clone().unwrap_or(usual.image),
            pull_policy: self.sidecar_pull_policy.clone(),
            pull_secrets: self.sidecar_pull_secrets.clone(),
            ..usual
        };
        WebhookOptions { listen: self.webhook, settings }
    }

    pub fn authority(&self) -> AuthorityOptions {
        let given = self.ca_cert.clone().zip(self.ca_key.clone());
        AuthorityOptions {
            svid_life: self.svid_life,
            root_life: self.root_life,
            given: given.map(|(certificate, key)| GivenCa { certificate, key, root: self.ca_root.clone() }),
        }
    }
}

/// `90s`, `20m`, `24h`, `7d`, at least 1 s.
pub fn duration(text: &str) -> Result<Duration, String> {
    let form = || format!("{text:?} is no duration; write it as 20s, 30m, 24h or 7d");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(form()),
    };
    let number: u64 = number.parse().map_err(|_| form())?;
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=DURATION_SECONDS_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} needs to be 1s at least and 100 years at most")),
    }
}

const DURATION_SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("20s", Some(20)),
            ("30m", Some(1800)),
            ("24h", Some(86_400)),
            ("7d", Some(604_800)),
            ("0s", None),
            ("20", None),
            ("s", None),
            ("1w", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999d", None),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text).ok(), want.map(Duration::from_secs), "duration {text:?}");
        }
    }
}
