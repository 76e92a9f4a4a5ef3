//! Writes the snapshot beside whoever hands it over: of several that wait only the newest.
//!
//! A disk may take seconds; no app waits that long for what a host is.

use super::folder::StateFolder;
use arc_swap::ArcSwapOption;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use weft_wire::SnapshotFile;

/// Dropping it waits until the last snapshot is written.
#[derive(Debug)]
pub struct SnapshotWriter {
    desk: Arc<Desk>,
    /// How many were handed over.
    given: u64,
    bell: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Desk {
    next: ArcSwapOption<(u64, SnapshotFile)>,
    /// The number of the last that was written, or could not be.
    done: AtomicU64,
}

impl SnapshotWriter {
    pub fn start(state: Arc<StateFolder>) -> io::Result<Self> {
        let (desk, (bell, rings)) = (Arc::<Desk>::default(), sync_channel(1));
        let body = {
            let desk = Arc::clone(&desk);
            move || desk.work(&state, &rings)
        };
        let thread = std::thread::Builder::new().name("weft-state".to_owned()).spawn(body)?;
        Ok(Self { desk, given: 0, bell: Some(bell), thread: Some(thread) })
    }

    /// What is kept is served already: a disk that fails is logged and turns nothing into an error.
    pub fn write(&mut self, snapshot: SnapshotFile) {
        self.given += 1;
        self.desk.next.store(Some(Arc::new((self.given, snapshot))));
        if let Some(bell) = &self.bell {
            // A bell that rings already is enough.
            let _ = bell.try_send(());
        }
    }

    /// True where nothing waits to be written.
    pub fn is_idle(&self) -> bool {
        self.desk.done.load(Ordering::Acquire) == self.given
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    /// Until the bell is gone; its last ring is still heard.
    fn work(&self, state: &StateFolder, rings: &Receiver<()>) {
        while rings.recv().is_ok() {
            let Some(next) = self.next.swap(None) else { continue };
            let (number, snapshot) = &*next;
            if let Err(error) = state.save_snapshot(snapshot) {
                tracing::error!("{error}; a restart while the control plane is away would serve an older snapshot");
            }
            self.done.store(*number, Ordering::Release);
        }
    }
}
