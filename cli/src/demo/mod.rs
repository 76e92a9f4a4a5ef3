//! `weft demo`: Bookinfo in a mesh on this machine, and a hot swap under load, counted.

mod audience;
mod cast;
mod expectation;
mod ports;
mod process;
mod programme;
mod score;
mod stage;
mod summary;

use crate::output::{progress, say};
use anyhow::Result;
use audience::Audience;
use cast::Cast;
use expectation::Expectation;
use score::Score;
use stage::Stage;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use summary::{Summary, Swap};

/// Runs Bookinfo in a mesh on this machine: sidecars, mutual TLS, Wasm filters, a hot swap under load
///
/// Starts a control plane on a folder of YAML and each of Bookinfo's services behind a sidecar process of its own, all
/// on loopback and without root; builds and pushes three filters; drives a light load; pushes a new version of the
/// canary filter under the same tag and shows how the split changes. Ctrl-C ends all that it started.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weft demo\n  weft demo --for 30s -o json\n  weft demo --registry 127.0.0.1:5000 --folder /tmp/mesh"
)]
pub(crate) struct Options {
    /// Run unattended for this long, print a summary, and exit with 0 only if every answer was what the config says
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Push the filters to this registry (plain HTTP) instead of an OCI image-layout folder
    #[arg(long, value_name = "HOST[:PORT]")]
    registry: Option<String>,
    /// Requests a second, all calls together
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,
    /// Keep config, images, state and logs in this new or empty folder [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Weft's source, from which the filters are built [default: this folder, or where this binary was built]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// Form of the summary
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// How long the first split is shown before the swap, where nobody said for how long the whole runs.
const FIRST_ACT: Duration = Duration::from_secs(15);
const UNATTENDED_MIN: Duration = Duration::from_secs(6);
/// Longest wait for the new version's first answer.
const SWAP_MAX: Duration = Duration::from_secs(15);

pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let start = Instant::now();
    let mut signals = Signals::new()?;
    let played = tokio::select! {
        played = play(&options, start) => played?,
        () = signals.stop() => None,
    };
    // By now everything that was started has ended: dropping the play ends its processes.
    Ok(match played {
        Some(summary) => {
            match options.output {
                Output::Text => say(summary.text()),
                Output::Json => say(serde_json::to_string_pretty(&summary)?),
            }
            if summary.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        None => ExitCode::SUCCESS,
    })
}

async fn play(options: &Options, start: Instant) -> Result<Option<Summary>> {
    let stage = Stage::prepare(options).await?;
    let mut cast = Cast::enter(&stage).await?;
    let ready = start.elapsed();
    progress(programme::text(&stage, &cast, ready));
    let expectation = Expectation { versions: BTreeSet::from(["v1", "v3"]) };
    warm_up(&cast, &expectation).await?;
    let audience = Audience::start(cast.client, expectation::script(), options.rate, expectation);
    let whole = options.duration.map(|whole| whole.max(UNATTENDED_MIN));
    let first_act = whole.map_or(FIRST_ACT, |whole| whole / 2);
    watch(&audience, &mut cast, "canary 90:10", Some(first_act)).await?;
    let before = audience.score();
    let swap = swap(&stage, &mut cast, &audience).await?;
    let swapped = audience.score();
    progress(swap.text());
    watch(&audience, &mut cast, "canary 50:50", whole.map(|whole| whole - first_act)).await?;
    let after = audience.stop().await;
    Ok(Some(Summary::new(ready, cast.sidecars, [before, swapped, after], swap)))
}

/// The first exchange of each call meets a sidecar that has to ask the control plane about the host: the load is
/// counted from the second on.
async fn warm_up(cast: &Cast, expectation: &Expectation) -> Result<()> {
    let mut client = audience::Client::new(cast.client);
    for call in expectation::script() {
        let answer = client.get(&call.url, &[]).await;
        if let Err(failure) = expectation.judge(call.name, &answer) {
            anyhow::bail!("{} is not what the config says: {failure}", call.url);
        }
    }
    Ok(())
}

/// Shows the split each second, on a terminal in place, elsewhere every five; for ever where there is no end.
async fn watch(audience: &Audience, cast: &mut Cast, act: &str, end: Option<Duration>) -> Result<()> {
    let from = audience.score();
    let start = Instant::now();
    let live = std::io::stderr().is_terminal();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for tick in 0_u64.. {
        ticks.tick().await;
        cast.must_play()?;
        let score = audience.score();
        if live || tick % 5 == 4 {
            show(act, &score, &from, live);
        }
        if end.is_some_and(|end| start.elapsed() >= end) {
            break;
        }
    }
    if live {
        progress("");
    }
    Ok(())
}

fn show(act: &str, score: &Score, from: &Score, live: bool) {
    let bars = score::bars(&score.versions_since(from));
    let line = format!("{act}  {bars}  {} requests, {} failed", score.requests, score.failed);
    if live {
        eprint_in_place(&line);
    } else {
        progress(line);
    }
}

fn eprint_in_place(line: &str) {
    use std::io::Write;
    let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    let _ = std::io::stderr().flush();
}

/// Pushes the new canary and waits until the client's sidecar runs it.
async fn swap(stage: &Stage, cast: &mut Cast, audience: &Audience) -> Result<Swap> {
    let mut admin = audience::Client::new(cast.client_admin);
    let before = canary_digest(&mut admin, cast).await?;
    let failed_before = audience.score().failed;
    let start = Instant::now();
    let pushed = stage.push_next_canary().await?;
    let wanted = pushed.component.to_string();
    while canary_digest(&mut admin, cast).await? != wanted {
        cast.must_play()?;
        anyhow::ensure!(
            start.elapsed() < SWAP_MAX,
            "the new canary does not run within {SWAP_MAX:?}; see http://{}/status",
            cast.status
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(Swap { from: before, to: wanted, took: start.elapsed(), failed: audience.score().failed - failed_before })
}

/// The component that the client's sidecar runs as `default/canary`, by its admin port.
async fn canary_digest(admin: &mut audience::Client, cast: &Cast) -> Result<String> {
    let url = format!("http://{}/filters", cast.client_admin);
    let answer = admin.get(&url, &[]).await.map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
    let filters: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let found = filters["filters"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|filter| filter["key"].as_str().is_some_and(|key| key.starts_with("default/canary")));
    Ok(found.and_then(|filter| filter["component"].as_str()).unwrap_or_default().to_owned())
}

/// Ctrl-C and SIGTERM.
struct Signals {
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// `30s`, `2m`, `1h` or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| c.is_ascii_alphabetic()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => return Err(format!("{other:?} is no unit; write 30s, 2m or 1h")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no duration; write 30s, 2m or 1h"))?;
    Ok(Duration::from_secs(number * seconds))
}
