//! What the other replicas count, so that a status tells of all proxies and not of those alone that are connected here.
//!
//! Each that is Ready is followed while this one writes; of one that is gone nothing counts any more, for its proxies
//! connect elsewhere.

use super::{Here, Shared};
use crate::replica::follow;
use crate::world::{Standing, Tallies};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weft_config::World;
use weft_snapshot::WorkloadName;

pub(super) struct Others {
    here: Here,
    shared: Shared,
    heard: Heard,
    followers: BTreeMap<SocketAddr, Follower>,
}

/// Ends when it is dropped.
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone)]
struct Heard {
    tallies: Arc<Mutex<BTreeMap<SocketAddr, Tallies>>>,
    stirred: watch::Sender<()>,
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Tallies>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, address: SocketAddr, tallies: Tallies) {
        self.lock().insert(address, tallies);
        self.stirred.send_replace(());
    }
}

impl Others {
    pub(super) fn new(here: &Here, shared: &Shared) -> Self {
        let heard = Heard { tallies: Arc::default(), stirred: shared.stirred.clone() };
        Self { here: here.clone(), shared: shared.clone(), heard, followers: BTreeMap::new() }
    }

    /// Follows those that there are now.
    pub(super) fn look(&mut self) {
        let now: BTreeSet<SocketAddr> = self.here.others(&self.shared.cell.load()).into_iter().collect();
        self.followers.retain(|address, _| now.contains(address));
        self.heard.lock().retain(|address, _| now.contains(address));
        for address in now {
            let (shared, heard) = (&self.shared, &self.heard);
            let start = || Follower(tokio::spawn(listen(address, shared.clone(), heard.clone())));
            self.followers.entry(address).or_insert_with(start);
        }
    }

    pub(super) fn forget(&mut self) {
        self.followers.clear();
        self.heard.lock().clear();
    }

    pub(super) fn add_to(&self, standing: &mut Standing) {
        self.heard.lock().values().for_each(|tallies| standing.add(tallies));
    }
}

async fn listen(address: SocketAddr, shared: Shared, heard: Heard) {
    loop {
        let issuing = shared.authority.issuing();
        let ended = follow(address, &issuing, |tallies| heard.set(address, tallies.clone())).await;
        if let Err(error) = ended {
            tracing::info!("{error}; it is asked again");
        }
        heard.set(address, Tallies::new());
        tokio::time::sleep(AGAIN).await;
    }
}

impl Here {
    /// Other replicas that are Ready, as the world has them.
    pub(crate) fn others(&self, world: &World) -> Vec<SocketAddr> {
        let own = WorkloadName { namespace: self.namespace.clone(), name: self.replica.clone() };
        let places = world.located(&self.namespace, SERVICE);
        let other = places.into_iter().filter(|(_, pod)| pod.as_ref() != Some(&own));
        other.map(|(address, _)| SocketAddr::new(address, self.port)).collect()
    }
}

const SERVICE: &str = "weft-controlplane";
const AGAIN: Duration = Duration::from_secs(1);
