//! The proxy's own workload, and whom it believes.

use super::{address, filters_from, filters_to, parse, parse_all, port, required, texts, words};
use crate::{DecodeError, proto};
use weft_snapshot::{Inbound, InboundPort, InboundService, Labels, OtherPorts, Trust, Workload};

words!(Protocol, "Protocol": Http, Http2, Tcp, Detect);
words!(MtlsMode, "MtlsMode": Disable, Permissive, Strict);
words!(OutboundPolicy, "OutboundPolicy": AllowAny, RegistryOnly);

impl From<&Trust> for proto::Trust {
    fn from(trust: &Trust) -> Self {
        Self {
            trust_domain: trust.trust_domain.clone(),
            roots: trust.roots.clone(),
            signers: trust.signers.iter().map(|signer| signer.to_vec()).collect(),
        }
    }
}

impl TryFrom<proto::Trust> for Trust {
    type Error = DecodeError;

    fn try_from(trust: proto::Trust) -> Result<Self, DecodeError> {
        let signer = |key: Vec<u8>| {
            let bytes = key.len();
            key.try_into().map_err(|_| DecodeError::Value { field: "Trust.signers", value: format!("{bytes} bytes") })
        };
        Ok(Self {
            trust_domain: trust.trust_domain,
            roots: trust.roots,
            signers: trust.signers.into_iter().map(signer).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Workload> for proto::Workload {
    fn from(workload: &Workload) -> Self {
        Self {
            name: workload.name.to_string(),
            identity: workload.identity.to_string(),
            labels: Some((&workload.labels).into()),
            inbound_ports: super::all_to(&workload.inbound.ports),
            inbound_services: super::all_to(&workload.inbound.services),
            outbound: proto::OutboundPolicy::from(workload.outbound).into(),
            other_mtls: proto::MtlsMode::from(workload.inbound.others.mtls).into(),
            other_filters: filters_to(&workload.inbound.others.filters),
        }
    }
}

impl TryFrom<proto::Workload> for Workload {
    type Error = DecodeError;

    fn try_from(workload: proto::Workload) -> Result<Self, DecodeError> {
        Ok(Self {
            name: parse("Workload.name", &workload.name)?,
            identity: parse("Workload.identity", &workload.identity)?,
            labels: required("Workload.labels", workload.labels)?.into(),
            inbound: Inbound {
                ports: super::all_from(workload.inbound_ports)?,
                services: super::all_from(workload.inbound_services)?,
                others: OtherPorts {
                    mtls: proto::MtlsMode::read(workload.other_mtls)?,
                    filters: filters_from(workload.other_filters),
                },
            },
            outbound: proto::OutboundPolicy::read(workload.outbound)?,
        })
    }
}

impl From<&Labels> for proto::Labels {
    fn from(labels: &Labels) -> Self {
        let labels = labels.clone();
        Self {
            workload: labels.workload,
            namespace: labels.namespace,
            canonical_service: labels.canonical_service,
            canonical_revision: labels.canonical_revision,
            app: labels.app,
            version: labels.version,
            cluster: labels.cluster,
        }
    }
}

impl From<proto::Labels> for Labels {
    fn from(labels: proto::Labels) -> Self {
        Self {
            workload: labels.workload,
            namespace: labels.namespace,
            canonical_service: labels.canonical_service,
            canonical_revision: labels.canonical_revision,
            app: labels.app,
            version: labels.version,
            cluster: labels.cluster,
        }
    }
}

impl From<&InboundPort> for proto::InboundPort {
    fn from(inbound: &InboundPort) -> Self {
        Self {
            port: inbound.port.into(),
            app: inbound.app.to_string(),
            protocol: proto::Protocol::from(inbound.protocol).into(),
            mtls: proto::MtlsMode::from(inbound.mtls).into(),
            filters: filters_to(&inbound.filters),
        }
    }
}

impl TryFrom<proto::InboundPort> for InboundPort {
    type Error = DecodeError;

    fn try_from(inbound: proto::InboundPort) -> Result<Self, DecodeError> {
        Ok(Self {
            port: port("InboundPort.port", inbound.port)?,
            app: address("InboundPort.app", inbound.app)?,
            protocol: proto::Protocol::read(inbound.protocol)?,
            mtls: proto::MtlsMode::read(inbound.mtls)?,
            filters: filters_from(inbound.filters),
        })
    }
}

impl From<&InboundService> for proto::InboundService {
    fn from(service: &InboundService) -> Self {
        Self {
            host: service.host.to_string(),
            port: service.port.into(),
            target: service.target.into(),
            domains: texts(&service.domains),
        }
    }
}

impl TryFrom<proto::InboundService> for InboundService {
    type Error = DecodeError;

    fn try_from(service: proto::InboundService) -> Result<Self, DecodeError> {
        Ok(Self {
            host: parse("InboundService.host", &service.host)?,
            port: port("InboundService.port", service.port)?,
            target: port("InboundService.target", service.target)?,
            domains: parse_all("InboundService.domains", &service.domains)?,
        })
    }
}
