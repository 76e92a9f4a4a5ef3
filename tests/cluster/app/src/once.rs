//! Requests one after the other, each on a connection of its own, and what came back.

use crate::call::{Answer, Target, Version};
use clap::Args;
use http::Method;
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Args)]
pub(crate) struct Options {
    url: String,
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[arg(long, default_value = "GET")]
    method: Method,
    #[arg(long, default_value = "")]
    body: String,
    #[arg(long)]
    http2: bool,
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// Milliseconds for each
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    limit: u64,
    /// Ends with 1 unless each answer has this status
    #[arg(long, value_name = "STATUS")]
    want: Option<u16>,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let version = if options.http2 { Version::Http2 } else { Version::Http1 };
    let target = Target::new(&options.url, version, &options.headers)?;
    let mut as_wanted = true;
    for _ in 0..options.times {
        let start = Instant::now();
        let answer = tokio::time::timeout(Duration::from_millis(options.limit), ask(&target, options)).await;
        let mut line = match answer {
            Ok(Ok(answer)) => shown(&answer),
            Ok(Err(error)) => json!({"error": format!("{error:#}")}),
            Err(_) => json!({"error": format!("no answer within {} ms", options.limit)}),
        };
        as_wanted &= options.want.is_none_or(|want| line["status"] == want);
        line["ms"] = json!(start.elapsed().as_millis() as u64);
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(if as_wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask(target: &Target, options: &Options) -> anyhow::Result<Answer> {
    let body = Full::from(options.body.clone()).map_err(|never| match never {}).boxed();
    let mut request = target.request(body)?;
    *request.method_mut() = options.method.clone();
    let response = target.connect().await?.send(request).await?;
    Ok(Answer::of(response).await?)
}

fn shown(answer: &Answer) -> Value {
    let headers: Map<String, Value> = answer
        .head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let body = String::from_utf8_lossy(&answer.body);
    json!({"status": answer.head.status.as_u16(), "headers": headers, "body": body})
}
