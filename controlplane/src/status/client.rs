//! `weft status`: asks a control plane and shows what it says.
//!
//! It does not know how the answer came about.

use super::{Report, table};
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;

/// Shows which configuration counts, its problems, and what each sidecar runs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  weft status\n  weft status -o json\n  weft status --at 127.0.0.1:15014")]
pub struct StatusOptions {
    /// Status port of the control plane
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15014", env = "WEFT_STATUS")]
    pub at: String,
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("no control plane answers at {at}: {reason}; start one with: weft controlplane -f DIR (or give --at)")]
    Unreachable { at: String, reason: String },
    #[error("{at} answered {what}; is it the status port of a control plane?")]
    Strange { at: String, what: String },
}

/// What `weft status` prints.
pub async fn show(options: &StatusOptions) -> Result<String, StatusError> {
    let report = fetch(&options.at).await?;
    match options.output {
        Output::Text => Ok(table::render(&report)),
        Output::Json => serde_json::to_string_pretty(&report)
            .map_err(|error| StatusError::Strange { at: options.at.clone(), what: error.to_string() }),
    }
}

pub async fn fetch(at: &str) -> Result<Report, StatusError> {
    let unreachable = |reason: String| StatusError::Unreachable { at: at.to_owned(), reason };
    match tokio::time::timeout(WHOLE_MAX, ask(at)).await {
        Ok(answer) => answer,
        Err(_) => Err(unreachable(format!("no answer within {WHOLE_MAX:?}"))),
    }
}

async fn ask(at: &str) -> Result<Report, StatusError> {
    let unreachable = |reason: String| StatusError::Unreachable { at: at.to_owned(), reason };
    let strange = |what: String| StatusError::Strange { at: at.to_owned(), what };
    let stream = TcpStream::connect(at).await.map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    tokio::spawn(connection);
    let request = Request::get("/status").header(header::HOST, at).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| strange(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(|error| strange(error.to_string()))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| strange(error.to_string()))?.to_bytes();
    if !status.is_success() {
        return Err(strange(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
    }
    serde_json::from_slice(&body).map_err(|error| strange(format!("no status ({error})")))
}

const WHOLE_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 256 << 20;
