//! `Identity.Sign`: who gets an SVID, and for which id.
//!
//! The id comes from the proof (what is shown at first contact, or the current SVID) and is that of the workload in
//! our own records. Of the request only the public key is taken; a name in it that is not the workload's is refused.
//! It does not know how certificates are written (ca).

use super::Services;
use super::caller::{Caller, CallerSvid};
use super::first::{Shown, failed, member};
use crate::ca::{self, CaError, Issuing, Seconds, SvidRequest};
use crate::rpc::identity::identity_server::Identity;
use crate::world::Event;
use std::time::SystemTime;
use tonic::{Request, Response, Status};
use weft_config::Member;
use weft_snapshot::{WorkloadName, svid};
use weft_wire::proto::{SignRequest, SignResponse};

#[tonic::async_trait]
impl Identity for Services {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        self.metrics.certificate_asked();
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let workload = asked.workload.clone();
        match self.signed(&caller, asked).await {
            Ok((response, name, expires)) => {
                self.metrics.certificate_issued();
                let _ = self.events.send(Event::Issued { workload: name, expires }).await;
                Ok(Response::new(response))
            }
            Err(status) => {
                self.metrics.certificate_refused();
                tracing::warn!(workload, remote = %caller.remote, reason = status.message(), "no certificate");
                Err(status)
            }
        }
    }
}

impl Services {
    async fn signed(
        &self,
        caller: &Caller,
        asked: SignRequest,
    ) -> Result<(SignResponse, WorkloadName, Seconds), Status> {
        let wrong = |error: CaError| Status::invalid_argument(error.to_string());
        let key = Issuing::requested_key(&asked.csr).map_err(wrong)?;
        let claimed = Issuing::claimed_ids(&asked.csr).map_err(wrong)?;
        let workload = named(&asked.workload)?;
        let member = match (asked.token.is_empty(), &caller.svid) {
            (false, _) => self.first.prove(Shown { token: &asked.token, workload: &workload, key: &key }).await?,
            (true, Some(svid)) => self.known(&workload, svid)?,
            (true, None) => return Err(Status::unauthenticated(self.first.wanted())),
        };
        if let Some(id) = claimed.iter().find(|id| **id != member.identity.as_str()) {
            let (name, own) = (&member.name, &member.identity);
            let refusal = format!("the request names {id}, and workload {name} is {own}; a request needs no names");
            return Err(Status::permission_denied(refusal));
        }
        let own = self.authority.issuing().control_plane().map_err(|error| failed(&error))?;
        if member.identity == own {
            let refusal = format!("{own} is the control plane's own, and {} is no replica of it", member.name);
            return Err(Status::permission_denied(refusal));
        }
        let (services, name) = (self.clone(), member.name.clone());
        let issued = tokio::task::spawn_blocking(move || services.issue(&member, &asked.csr)).await;
        let (response, expires) = issued.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok((response, name, expires))
    }

    fn issue(&self, member: &Member, csr: &[u8]) -> Result<(SignResponse, Seconds), CaError> {
        let issuing = self.authority.issuing();
        let pod = member.uid.clone().map(|uid| svid::Pod { name: member.name.clone(), uid });
        let request = SvidRequest { csr, identity: &member.identity, labels: &member.labels, pod: pod.as_ref() };
        let svid = issuing.svid(&request, ca::seconds(SystemTime::now()))?;
        let trust = issuing.trust();
        let response = SignResponse {
            chain: svid.chain,
            roots: trust.roots.clone(),
            signers: trust.signers.iter().map(|key| key.to_vec()).collect(),
            trust_domain: trust.trust_domain.clone(),
        };
        Ok((response, svid.expires))
    }

    /// The workload for which a certificate was written, as it is now.
    pub(super) fn known(&self, workload: &WorkloadName, svid: &CallerSvid) -> Result<Member, Status> {
        let member = member(&self.cell, workload)?;
        check_identity(&member, svid)?;
        Ok(member)
    }
}

pub(super) fn named(workload: &str) -> Result<WorkloadName, Status> {
    workload.parse().map_err(|error| Status::invalid_argument(format!("{error}")))
}

fn check_identity(member: &Member, svid: &CallerSvid) -> Result<(), Status> {
    let (name, wanted, shown) = (&member.name, &member.identity, &svid.identity);
    let refused = |reason| Err(Status::permission_denied(reason));
    if shown != wanted {
        return refused(format!(
            "workload {name} is {wanted}, and the certificate is of {shown}; join with a token for it"
        ));
    }
    match (&svid.pod, &member.uid) {
        (Some(pod), _) if pod.name != *name => {
            refused(format!("the certificate is of pod {}, and the proxy says that it is {name}", pod.name))
        }
        (Some(pod), Some(uid)) if pod.uid != *uid => {
            let gone = &pod.uid;
            refused(format!(
                "the certificate is of the pod {name} of uid {gone}, which is gone; join with its own token"
            ))
        }
        (Some(_), None) => refused(format!("the certificate is of a pod, and {name} is none; join with its own token")),
        (None, Some(_)) => {
            refused(format!("{name} is a pod, and the certificate is bound to none; join with its token"))
        }
        (Some(_), Some(_)) | (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_certificate_is_good_for_its_own_workload_alone() {
        let id = |account: &str| format!("spiffe://t/ns/shop/sa/{account}").parse().unwrap();
        let pod =
            |name: &str, uid: &str| Some(svid::Pod { name: format!("shop/{name}").parse().unwrap(), uid: uid.into() });
        let rows = [
            ("itself", "cart", pod("cart-1", "u1"), Some("u1"), None),
            ("no pods", "cart", None, None, None),
            (
                "another account",
                "till",
                pod("cart-1", "u1"),
                Some("u1"),
                Some("certificate is of spiffe://t/ns/shop/sa/till"),
            ),
            ("another pod", "cart", pod("cart-2", "u1"), Some("u1"), Some("of pod shop/cart-2")),
            ("an earlier pod of its name", "cart", pod("cart-1", "u0"), Some("u1"), Some("uid u0, which is gone")),
            ("a pod for a workload entry", "cart", pod("cart-1", "u1"), None, Some("is none")),
            ("a workload entry for a pod", "cart", None, Some("u1"), Some("bound to none")),
        ];
        for (row, account, pod, uid, want) in rows {
            let member = Member {
                name: "shop/cart-1".parse().unwrap(),
                identity: id("cart"),
                labels: Default::default(),
                uid: uid.map(str::to_owned),
            };
            let svid = CallerSvid { identity: id(account), expires: 0, pod };
            let refusal = check_identity(&member, &svid).err().map(|status| status.message().to_owned());
            match want {
                None => assert_eq!(refusal, None, "{row}"),
                Some(want) => assert!(refusal.as_ref().is_some_and(|text| text.contains(want)), "{row}: {refusal:?}"),
            }
        }
    }
}
