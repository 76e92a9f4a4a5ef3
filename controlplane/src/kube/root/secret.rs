//! Secret `weft-ca`: the vault of the CA's keys, shared by all replicas and older than each of them.
//!
//! Reading is from what the watch saw last, so that it works while the API server is away; writing is a
//! compare-and-swap on resourceVersion. It does not look into the record.

use super::MANAGER;
use crate::ca::{Record, Vault, VaultError, Version};
use crate::kube::{events, said};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Error};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Clones see the same Secret.
#[derive(Clone)]
pub(crate) struct SecretVault {
    api: Api<Secret>,
    namespace: String,
    seen: Arc<ArcSwap<Option<Secret>>>,
    runtime: Handle,
}

impl SecretVault {
    /// Waits for the API server; the Secret need not exist yet.
    pub(crate) async fn open(client: Client, namespace: &str) -> Result<Self, VaultError> {
        let vault = Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            seen: Arc::default(),
            runtime: Handle::current(),
        };
        loop {
            match vault.api.get_opt(NAME).await {
                Ok(found) => {
                    vault.seen.store(Arc::new(found));
                    return Ok(vault);
                }
                Err(Error::Api(status)) if status.code < 500 => return Err(vault.failed("get", &Error::Api(status))),
                Err(error) => tracing::warn!("{}", vault.failed("get", &error)),
            }
            tokio::time::sleep(OPEN_AGAIN).await;
        }
    }

    /// Follows what other replicas, or people, do to it.
    pub(crate) fn watch(&self) -> JoinHandle<()> {
        let vault = self.clone();
        tokio::spawn(async move {
            let selection = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
            let mut changes = std::pin::pin!(events(vault.api.clone(), selection).default_backoff());
            let mut listed = None;
            while let Some(change) = changes.next().await {
                match change {
                    Ok(watcher::Event::Init) => listed = None,
                    Ok(watcher::Event::InitApply(secret)) => listed = Some(secret),
                    Ok(watcher::Event::InitDone) => match listed.take() {
                        Some(secret) => vault.saw(secret),
                        None => vault.gone(),
                    },
                    Ok(watcher::Event::Apply(secret)) => vault.saw(secret),
                    Ok(watcher::Event::Delete(_)) => vault.gone(),
                    Err(error) => tracing::warn!(%error, "the watch of Secret {NAME} broke; what is known counts on"),
                }
            }
        })
    }

    /// A watch may tell what this process wrote over already.
    fn saw(&self, secret: Secret) {
        let revision = |secret: &Secret| secret.metadata.resource_version.as_ref()?.parse::<u64>().ok();
        self.seen.rcu(|before| match before.as_ref() {
            Some(held) if held.metadata.uid == secret.metadata.uid && revision(held) > revision(&secret) => {
                Arc::clone(before)
            }
            _ => Arc::new(Some(secret.clone())),
        });
    }

    fn gone(&self) {
        if self.seen.swap(Arc::default()).is_some() {
            tracing::warn!("Secret {NAME} was removed; it is written again with the keys that are in use");
        }
    }

    fn with(&self, bytes: &[u8], over: Option<&Version>) -> Secret {
        let data = |secret: &Secret| secret.data.clone().unwrap_or_default();
        let mut secret = self.seen.load().as_ref().clone().filter(|_| over.is_some()).unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "weft".to_owned())])),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        });
        let mut data = data(&secret);
        data.insert(KEY.to_owned(), ByteString(bytes.to_vec()));
        secret.data = Some(data);
        secret.metadata.resource_version = over.map(|version| version.0.clone());
        secret.metadata.managed_fields = None;
        secret
    }

    async fn put(&self, secret: Secret, over: Option<&Version>) -> Result<Option<Version>, VaultError> {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let (verb, put) = match over {
            None => ("create", self.api.create(&parameters, &secret).await),
            Some(_) => ("update", self.api.replace(NAME, &parameters, &secret).await),
        };
        match put {
            Ok(written) => {
                let version = version(&written);
                self.saw(written);
                Ok(version)
            }
            // Another replica was first, or somebody removed it.
            Err(Error::Api(status)) if status.code == 409 || status.code == 404 => {
                let found = self.api.get_opt(NAME).await.map_err(|error| self.failed("get", &error))?;
                match found {
                    Some(secret) => self.saw(secret),
                    None => self.gone(),
                }
                Ok(None)
            }
            Err(error) => Err(self.failed(verb, &error)),
        }
    }

    fn failed(&self, verb: &str, error: &Error) -> VaultError {
        let (namespace, reason) = (&self.namespace, said(error));
        VaultError::Cluster(format!("cannot {verb} Secret {namespace}/{NAME}, which holds the mesh's CA: {reason}"))
    }
}

impl Vault for SecretVault {
    fn read(&self) -> Result<Option<Record>, VaultError> {
        let seen = self.seen.load();
        let Some(secret) = seen.as_ref() else { return Ok(None) };
        let bytes = secret.data.as_ref().and_then(|data| data.get(KEY));
        let bytes = bytes.ok_or_else(|| {
            VaultError::Cluster(format!(
                "{} has no key {KEY}; restore it, or remove the Secret to start a new mesh",
                self.name()
            ))
        })?;
        Ok(version(secret).map(|version| Record { bytes: bytes.0.clone(), version }))
    }

    fn version(&self) -> Option<Version> {
        self.seen.load().as_ref().as_ref().and_then(version)
    }

    fn write(&self, bytes: &[u8], over: Option<&Version>) -> Result<Option<Version>, VaultError> {
        let slow = |_| VaultError::Cluster(format!("the API server did not take {} within {WRITE_MAX:?}", self.name()));
        let put = self.put(self.with(bytes, over), over);
        self.runtime.block_on(async { tokio::time::timeout(WRITE_MAX, put).await.map_err(slow)? })
    }

    fn name(&self) -> String {
        format!("Secret {}/{NAME}", self.namespace)
    }
}

fn version(secret: &Secret) -> Option<Version> {
    secret.metadata.resource_version.clone().map(Version)
}

const NAME: &str = "weft-ca";
const KEY: &str = "authority.json";
const OPEN_AGAIN: Duration = Duration::from_secs(1);
const WRITE_MAX: Duration = Duration::from_secs(5);
