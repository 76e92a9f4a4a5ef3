//! Services that a proxy may call, and what was answered about a host.

use super::{all_from, all_to, parse, parse_all, port, texts};
use crate::{DecodeError, proto};
use weft_snapshot::{Answer, Service, ServicePort};

impl From<&Answer> for proto::Answer {
    fn from(answer: &Answer) -> Self {
        Self { asked: answer.asked.to_string(), service: answer.service.as_ref().map(ToString::to_string) }
    }
}

impl TryFrom<proto::Answer> for Answer {
    type Error = DecodeError;

    fn try_from(answer: proto::Answer) -> Result<Self, DecodeError> {
        Ok(Self {
            asked: parse("Answer.asked", &answer.asked)?,
            service: answer.service.map(|service| parse("Answer.service", &service)).transpose()?,
        })
    }
}

impl From<&Service> for proto::Service {
    fn from(service: &Service) -> Self {
        Self {
            name: service.name.to_string(),
            namespace: service.namespace.clone(),
            domains: texts(&service.domains),
            ports: all_to(&service.ports),
            rules: all_to(&service.rules),
        }
    }
}

impl TryFrom<proto::Service> for Service {
    type Error = DecodeError;

    fn try_from(service: proto::Service) -> Result<Self, DecodeError> {
        Ok(Self {
            name: parse("Service.name", &service.name)?,
            namespace: service.namespace,
            domains: parse_all("Service.domains", &service.domains)?,
            ports: all_from(service.ports)?,
            rules: all_from(service.rules)?,
        })
    }
}

impl From<&ServicePort> for proto::ServicePort {
    fn from(service: &ServicePort) -> Self {
        Self {
            port: service.port.into(),
            name: service.name.clone(),
            protocol: proto::Protocol::from(service.protocol).into(),
            backend: service.backend.to_string(),
        }
    }
}

impl TryFrom<proto::ServicePort> for ServicePort {
    type Error = DecodeError;

    fn try_from(service: proto::ServicePort) -> Result<Self, DecodeError> {
        Ok(Self {
            port: port("ServicePort.port", service.port)?,
            name: service.name,
            protocol: proto::Protocol::read(service.protocol)?,
            backend: parse("ServicePort.backend", &service.backend)?,
        })
    }
}
