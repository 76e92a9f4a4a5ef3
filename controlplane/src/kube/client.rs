//! One client of the API server, for all that the control plane does there.
//!
//! It knows where the server is and how long to be patient; not what is asked.

use kube::{Client, Config};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(
        "no cluster is known here ({0}); run it in a pod with a service account, or give a kubeconfig with KUBECONFIG"
    )]
    NoCluster(#[from] kube::config::InferConfigError),
    #[error("the cluster's configuration cannot be used: {0}")]
    Unusable(#[from] kube::Error),
}

/// The cluster that KUBECONFIG names, or else the one in which this runs. No request goes out yet.
pub(crate) async fn connect() -> Result<Client, ClientError> {
    // kube takes the process's provider; another one than ours must never be it. Set already: nothing to do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_MAX);
    config.read_timeout = Some(SILENCE_MAX);
    config.reset_reader_on_write = true;
    // Whoever asks has patience of his own. kube's doubles in silence to minutes: what changed while the server said 429
    // would arrive long after it says yes again.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// The API server's own words, or what kept it from saying any.
pub(super) fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return if status.message.is_empty() {
            format!("{} {}", status.code, status.reason)
        } else {
            status.message.clone()
        };
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        // Errors of several layers often repeat what they wrap.
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text.push_str(&format!(": {words}"));
        }
        source = inner.source();
    }
    text
}

/// A stopped API server accepts and says nothing; the next attempt should not wait long for it.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// After so long without a byte a connection counts as dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
