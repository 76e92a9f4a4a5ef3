//! The stream as the loop sees it: down, opening, or up, and what waits to be said on it.
//!
//! It decides nothing: when to open and what an update means are the loop's.

use super::held::Candidate;
use super::session::Session;
use super::task::Task;
use std::time::Duration;
use tokio::time::Instant;
use weft_snapshot::Host;
use weft_wire::proto::{self, from_proxy};

pub(super) enum Link {
    Down {
        retry_at: Instant,
    },
    Opening {
        number: u64,
        /// What apps asked for since hello was written.
        wishes: proto::Subscribe,
        _task: Task,
    },
    Up(Box<Up>),
}

pub(super) struct Up {
    pub(super) session: Session,
    _task: Task,
    since: Instant,
    /// Waits for its artifacts.
    pub(super) applying: Option<(Candidate, Task)>,
    /// Subscriptions for which the control plane has had no room yet.
    wishes: proto::Subscribe,
}

impl Link {
    pub(super) fn opening(number: u64, task: Task) -> Self {
        Self::Opening { number, wishes: proto::Subscribe::default(), _task: task }
    }

    /// Turns an opening link into an open one. False: the session is not the one that was being opened.
    pub(super) fn opened(&mut self, session: Session, now: Instant) -> bool {
        let down = Self::Down { retry_at: now };
        match std::mem::replace(self, down) {
            Self::Opening { number, wishes, _task } if number == session.number => {
                *self = Self::Up(Box::new(Up { session, _task, since: now, applying: None, wishes }));
                true
            }
            other => {
                *self = other;
                false
            }
        }
    }

    pub(super) fn is_current(&self, session: u64) -> bool {
        match self {
            Self::Down { .. } => false,
            Self::Opening { number, .. } => *number == session,
            Self::Up(up) => up.session.number == session,
        }
    }

    /// Has been up for so long that the next failure is not the same one again.
    pub(super) fn is_stable(&self, after: Duration) -> bool {
        matches!(self, Self::Up(up) if up.since.elapsed() >= after)
    }

    /// Without a stream there is nobody to tell, and nothing to keep: hello will name all.
    pub(super) fn send(&self, message: from_proxy::Message) -> Result<(), String> {
        match self {
            Self::Up(up) => up.session.send(message),
            _ => Ok(()),
        }
    }

    /// As `send`; while the control plane is slow wishes are gathered instead of sent one by one.
    pub(super) fn subscribe(&mut self, add: &[Host], remove: &[Host]) -> Result<(), String> {
        let wishes = match self {
            Self::Down { .. } => return Ok(()),
            Self::Opening { wishes, .. } => wishes,
            Self::Up(up) => &mut up.wishes,
        };
        wishes.add.extend(add.iter().map(ToString::to_string));
        wishes.remove.extend(remove.iter().map(ToString::to_string));
        if wishes.add.len() + wishes.remove.len() > WISHES_MAX {
            return Err("the control plane does not keep up with subscriptions".to_owned());
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<(), String> {
        match self {
            Self::Up(up) if up.waits() && up.session.has_room() => {
                let wishes = std::mem::take(&mut up.wishes);
                up.session.send(from_proxy::Message::Subscribe(wishes))
            }
            _ => Ok(()),
        }
    }

    /// An update waits for its artifacts.
    pub(super) fn is_applying(&self) -> bool {
        matches!(self, Self::Up(up) if up.applying.is_some())
    }

    /// There are wishes that an open stream had no room for.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Self::Up(up) if up.waits())
    }
}

impl Up {
    fn waits(&self) -> bool {
        !(self.wishes.add.is_empty() && self.wishes.remove.is_empty())
    }
}

/// Gathered wishes; beyond this the stream is opened anew, whose hello names each host once.
const WISHES_MAX: usize = 16 * 1024;
