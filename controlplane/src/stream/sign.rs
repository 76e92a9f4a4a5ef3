//! `Identity.Sign`: who gets an SVID, and for which id.
//!
//! The id comes from the proof (a join token, or the current SVID) and must be that of the workload's own
//! WorkloadEntry. Of the request only the public key counts. It does not know how certificates are written (ca).

use super::Services;
use super::caller::Caller;
use crate::ca::{self, CaError, Issuing, Seconds, SvidRequest};
use crate::rpc::identity::identity_server::Identity;
use crate::token::used::FirstUse;
use crate::token::{Token, TokenError, Uses};
use crate::world::Event;
use std::sync::PoisonError;
use std::time::SystemTime;
use tonic::{Request, Response, Status};
use weft_config::Member;
use weft_snapshot::WorkloadName;
use weft_wire::proto::{SignRequest, SignResponse};

#[tonic::async_trait]
impl Identity for Services {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        self.metrics.certificate_asked();
        let caller = Caller::of(&request)?;
        let (services, asked) = (self.clone(), request.into_inner());
        let workload = asked.workload.clone();
        // It signs, and writes to disk that a token was used.
        let signed = tokio::task::spawn_blocking(move || services.signed(&caller, &asked)).await;
        match signed.map_err(|_| Status::internal("signing failed"))? {
            Ok((response, name, expires)) => {
                self.metrics.certificate_issued();
                let _ = self.events.send(Event::Issued { workload: name, expires }).await;
                Ok(Response::new(response))
            }
            Err(status) => {
                self.metrics.certificate_refused();
                tracing::warn!(workload, reason = status.message(), "no certificate");
                Err(status)
            }
        }
    }
}

impl Services {
    fn signed(&self, caller: &Caller, asked: &SignRequest) -> Result<(SignResponse, WorkloadName, Seconds), Status> {
        let now = ca::seconds(SystemTime::now());
        let issuing = self.authority.issuing();
        let key = Issuing::requested_key(&asked.csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let member = match asked.token.is_empty() {
            true => self.by_svid(caller, &asked.workload)?,
            false => self.by_token(&issuing, asked, &key, now)?,
        };
        let request = SvidRequest { csr: &asked.csr, identity: &member.identity, labels: &member.labels };
        let svid = issuing.svid(&request, now).map_err(failed)?;
        let trust = issuing.trust();
        let response = SignResponse {
            chain: svid.chain,
            roots: trust.roots.clone(),
            signers: trust.signers.iter().map(|key| key.to_vec()).collect(),
            trust_domain: trust.trust_domain.clone(),
        };
        Ok((response, member.name, svid.expires))
    }

    fn by_svid(&self, caller: &Caller, workload: &str) -> Result<Member, Status> {
        let Some(svid) = &caller.svid else {
            let refusal = "a join token or a current certificate is needed; make a token with: weft token create";
            return Err(Status::unauthenticated(refusal));
        };
        let member = self.member(workload)?;
        self.check_identity(&member, svid)?;
        Ok(member)
    }

    fn by_token(&self, issuing: &Issuing, asked: &SignRequest, key: &[u8; 32], now: Seconds) -> Result<Member, Status> {
        let refused = |error: TokenError| Status::permission_denied(error.to_string());
        let token: Token = asked.token.parse().map_err(refused)?;
        let claims = token.verify(issuing, now).map_err(refused)?;
        let member = self.member(&asked.workload)?;
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
            let first = used.claim(claims, key, now).map_err(|error| failed(error.into()))?;
            if first == FirstUse::No {
                return Err(refused(TokenError::Used { who: claims.who() }));
            }
        }
        Ok(member)
    }

    /// From the newest configuration, whether or not it is sent out yet.
    pub(super) fn member(&self, workload: &str) -> Result<Member, Status> {
        let name: WorkloadName = workload.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let unknown = || Status::not_found(weft_config::UnknownWorkload(name.clone()).to_string());
        self.cell.load().member(&name).ok_or_else(unknown)
    }
}

fn failed(error: CaError) -> Status {
    tracing::error!(%error, "the CA cannot sign");
    Status::internal("the CA cannot sign; its log says why")
}
