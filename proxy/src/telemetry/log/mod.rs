//! The access log: workers write finished lines into rings of their own, one thread carries them out.
//!
//! A worker never waits: where its ring is full the line is dropped and counted.

mod line;
mod pen;
mod ring;
mod stamp;

use crate::record::Record;
use line::Line;
use ring::Ring;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// What each worker's ring holds: at 400 bytes a line, 650 lines.
const RING_BYTES: usize = 256 * 1024;

/// Lines are carried out at least this often while there are any.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the thread sleeps when there is nothing, unless a worker wakes it.
const SLEEP: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub target: LogTarget,
    pub format: LogFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    /// Appended to; made where it is missing.
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug)]
pub(super) struct AccessLog {
    shared: Arc<Shared>,
    format: LogFormat,
    orders: SyncSender<SyncSender<()>>,
    writer: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    rings: Vec<Ring>,
    asleep: AtomicBool,
    failed: AtomicU64,
}

/// A worker's pen.
pub(super) struct Journal {
    shared: Arc<Shared>,
    worker: usize,
    line: Line,
    writer: Thread,
}

impl AccessLog {
    pub(super) fn open(options: LogOptions, workers: usize) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match &options.target {
            LogTarget::Stdout => Box::new(io::stdout()),
            LogTarget::File(path) => Box::new(open(path)?),
        };
        let rings = (0..workers).map(|_| Ring::new(RING_BYTES)).collect();
        let shared = Arc::new(Shared { rings, asleep: AtomicBool::new(false), failed: AtomicU64::new(0) });
        let (orders, taken) = sync_channel(4);
        let of_thread = shared.clone();
        let writer = std::thread::Builder::new()
            .name("weft-access-log".to_owned())
            .spawn(move || carry_out(&of_thread, out, &taken))?;
        Ok(Self { shared, format: options.format, orders, writer })
    }

    pub(super) fn journal(&self, worker: usize) -> Journal {
        let writer = self.writer.thread().clone();
        Journal { shared: self.shared.clone(), worker, line: Line::new(self.format), writer }
    }

    /// Returns when all lines that were in the rings are written, or after a second.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.orders.try_send(done).is_ok() {
            self.writer.thread().unpark();
            let _ = wait.recv_timeout(SLEEP);
        }
    }

    /// Lines that found no room, and lines that could not be written.
    pub(super) fn lost(&self) -> u64 {
        let dropped: u64 = self.shared.rings.iter().map(Ring::dropped).sum();
        dropped + self.shared.failed.load(Ordering::Relaxed)
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("access log {}: {error}", path.display())))
}

impl Journal {
    pub(super) fn write(&mut self, record: &Record) {
        let filled = self.shared.rings[self.worker].push(self.line.format(record));
        // A lost race costs at most SLEEP; a fence here would cost every request.
        let asleep = self.shared.asleep.load(Ordering::Relaxed) && self.shared.asleep.swap(false, Ordering::AcqRel);
        if filled == ring::Filled::PastHalf || asleep {
            self.writer.unpark();
        }
    }
}

fn carry_out(shared: &Shared, mut out: Box<dyn Write + Send>, orders: &Receiver<SyncSender<()>>) {
    let mut lines = Vec::new();
    loop {
        let order = orders.try_recv();
        lines.clear();
        for ring in &shared.rings {
            ring.drain_into(&mut lines);
        }
        if !lines.is_empty() && out.write_all(&lines).and_then(|()| out.flush()).is_err() {
            let count = lines.iter().filter(|byte| **byte == b'\n').count();
            shared.failed.fetch_add(count as u64, Ordering::Relaxed);
        }
        match order {
            Ok(done) => {
                // Nobody waits any more where it cannot be sent.
                let _ = done.try_send(());
            }
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            Err(std::sync::mpsc::TryRecvError::Empty) if lines.is_empty() => {
                shared.asleep.store(true, Ordering::Release);
                std::thread::park_timeout(SLEEP);
                shared.asleep.store(false, Ordering::Release);
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => std::thread::park_timeout(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests;
