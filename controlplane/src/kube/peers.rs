//! The other replicas of this control plane at work: who compiles for all, and who has what a registry does not give.
//!
//! It finds them and chooses; how they are asked is `replica`'s.

use super::Cluster;
use super::replicas::{Replica, ready_replicas};
use crate::artifacts::{LastGood, Made, Peers, Stock};
use crate::ca::Authority;
use crate::replica;
use std::sync::Arc;
use weft_snapshot::Digest;

pub(crate) struct ClusterPeers {
    cluster: Cluster,
    authority: Arc<Authority>,
    port: u16,
}

impl ClusterPeers {
    pub(crate) fn new(cluster: Cluster, authority: Arc<Authority>, port: u16) -> Self {
        Self { cluster, authority, port }
    }
}

#[tonic::async_trait]
impl Peers for ClusterPeers {
    async fn make(&self, component: Digest, key: &str, stock: &Stock) -> Made {
        let others = ready_replicas(&self.cluster, self.port).await;
        let Some(maker) = maker(&others, &self.cluster.here.replica) else { return Made::Here };
        match replica::make(maker.address, &self.authority.issuing(), (component, key), stock).await {
            Ok(()) => Made::There,
            Err(error) => {
                tracing::info!(%component, key, maker = maker.name, "{error}; compiled here instead");
                Made::Here
            }
        }
    }

    async fn last_good(&self, filter: &str, stock: &Stock) -> Option<LastGood> {
        for other in ready_replicas(&self.cluster, self.port).await {
            match replica::last_good(other.address, &self.authority.issuing(), filter, stock).await {
                Ok(Some(found)) => return Some(found),
                Ok(None) => {}
                Err(error) => tracing::warn!("{error}"),
            }
        }
        None
    }
}

/// The first by name, which all agree on who see each other; none where that is this one. `others` are by name.
fn maker<'a>(others: &'a [Replica], own: &str) -> Option<&'a Replica> {
    others.first().filter(|first| first.name.as_str() < own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_by_name_makes_for_all() {
        let replica = |name: &str| Replica { name: name.to_owned(), address: ([10, 0, 0, 1], 15012).into() };
        let cases: [(&[&str], Option<&str>); 4] =
            [(&[], None), (&["a"], Some("a")), (&["c"], None), (&["a", "c"], Some("a"))];
        for (others, want) in cases {
            let others: Vec<Replica> = others.iter().map(|name| replica(name)).collect();
            assert_eq!(maker(&others, "b").map(|maker| maker.name.as_str()), want, "{others:?}");
        }
    }
}
