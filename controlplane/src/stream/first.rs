//! First contact: how a proxy that has no certificate yet proves for whom it comes.
//!
//! Outside of Kubernetes by a join token; there by its pod's token (kube/identity). It does not sign anything.

use crate::ca::{Authority, seconds};
use crate::token::used::{FirstUse, UsedTokens};
use crate::token::{Token, TokenError, Uses};
use crate::world::WorldCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tonic::Status;
use weft_config::Member;
use weft_snapshot::WorkloadName;

/// What a proxy shows.
pub(crate) struct Shown<'a> {
    pub(crate) token: &'a str,
    /// For whom it says that it comes; counts only as far as the token bears it out.
    pub(crate) workload: &'a WorkloadName,
    /// Of the public key to be signed.
    pub(crate) key: &'a [u8; 32],
}

#[tonic::async_trait]
pub(crate) trait FirstContact: Send + Sync {
    /// The workload as our own records have it, or a refusal that says what to do.
    async fn prove(&self, shown: Shown<'_>) -> Result<Member, Status>;

    /// For who shows nothing at all.
    fn wanted(&self) -> &'static str;
}

/// Tokens of `weft token create`.
#[derive(Clone)]
pub(crate) struct JoinTokens {
    authority: Arc<Authority>,
    cell: WorldCell,
    used: Arc<Mutex<UsedTokens>>,
}

impl JoinTokens {
    pub(crate) fn new(authority: Arc<Authority>, cell: WorldCell, used: UsedTokens) -> Self {
        Self { authority, cell, used: Arc::new(Mutex::new(used)) }
    }

    /// It writes to disk that a token was used.
    fn claim(&self, token: &Token, workload: &WorkloadName, key: &[u8; 32]) -> Result<Member, Status> {
        let now = seconds(SystemTime::now());
        let claims = token.verify(&self.authority.issuing(), now).map_err(refused)?;
        let member = member(&self.cell, workload)?;
        if claims.identity != member.identity {
            let who = format!("{}/{}", member.identity.namespace(), member.identity.service_account());
            return Err(refused(TokenError::OtherIdentity {
                token: claims.identity.to_string(),
                workload: member.name.to_string(),
                wanted: member.identity.to_string(),
                who,
            }));
        }
        if claims.uses == Uses::Once {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let first = used.claim(claims, key, now).map_err(|error| failed(&error))?;
            if first == FirstUse::No {
                return Err(refused(TokenError::Used { who: claims.who() }));
            }
        }
        Ok(member)
    }
}

#[tonic::async_trait]
impl FirstContact for JoinTokens {
    async fn prove(&self, shown: Shown<'_>) -> Result<Member, Status> {
        let token: Token = shown.token.parse().map_err(refused)?;
        let (this, workload, key) = (self.clone(), shown.workload.clone(), *shown.key);
        let claimed = tokio::task::spawn_blocking(move || this.claim(&token, &workload, &key)).await;
        claimed.map_err(|error| failed(&error))?
    }

    fn wanted(&self) -> &'static str {
        "a join token or a current certificate is needed; make a token with: weft token create"
    }
}

/// From the newest configuration, whether or not it is sent out yet.
pub(crate) fn member(cell: &WorldCell, workload: &WorkloadName) -> Result<Member, Status> {
    let unknown = || Status::not_found(weft_config::UnknownWorkload(workload.clone()).to_string());
    cell.load().member(workload).ok_or_else(unknown)
}

fn refused(error: TokenError) -> Status {
    Status::permission_denied(error.to_string())
}

/// The reason is the operator's to know, not the proxy's.
pub(super) fn failed(error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "the CA cannot sign");
    Status::internal("the CA cannot sign; its log says why")
}
