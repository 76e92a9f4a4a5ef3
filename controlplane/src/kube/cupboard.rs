//! Secrets and ConfigMaps as registries' credentials and roots: one get each time, with a right that is given by name.
//!
//! It does not know what is in them.

use super::said;
use crate::artifacts::{Cupboard, Place, PlaceKind, Shut};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::{Client, Error};
use std::time::Duration;

pub(crate) struct ClusterCupboard {
    client: Client,
}

impl ClusterCupboard {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    async fn get(&self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        let (client, namespace) = (self.client.clone(), &place.namespace);
        match place.kind {
            PlaceKind::Secret => {
                let secret = Api::<Secret>::namespaced(client, namespace).get(&place.name).await?;
                Ok(secret.data.and_then(|mut data| data.remove(place.key)).map(|value| value.0))
            }
            PlaceKind::ConfigMap => {
                let configmap = Api::<ConfigMap>::namespaced(client, namespace).get(&place.name).await?;
                Ok(configmap.data.and_then(|mut data| data.remove(place.key)).map(String::into_bytes))
            }
        }
    }
}

#[tonic::async_trait]
impl Cupboard for ClusterCupboard {
    async fn open(&self, place: &Place) -> Result<String, Shut> {
        let slow = |_| Shut {
            reason: format!("{}: the API server did not answer within {GET_MAX:?}", place.origin()),
            remedy: "it is tried again".to_owned(),
        };
        let got = tokio::time::timeout(GET_MAX, self.get(place)).await.map_err(slow)?;
        let value = got.map_err(|error| refused(place, &error))?;
        let origin = place.origin();
        let value = value.ok_or_else(|| Shut {
            reason: format!("{origin} has no key {}", place.key),
            remedy: match place.kind {
                PlaceKind::Secret if place.key.starts_with('.') => {
                    "make it of type kubernetes.io/dockerconfigjson (kubectl create secret docker-registry)".to_owned()
                }
                _ => format!("put the certificates there, as PEM under the key {}", place.key),
            },
        })?;
        String::from_utf8(value).map_err(|_| Shut {
            reason: format!("{origin}: {} is no text", place.key),
            remedy: "write it again".to_owned(),
        })
    }
}

fn refused(place: &Place, error: &Error) -> Shut {
    let (namespace, origin) = (&place.namespace, place.origin());
    let resource = match place.kind {
        PlaceKind::Secret => "secrets",
        PlaceKind::ConfigMap => "configmaps",
    };
    match error {
        Error::Api(status) if status.is_forbidden() => Shut {
            reason: format!("{origin}: the control plane may not get {resource} in namespace {namespace}"),
            remedy: format!("run: weft install --pull-secrets {namespace}"),
        },
        Error::Api(status) if status.is_not_found() => Shut {
            reason: format!("{origin} does not exist"),
            remedy: format!("create it in namespace {namespace}, or name another"),
        },
        other => Shut { reason: format!("{origin}: {}", said(other)), remedy: "it is tried again".to_owned() },
    }
}

const GET_MAX: Duration = Duration::from_secs(5);
