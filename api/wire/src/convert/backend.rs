//! Backends and their endpoints.

use super::{address, nanoseconds, parse, port, required, words};
use crate::{DecodeError, proto};
use proto::endpoint::Dial as DialKind;
use std::time::Duration;
use weft_snapshot::{Backend, Dial, Endpoint, PeerTls, PoolLimits};

words!(LoadBalancer, "LoadBalancer": LeastRequest, RoundRobin, Random, Original);
words!(Upgrade, "Upgrade": Keep, Http2);

impl From<&Backend> for proto::Backend {
    fn from(backend: &Backend) -> Self {
        Self {
            name: backend.name.to_string(),
            namespace: backend.namespace.clone(),
            load_balancer: proto::LoadBalancer::from(backend.load_balancer).into(),
            connect_timeout_ns: nanoseconds(backend.connect_timeout),
            idle_timeout_ns: backend.idle_timeout.map(nanoseconds),
            limits: Some((&backend.limits).into()),
            upgrade: proto::Upgrade::from(backend.upgrade).into(),
        }
    }
}

impl TryFrom<proto::Backend> for Backend {
    type Error = DecodeError;

    fn try_from(backend: proto::Backend) -> Result<Self, DecodeError> {
        Ok(Self {
            name: parse("Backend.name", &backend.name)?,
            namespace: backend.namespace,
            load_balancer: proto::LoadBalancer::read(backend.load_balancer)?,
            connect_timeout: Duration::from_nanos(backend.connect_timeout_ns),
            idle_timeout: backend.idle_timeout_ns.map(Duration::from_nanos),
            limits: required("Backend.limits", backend.limits)?.into(),
            upgrade: proto::Upgrade::read(backend.upgrade)?,
        })
    }
}

impl From<&PoolLimits> for proto::PoolLimits {
    fn from(limits: &PoolLimits) -> Self {
        Self {
            connections_max: limits.connections_max,
            pending_requests_max: limits.pending_requests_max,
            requests_max: limits.requests_max,
            retries_max: limits.retries_max,
            requests_per_connection_max: limits.requests_per_connection_max,
        }
    }
}

impl From<proto::PoolLimits> for PoolLimits {
    fn from(limits: proto::PoolLimits) -> Self {
        Self {
            connections_max: limits.connections_max,
            pending_requests_max: limits.pending_requests_max,
            requests_max: limits.requests_max,
            retries_max: limits.retries_max,
            requests_per_connection_max: limits.requests_per_connection_max,
        }
    }
}

impl From<&Endpoint> for proto::Endpoint {
    fn from(endpoint: &Endpoint) -> Self {
        let dial = match &endpoint.dial {
            Dial::Address(address) => DialKind::Address(address.to_string()),
            Dial::Name { host, port } => {
                DialKind::Name(proto::NamedAddress { host: host.clone(), port: u32::from(*port) })
            }
        };
        let tls = endpoint
            .tls
            .as_ref()
            .map(|tls| proto::PeerTls { identity: tls.identity.to_string(), sni: tls.sni.clone() });
        Self { dial: Some(dial), tls, weight: endpoint.weight, labels: Some((&endpoint.labels).into()) }
    }
}

impl TryFrom<proto::Endpoint> for Endpoint {
    type Error = DecodeError;

    fn try_from(endpoint: proto::Endpoint) -> Result<Self, DecodeError> {
        if endpoint.weight == 0 {
            return Err(DecodeError::Value { field: "Endpoint.weight", value: "0".to_owned() });
        }
        let dial = match required("Endpoint.dial", endpoint.dial)? {
            DialKind::Address(text) => Dial::Address(address("Endpoint.address", text)?),
            DialKind::Name(name) => Dial::Name { host: name.host, port: port("NamedAddress.port", name.port)? },
        };
        let peer = |tls: proto::PeerTls| {
            parse("PeerTls.identity", &tls.identity).map(|identity| PeerTls { identity, sni: tls.sni })
        };
        Ok(Self {
            dial,
            tls: endpoint.tls.map(peer).transpose()?,
            weight: endpoint.weight,
            labels: required("Endpoint.labels", endpoint.labels)?.into(),
        })
    }
}
