//! Open-loop load: a request is due at its time whether or not the others have been answered, and its latency counts from
//! then on. Nothing is retried.

use crate::call::{Answer, Connection, Target, Version};
use crate::judge::{Expect, Patience, Tally};
use clap::Args;
use http_body_util::{BodyExt, Empty};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

#[derive(Args)]
pub(crate) struct Options {
    url: String,
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[arg(long)]
    http2: bool,
    /// Requests in a second
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// One request in so many is the only one on its connection
    #[arg(long, default_value_t = 10, value_name = "N")]
    fresh: u64,
    #[command(flatten)]
    expect: Expect,
    #[command(flatten)]
    patience: Patience,
}

/// Requests at once; what is due beyond that is a failure of its own.
const OPEN_MAX: usize = 10_000;

struct Run {
    target: Target,
    expect: Expect,
    give_up: Duration,
    idle: Mutex<VecDeque<Connection>>,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Tally> {
    let version = if options.http2 { Version::Http2 } else { Version::Http1 };
    let run = Arc::new(Run {
        target: Target::new(&options.url, version, &options.headers)?.looked_up().await?,
        expect: options.expect,
        give_up: options.patience.give_up(),
        idle: Mutex::default(),
    });
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut end = std::pin::pin!(end_of_input());
    let (mut open, mut tally, mut made) = (JoinSet::new(), Tally::new(options.patience), 0);
    loop {
        let due = tokio::select! {
            biased;
            () = &mut end => break,
            Some(Ok((took, outcome))) = open.join_next() => { tally.record(took, outcome); continue }
            due = ticks.tick() => due,
        };
        made += 1;
        if open.len() >= OPEN_MAX {
            tally.record(Duration::ZERO, Err(format!("{OPEN_MAX} requests are open already")));
            continue;
        }
        let (run, fresh) = (Arc::clone(&run), options.fresh > 0 && made % options.fresh == 0);
        open.spawn(async move {
            let outcome = tokio::time::timeout_at(due + run.give_up, run.one(fresh)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {:?}", run.give_up)));
            (due.elapsed(), outcome.and_then(|answer| run.judge(&answer)))
        });
    }
    while let Some(Ok((took, outcome))) = open.join_next().await {
        tally.record(took, outcome);
    }
    Ok(tally)
}

/// The one who started the load ends it by closing its standard input.
pub(crate) async fn end_of_input() {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}

impl Run {
    async fn one(&self, fresh: bool) -> Result<Answer, String> {
        let (connection, sent) = loop {
            let kept = if fresh { None } else { self.kept() };
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.target.connect().await.map_err(|error| format!("{error:#}"))?,
            };
            let body = Empty::new().map_err(|never| match never {}).boxed();
            let request = self.target.request(body).map_err(|error| error.to_string())?;
            match connection.send(request).await {
                Ok(response) => break (connection, response),
                // An idle connection may end at any time. Nothing was sent on this one, so that the next is no retry.
                Err(error) if is_kept && (error.is_canceled() || error.is_closed()) => {}
                Err(error) => return Err(format!("{error}: {error:?}")),
            }
        };
        let answer = Answer::of(sent).await.map_err(|error| format!("body: {error}: {error:?}"))?;
        if !fresh && answer.header("connection") != Some("close") {
            self.idle().push_back(connection);
        }
        Ok(answer)
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle();
        while let Some(connection) = idle.pop_front() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The app that answered.
    fn judge(&self, answer: &Answer) -> Result<Option<String>, String> {
        self.expect.judge(answer)?;
        Ok(answer.header("x-app").map(str::to_owned))
    }
}
