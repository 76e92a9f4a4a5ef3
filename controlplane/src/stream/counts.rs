//! What this replica counts, told to another as it changes: at most once a second, and only what is new.
//!
//! It does not know who asks, nor what it is for.

use crate::replica::said_of;
use crate::world::{Event, Tallies};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use weft_wire::proto::{Counts, ObjectCount};

pub(super) type Told = ReceiverStream<Result<Counts, Status>>;

/// Ends with the loop, or when nobody listens any more.
pub(super) fn tell(events: mpsc::Sender<Event>, mut stirred: watch::Receiver<()>) -> Told {
    let (counts, told) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut before = Tallies::new();
        loop {
            let (answer, asked) = oneshot::channel();
            if events.send(Event::Tallies(answer)).await.is_err() {
                return;
            }
            let Ok(now) = asked.await else { return };
            let objects = changes(&before, &now);
            if !objects.is_empty() && counts.send(Ok(Counts { objects })).await.is_err() {
                return;
            }
            before = now;
            let stirs = async {
                tokio::time::sleep(PAUSE).await;
                stirred.changed().await
            };
            tokio::select! {
                stirs = stirs => if stirs.is_err() { return },
                () = counts.closed() => return,
                () = events.closed() => return,
            }
        }
    });
    ReceiverStream::new(told)
}

fn changes(before: &Tallies, now: &Tallies) -> Vec<ObjectCount> {
    let set = now.iter().filter(|(path, tally)| before.get(*path) != Some(*tally));
    let set = set.map(|(path, tally)| said_of(path, tally));
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    set.chain(gone.map(|path| ObjectCount { path: path.to_string(), ..ObjectCount::default() })).collect()
}

const PAUSE: Duration = Duration::from_secs(1);
