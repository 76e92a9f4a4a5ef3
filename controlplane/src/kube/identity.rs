//! First contact of pods: the API server says whose token it is, and our own cache what that pod is.
//!
//! Nothing that the proxy says of itself counts, beyond that it must agree. It does not write certificates.

use super::said;
use crate::stream::{FirstContact, Shown};
use crate::world::WorldCell;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Code, Status};
use weft_config::Member;
use weft_snapshot::WorkloadName;

/// Projected service-account tokens.
pub(crate) struct PodTokens {
    api: Api<TokenReview>,
    cell: WorldCell,
    reviewing: Semaphore,
}

/// The pod to which a token is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    pod: WorkloadName,
    uid: String,
    account: String,
}

/// Each reaches the person who reads the log of the sidecar.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this control plane serves a cluster and takes no join token; {REMEDY}")]
    JoinToken,
    #[error("the API server of this cluster does not accept the token: {reason}; {REMEDY}")]
    NotAuthentic { reason: String },
    #[error("the token is not for the audience {AUDIENCE} (it is for {found:?}); {REMEDY}")]
    Audience { found: Vec<String> },
    #[error("the token is of {user}, which is no service account; {REMEDY}")]
    NoAccount { user: String },
    #[error("the token of {user} is bound to no pod; {REMEDY}")]
    Unbound { user: String },
    #[error("the token is of pod {pod}, and the proxy says that it is {claimed}; give --workload the pod's own name")]
    OtherWorkload { pod: WorkloadName, claimed: WorkloadName },
    #[error("the token is of the pod {pod} of uid {uid}, and the pod of that name is another by now (uid {now})")]
    OtherPod { pod: WorkloadName, uid: String, now: String },
    #[error("the token is of service account {token}, and pod {pod} runs as {now}")]
    OtherAccount { pod: WorkloadName, token: String, now: String },
    #[error("this control plane has not seen pod {pod} (uid {uid}) within {PATIENCE:?}; try again")]
    Unseen { pod: WorkloadName, uid: String },
    #[error("the API server cannot be asked about the token: {reason}; try again")]
    NoAnswer { reason: String },
}

impl PodTokens {
    pub(crate) fn new(client: Client, cell: WorldCell) -> Self {
        Self { api: Api::all(client), cell, reviewing: Semaphore::new(REVIEWS_MAX) }
    }

    async fn review(&self, token: &str) -> Result<TokenReviewStatus, Refusal> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let parameters = PostParams::default();
        let asked = async {
            let _turn = self.reviewing.acquire().await;
            self.api.create(&parameters, &review).await
        };
        let no_answer = |reason| Refusal::NoAnswer { reason };
        let answer = tokio::time::timeout(REVIEW_MAX, asked).await;
        let answer = answer.map_err(|_| no_answer(format!("it did not answer within {REVIEW_MAX:?}")))?;
        Ok(answer.map_err(|error| no_answer(said(&error)))?.status.unwrap_or_default())
    }

    /// A pod asks within milliseconds of its start: our watch may be behind.
    async fn wait(&self, bound: &Bound) -> Result<Member, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let member = self.cell.load().member(&bound.pod);
            let uid = member.as_ref().and_then(|member| member.uid.clone());
            match (member, uid) {
                (Some(member), Some(uid)) if uid == bound.uid => return bound.check(member),
                (_, Some(now)) if Instant::now() >= deadline => {
                    return Err(Refusal::OtherPod { pod: bound.pod.clone(), uid: bound.uid.clone(), now });
                }
                _ if Instant::now() >= deadline => {
                    return Err(Refusal::Unseen { pod: bound.pod.clone(), uid: bound.uid.clone() });
                }
                _ => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    async fn proven(&self, shown: &Shown<'_>) -> Result<Member, Refusal> {
        if shown.token.starts_with("weft1:") {
            return Err(Refusal::JoinToken);
        }
        let bound = Bound::of(self.review(shown.token).await?)?;
        if bound.pod != *shown.workload {
            return Err(Refusal::OtherWorkload { pod: bound.pod, claimed: shown.workload.clone() });
        }
        self.wait(&bound).await
    }
}

#[tonic::async_trait]
impl FirstContact for PodTokens {
    async fn prove(&self, shown: Shown<'_>) -> Result<Member, Status> {
        self.proven(&shown).await.map_err(|refusal| Status::new(refusal.code(), refusal.to_string()))
    }

    fn wanted(&self) -> &'static str {
        "a pod's token or a current certificate is needed; mount a projected serviceAccountToken of audience weft-ca, \
         as injection does"
    }
}

impl Bound {
    fn of(status: TokenReviewStatus) -> Result<Self, Refusal> {
        if status.authenticated != Some(true) {
            let reason = status.error.filter(|error| !error.is_empty());
            return Err(Refusal::NotAuthentic { reason: reason.unwrap_or_else(|| "it gives no reason".to_owned()) });
        }
        // A server that does not know audiences accepts every token, and says none.
        let found = status.audiences.unwrap_or_default();
        if !found.iter().any(|audience| audience == AUDIENCE) {
            return Err(Refusal::Audience { found });
        }
        let user = status.user.unwrap_or_default();
        let name = user.username.unwrap_or_default();
        let account = name.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
        let Some((namespace, account)) = account else { return Err(Refusal::NoAccount { user: name }) };
        let extra = user.extra.unwrap_or_default();
        let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
            Some([value]) if !value.is_empty() => Some(value.clone()),
            _ => None,
        };
        let (Some(pod), Some(uid)) = (one(POD_NAME), one(POD_UID)) else {
            return Err(Refusal::Unbound { user: name });
        };
        let pod = format!("{namespace}/{pod}").parse().map_err(|_| Refusal::Unbound { user: name.clone() })?;
        Ok(Self { pod, uid, account: account.to_owned() })
    }

    fn check(&self, member: Member) -> Result<Member, Refusal> {
        let now = member.identity.service_account();
        if now == self.account {
            return Ok(member);
        }
        let (pod, token, now) = (self.pod.clone(), self.account.clone(), now.to_owned());
        Err(Refusal::OtherAccount { pod, token, now })
    }
}

impl Refusal {
    /// The proxy tries again where that may help.
    fn code(&self) -> Code {
        match self {
            Self::NoAnswer { .. } | Self::Unseen { .. } => Code::Unavailable,
            _ => Code::PermissionDenied,
        }
    }
}

const AUDIENCE: &str = "weft-ca";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const REMEDY: &str = "mount a projected serviceAccountToken of this pod with audience weft-ca, as injection does";
/// How long our own cache may be behind the API server. Together with the review shorter than a proxy's patience.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const REVIEW_MAX: Duration = Duration::from_secs(4);
/// At the same time; whoever reaches the port can ask for one.
const REVIEWS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::authentication::v1::UserInfo;

    fn review(audiences: &[&str], user: &str, extra: &[(&str, &str)]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|audience| (*audience).to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                extra: Some(extra.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect()),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    #[test]
    fn what_a_review_proves() {
        let user = "system:serviceaccount:shop:cart";
        let pod = [(POD_NAME, "cart-1"), (POD_UID, "u1")];
        let refused = TokenReviewStatus { error: Some("token has expired".to_owned()), ..TokenReviewStatus::default() };
        let rows = [
            ("a bound token", review(&["weft-ca"], user, &pod), Ok("shop/cart-1")),
            ("refused by the server", refused, Err("token has expired")),
            ("no status", TokenReviewStatus::default(), Err("gives no reason")),
            ("another audience", review(&["vault"], user, &pod), Err("it is for [\"vault\"]")),
            ("a server without audiences", review(&[], user, &pod), Err("audience weft-ca")),
            ("a person", review(&["weft-ca"], "jane", &pod), Err("jane, which is no service account")),
            ("no pod", review(&["weft-ca"], user, &[]), Err("bound to no pod")),
            ("no uid", review(&["weft-ca"], user, &pod[..1]), Err("bound to no pod")),
            ("an empty uid", review(&["weft-ca"], user, &[pod[0], (POD_UID, "")]), Err("bound to no pod")),
        ];
        for (row, status, want) in rows {
            match (Bound::of(status), want) {
                (Ok(bound), Ok(want)) => assert_eq!(bound.pod.to_string(), want, "{row}"),
                (Err(refusal), Err(want)) => assert!(refusal.to_string().contains(want), "{row}: {refusal}"),
                (got, _) => panic!("{row}: {got:?}"),
            }
        }
    }
}
