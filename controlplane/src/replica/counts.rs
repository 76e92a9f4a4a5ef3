//! What another replica counts, followed as long as the connection lasts; and how that is put into messages.
//!
//! It does not know what is made of it.

use super::connect::{ConnectError, connect};
use crate::ca::Issuing;
use crate::rpc::replicas::replicas_client::ReplicasClient;
use crate::status::ProxyLine;
use crate::world::{Count, Tallies, Tally};
use std::net::SocketAddr;
use std::time::Duration;
use tonic::Status;
use weft_wire::MESSAGE_BYTES_MAX;
use weft_wire::proto::{ConnectedRequest, CountRequest, Counts, ObjectCount};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the replica at {address} does not say what its proxies run: {reason}")]
    Refused { address: SocketAddr, reason: String },
}

/// Calls `heard` with all that the replica counts, each time that it has changed. Returns when the replica is gone.
pub(crate) async fn follow(
    address: SocketAddr,
    issuing: &Issuing,
    mut heard: impl FnMut(&Tallies),
) -> Result<(), FollowError> {
    let refused = |status: Status| FollowError::Refused { address, reason: status.message().to_owned() };
    let channel = connect(address, issuing).await?;
    let mut client = ReplicasClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut told = client.count(CountRequest {}).await.map_err(refused)?.into_inner();
    let mut tallies = Tallies::new();
    while let Some(counts) = told.message().await.map_err(refused)? {
        take(&mut tallies, counts);
        heard(&tallies);
    }
    Ok(())
}

/// The proxies that are connected to this replica.
pub(crate) async fn connected(address: SocketAddr, issuing: &Issuing) -> Result<Vec<ProxyLine>, FollowError> {
    let refused = |reason: String| FollowError::Refused { address, reason };
    let channel = connect(address, issuing).await?;
    let mut client = ReplicasClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = tokio::time::timeout(ANSWER_MAX, client.connected(ConnectedRequest {})).await;
    let answer = answer.map_err(|_| refused(format!("no answer within {ANSWER_MAX:?}")))?;
    let answer = answer.map_err(|status| refused(status.message().to_owned()))?;
    serde_json::from_slice(&answer.into_inner().proxies).map_err(|error| refused(error.to_string()))
}

pub(crate) fn said_of(path: &str, tally: &Tally) -> ObjectCount {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ObjectCount {
        path: path.to_owned(),
        digest: tally.digest.to_string(),
        affected: number(tally.count.affected),
        acknowledged: number(tally.count.acknowledged),
    }
}

/// What cannot be read counts nothing.
fn take(tallies: &mut Tallies, counts: Counts) {
    for said in counts.objects {
        let path = said.path.as_str().into();
        match said.digest.parse() {
            Ok(digest) if said.affected > 0 => {
                let count = Count { affected: said.affected as usize, acknowledged: said.acknowledged as usize };
                tallies.insert(path, Tally { digest, count });
            }
            _ => drop(tallies.remove(&path)),
        }
    }
}

const ANSWER_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use weft_snapshot::Digest;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let tally = Tally { digest: Digest([7; 32]), count: Count { affected: 3, acknowledged: 2 } };
        let mut heard = Tallies::new();
        take(&mut heard, Counts { objects: vec![said_of("VirtualService/shop/a", &tally)] });
        assert_eq!(heard, Tallies::from([("VirtualService/shop/a".into(), tally)]));
        let gone = ObjectCount { path: "VirtualService/shop/a".to_owned(), ..ObjectCount::default() };
        take(&mut heard, Counts { objects: vec![gone] });
        assert_eq!(heard, Tallies::new());
    }
}
