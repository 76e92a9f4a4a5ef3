//! How far the proxy is: starting, serving, draining, leaving.
//!
//! Whoever learns of a stage tells it here (listeners, signals, the admin port); whoever acts on it watches.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not everything that serves is up yet.
    Starting,
    /// Listeners are up; ready as soon as there is a plan.
    Serving,
    /// Not ready any more; open connections are served and asked to end.
    Draining,
    /// As draining, and the process ends when that is done.
    Leaving,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        }
    }
}

/// The one value, and those who watch it.
#[derive(Debug)]
pub struct Stages(watch::Sender<Stage>);

impl Default for Stages {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::Starting))
    }
}

impl Stages {
    pub fn now(&self) -> Stage {
        *self.0.borrow()
    }

    pub fn watch(&self) -> watch::Receiver<Stage> {
        self.0.subscribe()
    }

    /// Stages are left forwards only: what drains does not serve again.
    pub fn reach(&self, stage: Stage) {
        self.0.send_if_modified(|now| {
            let forwards = stage > *now;
            if forwards {
                *now = stage;
            }
            forwards
        });
    }
}
