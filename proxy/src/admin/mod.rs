//! The admin port: readiness, metrics, what the proxy was told, its filters, its log level, draining.
//!
//! A thread of its own, so that a scrape never makes a request wait. It decides nothing: stages are told to whoever
//! watches them. It never shows keys.

mod control;
mod dump;
mod face;
mod level;
mod pages;
mod stage;

pub use level::{InvalidLevel, LogLevel, ProcessLog};
pub use stage::{Stage, Stages};

use crate::control::StatusCell;
use crate::plan::PlanCell;
use crate::status::{Face, Open};
use crate::telemetry::Telemetry;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use pages::Pages;
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Connections at once; more are closed at once.
const CONNECTIONS_MAX: u32 = 64;

/// A client has this long to send a request's head.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// After a failed accept (no file descriptors): time for others to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the pages show and change.
#[derive(Clone)]
pub struct Sources {
    pub plan: Arc<PlanCell>,
    pub telemetry: Arc<Telemetry>,
    pub stages: Arc<Stages>,
    /// `None` for a proxy on files.
    pub control: Option<Arc<StatusCell>>,
    /// `None` where somebody else installed the process's log.
    pub log: Option<LogLevel>,
}

/// The running port; it ends when this is dropped or stopped.
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Serves on a listener that is bound already; bind it to loopback unless told otherwise.
    pub fn start(listener: std::net::TcpListener, sources: Sources) -> io::Result<Self> {
        Self::start_with(listener, Vec::new(), sources)
    }

    /// The same, and a pod's other ports.
    pub fn start_with(listener: std::net::TcpListener, others: Vec<Open>, sources: Sources) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let tokio_listener = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listener = tokio_listener(listener)?;
        let others = others.into_iter().map(|open| Ok((tokio_listener(open.listener)?, open.face)));
        let others = others.collect::<io::Result<Vec<_>>>()?;
        drop(inside);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("weft-admin".to_owned()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                let pages = Rc::new(Pages::new(sources));
                for (listener, face) in others {
                    tokio::task::spawn_local(accept(listener, face, Rc::clone(&pages)));
                }
                tokio::select! {
                    () = accept(listener, Face::Admin, pages) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until its thread has ended.
    pub fn stop(mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, face: Face, pages: Rc<Pages>) {
    let open = Rc::new(Cell::new(0));
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "an admin or status port cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if open.get() >= CONNECTIONS_MAX {
            continue;
        }
        open.set(open.get() + 1);
        let (pages, open, face) = (pages.clone(), open.clone(), face.clone());
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(|request| {
                let (pages, face) = (pages.clone(), face.clone());
                async move { Ok::<_, std::convert::Infallible>(pages.answer(&face, remote.ip(), request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the admin port ended");
            }
            open.set(open.get() - 1);
        });
    }
}

#[cfg(test)]
mod tests;
