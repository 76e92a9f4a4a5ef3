//! A proxy without a control plane: whoever reads the files hands over whole snapshots, and each becomes the plan.
//!
//! It reads no file itself; filters come as artifacts that the giver has compiled and vouches for.

use crate::plan::{Artifacts, Next, Publisher};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use tokio::sync::watch;
use weft_snapshot::{Digest, Snapshot};

/// One state of the files.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub snapshot: Snapshot,
    /// Distinguishes it from the one before.
    pub revision: String,
    /// Where each filter's compiled artifact lies.
    pub artifacts: BTreeMap<Digest, PathBuf>,
}

impl Artifacts for Files {
    fn path(&self, artifact: &Digest) -> Option<PathBuf> {
        self.artifacts.get(artifact).cloned()
    }
}

/// Publishes what is told, on a thread of its own, until the giver is gone. `None`: nothing has been read yet.
pub fn follow(mut told: watch::Receiver<Option<Files>>, mut publisher: Publisher) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::thread::Builder::new().name("weft-files".to_owned()).spawn(move || {
        loop {
            let files = told.borrow_and_update().clone();
            if let Some(files) = files {
                publish(&mut publisher, &files);
            }
            if runtime.block_on(told.changed()).is_err() {
                return;
            }
        }
    })
}

fn publish(publisher: &mut Publisher, files: &Files) {
    let next = Next { snapshot: &files.snapshot, update: None, revision: &files.revision };
    match publisher.publish(&next, files) {
        Ok(_) => tracing::info!(revision = files.revision, "serving the files as they are now"),
        Err(problems) => {
            for problem in problems {
                tracing::error!(%problem, "the files cannot be served; what was served still is");
            }
        }
    }
}
