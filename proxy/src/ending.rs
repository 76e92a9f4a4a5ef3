//! Signals, the app's end, and how the proxy ends without losing what it has begun.
//!
//! First peers are told, then the inbound side finishes, then the app ends (or falls quiet), then the outbound side.
//! All of it within the drain limit; a second signal skips the rest.

use crate::admin::{Stage, Stages};
use crate::app::Running;
use crate::child::{App, exit_code};
use crate::control::Control;
use crate::plan::PlanCell;
use crate::worker::{Phase, Remaining};
use anyhow::Context;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A running proxy, and what is needed to end it.
pub struct Ending {
    pub phase: watch::Sender<Phase>,
    pub stages: Arc<Stages>,
    pub plans: Arc<PlanCell>,
    pub workers: Vec<Running>,
    pub control: Option<Control>,
    pub drain: Duration,
    pub outbound: Option<SocketAddr>,
}

/// Signals of the operating system.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    passed: Vec<(SignalKind, Signal)>,
}

/// What the loop waits for.
enum Event {
    End,
    Pass(SignalKind),
    Stage(Stage),
    AppEnded(std::io::Result<ExitStatus>),
    PlanIsThere,
}

/// The app, as far as this process knows it.
enum Behind<'a> {
    Running(&'a mut App),
    Gone,
    /// Somebody else runs it: all that shows is whether it still calls out.
    Unknown,
}

impl Ending {
    /// Until the end; runs the app meanwhile, if there is one.
    pub fn run(mut self, command: &[OsString]) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let code = runtime.block_on(self.serve(command));
        self.phase.send_replace(Phase::Stopping);
        for running in self.workers {
            // A panic there has been reported by its own thread.
            let _ = running.thread.join();
        }
        if let Some(control) = self.control {
            control.stop();
        }
        code
    }

    async fn serve(&mut self, command: &[OsString]) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        // Who sees that the proxy is ready may end it: gently, from then on.
        self.stages.reach(Stage::Serving);
        let mut stages = self.stages.watch();
        // The admin port may have been told to end before anybody watched.
        stages.mark_changed();
        let mut changes = self.plans.changes();
        let mut failure = self.control.as_mut().and_then(Control::failure);
        let mut waiting = !command.is_empty();
        let mut app: Option<App> = None;
        loop {
            let event = tokio::select! {
                event = signals.next() => event,
                Ok(()) = stages.changed() => Event::Stage(*stages.borrow_and_update()),
                status = ended(app.as_mut()), if app.is_some() => Event::AppEnded(status),
                Ok(_) = changes.wait_for(|generation| *generation > 0), if waiting => Event::PlanIsThere,
                failed = failed(failure.as_mut()), if failure.is_some() => return Err(failed),
            };
            match event {
                Event::End => self.stages.reach(Stage::Leaving),
                Event::Pass(kind) => app.iter().for_each(|app| app.signal(kind.as_raw_value())),
                Event::PlanIsThere => {
                    waiting = false;
                    app = Some(App::start(command, self.outbound)?);
                }
                Event::AppEnded(status) => {
                    let status = status.context("cannot wait for the app")?;
                    tracing::info!(%status, "the app has ended");
                    self.stages.reach(Stage::Leaving);
                    self.end_workers(&mut signals, Behind::Gone).await;
                    return Ok(ExitCode::from(exit_code(status)));
                }
                Event::Stage(Stage::Draining) => drop(self.phase.send_replace(Phase::Asking)),
                Event::Stage(Stage::Leaving) => return Ok(self.leave(&mut signals, app).await),
                Event::Stage(Stage::Starting | Stage::Serving) => {}
            }
        }
    }

    async fn leave(&mut self, signals: &mut Signals, mut app: Option<App>) -> ExitCode {
        tracing::info!(limit = ?self.drain, "draining; a second signal ends at once");
        if let Some(control) = &self.control {
            control.leave();
        }
        self.end_workers(signals, app.as_mut().map_or(Behind::Unknown, Behind::Running)).await;
        match app {
            Some(mut app) => ExitCode::from(end_app(&mut app).await),
            None => ExitCode::SUCCESS,
        }
    }

    /// Inbound, app, outbound, each as far as it comes within the limit.
    async fn end_workers(&mut self, signals: &mut Signals, app: Behind<'_>) {
        let ended = async {
            self.phase.send_replace(Phase::InboundEnds);
            let remaining: Vec<Arc<Remaining>> = self.workers.iter().map(|w| Arc::clone(&w.remaining)).collect();
            let sum = |of: fn(&Remaining) -> usize| remaining.iter().map(|r| of(r)).sum::<usize>();
            // The workers have to see the phase before what they say of themselves means anything.
            tokio::time::sleep(QUIET).await;
            until(|| sum(|r| r.inbound.load(Ordering::Relaxed)) == 0).await;
            match app {
                Behind::Gone => {}
                Behind::Running(app) => {
                    app.signal(libc::SIGTERM);
                    // What it ended with is asked again by who needs it.
                    let _ = app.ended().await;
                }
                Behind::Unknown => {
                    let mut quiet = 0;
                    until(|| {
                        quiet = if sum(|r| r.outbound_busy.load(Ordering::Relaxed)) == 0 { quiet + 1 } else { 0 };
                        quiet >= QUIET_LOOKS
                    })
                    .await;
                }
            }
            self.phase.send_replace(Phase::OutboundEnds);
            until(|| self.workers.iter().all(|worker| worker.thread.is_finished())).await;
        };
        tokio::select! {
            () = ended => tracing::info!("drained"),
            () = tokio::time::sleep(self.drain) => tracing::warn!(limit = ?self.drain, "the drain limit is over; cutting what is left"),
            () = signals.second() => tracing::warn!("a second signal: cutting what is left"),
        }
    }
}

/// By SIGTERM, and where that has no effect, by force.
async fn end_app(app: &mut App) -> u8 {
    app.signal(libc::SIGTERM);
    let ended = match tokio::time::timeout(APP_GRACE, app.ended()).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(app = app.name(), "the app did not end; killing it");
            app.signal(libc::SIGKILL);
            app.ended().await
        }
    };
    ended.map_or(1, exit_code)
}

async fn ended(app: Option<&mut App>) -> std::io::Result<ExitStatus> {
    match app {
        Some(app) => app.ended().await,
        None => std::future::pending().await,
    }
}

async fn failed(failure: Option<&mut tokio::sync::oneshot::Receiver<crate::control::ControlError>>) -> anyhow::Error {
    match failure {
        Some(failure) => match failure.await {
            Ok(error) => error.into(),
            // The thread ended without a reason of its own: it is being stopped.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(LOOK).await;
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let passed = [SignalKind::hangup(), SignalKind::user_defined1(), SignalKind::user_defined2()];
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            passed: passed.into_iter().map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<_>>()?,
        })
    }

    async fn next(&mut self) -> Event {
        let passed = futures_util::future::select_all(self.passed.iter_mut().map(|(kind, signal)| {
            let kind = *kind;
            Box::pin(async move {
                signal.recv().await;
                kind
            })
        }));
        tokio::select! {
            _ = self.terminate.recv() => Event::End,
            _ = self.interrupt.recv() => Event::End,
            (kind, ..) = passed => Event::Pass(kind),
        }
    }

    async fn second(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How often a worker's state is looked at while the proxy drains.
const LOOK: Duration = Duration::from_millis(50);
/// Two ticks of a draining worker.
const QUIET: Duration = Duration::from_millis(150);
/// Looks without a request of the app after which it is taken to have finished.
const QUIET_LOOKS: u32 = 20;
/// From the app's SIGTERM to its SIGKILL, where the drain limit did not wait for it.
const APP_GRACE: Duration = Duration::from_secs(5);
