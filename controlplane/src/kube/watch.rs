//! One watch per kind: a list, then changes, for ever, whatever becomes of the connection.
//!
//! It says what was seen; what counts of it is `source`'s. It does not know which kinds there are (kinds).

use super::trim::{Seen, path, version};
use futures_util::{Stream, StreamExt};
use kube::api::{Api, ListParams};
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a watch says.
#[derive(Debug)]
pub(super) enum Change {
    /// All that there is of a kind; what was there before and is not in it is gone.
    Listed {
        kind: &'static str,
        all: Vec<Seen>,
        /// How far the API server had come before it: an object that is gone has no version in the list.
        version: u64,
    },
    Set {
        kind: &'static str,
        seen: Box<Seen>,
    },
    Gone {
        kind: &'static str,
        path: Arc<str>,
        version: u64,
    },
    /// Whether the cluster's schema of a kind knows the field `filters`.
    Schema {
        kind: &'static str,
        filters: bool,
    },
}

pub(super) type Changes = mpsc::Sender<Change>;

/// Ends when nobody listens any more.
pub(super) async fn follow<K>(
    api: Api<K>,
    selection: watcher::Config,
    kind: &'static str,
    seen: impl Fn(&K) -> Option<Seen>,
    changes: Changes,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut stream = std::pin::pin!(events(api.clone(), selection));
    let (mut listing, mut before) = (Vec::new(), 0);
    let mut patience = Patience::default();
    while let Some(event) = stream.next().await {
        let change = match event {
            Ok(watcher::Event::Init) => {
                listing.clear();
                before = come_to(&api).await;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listing.extend(seen(&object));
                continue;
            }
            Ok(watcher::Event::InitDone) => Change::Listed { kind, all: std::mem::take(&mut listing), version: before },
            Ok(watcher::Event::Apply(object)) => match seen(&object) {
                Some(seen) => Change::Set { kind, seen: Box::new(seen) },
                None => gone(kind, &object),
            },
            Ok(watcher::Event::Delete(object)) => gone(kind, &object),
            Err(error) => {
                tracing::warn!(kind, %error, "watch broke; what is known counts on, and it is tried again");
                tokio::time::sleep(patience.wait(chance())).await;
                continue;
            }
        };
        patience = Patience::default();
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

fn gone<K: Resource>(kind: &'static str, object: &K) -> Change {
    let path = path(kind, object.namespace().as_deref().unwrap_or_default(), &object.name_any());
    Change::Gone { kind, path, version: version(object.meta()) }
}

/// The API server's version now; 0 where it does not say: the objects' own then count alone.
async fn come_to<K: Clone + DeserializeOwned + Debug>(api: &Api<K>) -> u64 {
    let one = ListParams::default().limit(1);
    let list = api.list_metadata(&one).await.ok();
    list.and_then(|list| list.metadata.resource_version?.parse().ok()).unwrap_or(0)
}

/// The events of a kind, as kube's watcher gives them.
pub(super) fn events<K>(
    api: Api<K>,
    selection: watcher::Config,
) -> impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, selection.timeout(WATCH_SECONDS))
}

/// Twice as long after each failure, with a little chance so that not all kinds ask at once. kube's own waits up to
/// 30 s, and a change made while the server was away has to arrive within 35 s of its return; and it takes the
/// beginning of a list, which is no answer yet, for a success.
#[derive(Debug, Default)]
struct Patience {
    failures: u32,
}

impl Patience {
    /// `chance` from 0 to 1.
    fn wait(&mut self, chance: f64) -> Duration {
        let wait = WAIT.saturating_mul(1 << self.failures.min(8)).min(WAIT_MAX);
        self.failures += 1;
        wait + wait.mul_f64(0.2 * chance)
    }
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut bytes = [0; 2];
    // Without chance all kinds wait equally long, which is no harm.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

/// The server ends a watch after this long, and the watcher gives up on a silent one 5 s later.
const WATCH_SECONDS: u32 = 25;
const WAIT: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_and_ends() {
        let mut patience = Patience::default();
        let waits: Vec<u128> = (0..8).map(|_| patience.wait(0.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3000, 3000, 3000, 3000]);
        assert_eq!(patience.wait(1.0).as_millis(), 3600);
    }
}
