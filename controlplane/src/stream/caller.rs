//! Who is at the other end of a connection, as its certificate says.
//!
//! The certificate was verified in the handshake; here it is read.

use crate::ca::Seconds;
use std::net::SocketAddr;
use tonic::{Request, Status};
use weft_snapshot::{SpiffeId, svid};
use x509_parser::extensions::GeneralName;

/// In the extensions of every request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) remote: SocketAddr,
    /// `None`: it showed no certificate.
    pub(crate) svid: Option<CallerSvid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerSvid {
    pub(crate) identity: SpiffeId,
    pub(crate) expires: Seconds,
    /// The pod to which the certificate is bound.
    pub(crate) pod: Option<svid::Pod>,
}

impl Caller {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Status::internal("the connection carries no caller"))
    }

    /// The SVID, or the refusal that says how to get one.
    pub(super) fn known(&self) -> Result<&CallerSvid, Status> {
        let refusal = "a client certificate of this mesh is needed here; join first, with a token";
        self.svid.as_ref().ok_or_else(|| Status::unauthenticated(refusal))
    }
}

/// `None` where the certificate is no SVID: exactly one URI, and that a SPIFFE id of the form that we write.
pub(super) fn read_svid(der: &[u8]) -> Option<CallerSvid> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names[..] else { return None };
    let expires = certificate.validity().not_after.timestamp();
    let oid = svid::pod_oid_der();
    let pod = certificate.extensions().iter().find(|extension| extension.oid.as_bytes() == oid);
    let pod = match pod {
        Some(extension) => Some(svid::decode_pod(extension.value)?),
        None => None,
    };
    Some(CallerSvid { identity: uri.parse().ok()?, expires: Seconds::try_from(expires).ok()?, pod })
}
