//! One cluster, as `weft install` speaks to it: objects as JSON in, what became of them out.
//!
//! It does not know which objects Weft has. The only file that names kube.

use super::managers;
use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How the cluster is found.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connection {
    /// Kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's own account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

pub(crate) struct Cluster {
    client: kube::Client,
    /// Of the API server.
    pub(crate) url: String,
}

/// Whose fields these are; what other managers own stays as it is.
const FIELD_MANAGER: &str = "weft-install";

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Created,
    Changed,
    Unchanged,
}

/// The coordinates of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Reference {
    pub(crate) fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        let text = str::to_owned;
        Self { api_version: text(api_version), kind: text(kind), namespace: namespace.map(text), name: text(name) }
    }

    pub(crate) fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&object["apiVersion"]),
            kind: text(&object["kind"]),
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: text(&object["metadata"]["name"]),
        }
    }

    /// Its group, and its resource as URLs and roles write it.
    pub(crate) fn resource(&self) -> (&str, String) {
        let group = self.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let lower = self.kind.to_ascii_lowercase();
        let plural = match lower.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None if lower.ends_with('s') || lower.ends_with("sh") => format!("{lower}es"),
            None => format!("{lower}s"),
        };
        (group, plural)
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl Cluster {
    pub(crate) async fn connect(connection: &Connection) -> Result<Self> {
        let options = KubeConfigOptions { context: connection.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match &connection.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
                kube::Config::from_custom_kubeconfig(file, &options).await.context("the kubeconfig names no cluster")?
            }
            None if connection.context.is_some() => {
                kube::Config::from_kubeconfig(&options).await.context("the kubeconfig has no such context")?
            }
            None => kube::Config::infer().await.map_err(|error| {
                let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                anyhow!("no cluster: {why}; name a kubeconfig with --kubeconfig or KUBECONFIG")
            })?,
        };
        config.connect_timeout = Some(Duration::from_secs(10));
        let url = config.cluster_url.to_string();
        let client = kube::Client::try_from(config).context("the kubeconfig cannot be used")?;
        Ok(Self { client, url })
    }

    /// Major and minor, such as (1, 33).
    pub(crate) async fn version(&self) -> Result<(u32, u32)> {
        let version = self.client.apiserver_version().await.map_err(|error| {
            anyhow!(
                "no cluster: {} does not answer: {}; is it the right one, and is it up?",
                self.url,
                innermost(&error)
            )
        })?;
        let number = |text: &str| text.trim_end_matches('+').parse::<u32>();
        match (number(&version.major), number(&version.minor)) {
            (Ok(major), Ok(minor)) => Ok((major, minor)),
            _ => bail!("{} calls its version {:?}.{:?}", self.url, version.major, version.minor),
        }
    }

    fn api(&self, reference: &Reference) -> Api<DynamicObject> {
        let (group, plural) = reference.resource();
        let version = reference.api_version.rsplit_once('/').map_or(reference.api_version.as_str(), |(_, v)| v);
        let gvk = GroupVersionKind::gvk(group, version, &reference.kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
        match &reference.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Server-side apply. Weft's objects are Weft's: a field that someone else set is set back.
    pub(crate) async fn apply(&self, object: &Value) -> Result<Outcome> {
        let reference = Reference::of(object);
        let api = self.api(&reference);
        let before = self.get(&reference).await?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let until = tokio::time::Instant::now() + SERVED_SOON;
        let after = loop {
            match api.patch(&reference.name, &parameters, &Patch::Apply(object)).await {
                Ok(after) => break after,
                // A kind that has just been established may not be served by every API server yet.
                Err(kube::Error::Api(status)) if status.code == 404 && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(not_applied(&error, &reference, before.as_ref())),
            }
        };
        let version = |value: &Value| value["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        Ok(match before {
            None => Outcome::Created,
            Some(before) if version(&before) == after.metadata.resource_version => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        })
    }

    /// Replaces an object that was read before, unless it has changed since.
    pub(crate) async fn replace(&self, object: &Value) -> Result<()> {
        let reference = Reference::of(object);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let whole: DynamicObject = serde_json::from_value(object.clone())?;
        match self.api(&reference).replace(&reference.name, &parameters, &whole).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                bail!("{reference} was changed by another while it was being replaced; run this again")
            }
            Err(error) => Err(said(&error, "replace", &reference)),
        }
    }

    pub(crate) async fn get(&self, reference: &Reference) -> Result<Option<Value>> {
        match self.api(reference).get(&reference.name).await {
            Ok(object) => Ok(Some(serde_json::to_value(object)?)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(said(&error, "get", reference)),
        }
    }

    /// All objects of a kind; `of`'s name does not count. A kind that the server does not have has none.
    pub(crate) async fn list(&self, of: &Reference, labels: &str, fields: &str) -> Result<Vec<Value>> {
        let api = self.api(of);
        let mut parameters = ListParams::default().labels(labels).fields(fields).limit(PAGE);
        let mut objects = Vec::new();
        loop {
            let page = match api.list(&parameters).await {
                Ok(page) => page,
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(objects),
                Err(error) => return Err(said(&error, "list", of)),
            };
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            for object in page.items {
                let mut object = serde_json::to_value(object)?;
                // The entries of a list do not say what they are.
                object["apiVersion"] = of.api_version.as_str().into();
                object["kind"] = of.kind.as_str().into();
                objects.push(object);
            }
            match next {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(objects),
            }
        }
    }

    /// Answers whether it was there.
    pub(crate) async fn delete(&self, reference: &Reference) -> Result<bool> {
        match self.api(reference).delete(&reference.name, &DeleteParams::background()).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(said(&error, "delete", reference)),
        }
    }

    /// Whether who asks may do this; `namespace` is none for what lies in no namespace.
    pub(crate) async fn may(&self, verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Result<bool> {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: namespace.map(str::to_owned),
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| anyhow!("cannot ask what is allowed: {}", innermost(&error)))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

const PAGE: u32 = 500;
const SERVED_SOON: Duration = Duration::from_secs(10);

/// The same with whoever holds fields of the object too, where what both want together is refused.
fn not_applied(error: &kube::Error, reference: &Reference, before: Option<&Value>) -> anyhow::Error {
    let said = said(error, "apply", reference);
    let (kube::Error::Api(status), Some(before)) = (error, before) else { return said };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let held: Vec<_> = causes.flat_map(|cause| managers::beside(before, &cause.field, FIELD_MANAGER)).collect();
    if held.is_empty() {
        return said;
    }
    anyhow!(
        "{said}; an apply leaves what others hold, and {}: {}",
        held.join(", "),
        managers::remedy(&reference.to_string())
    )
}

/// What the API server said of an object, without the error's own wrapping.
fn said(error: &kube::Error, verb: &str, reference: &Reference) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("cannot {verb} {reference}: {}", status.message),
        error => anyhow!("cannot {verb} {reference}: {}", innermost(error)),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_kinds() {
        let cases = [
            ("v1", "Pod", ("", "pods")),
            ("v1", "ConfigMap", ("", "configmaps")),
            ("networking.istio.io/v1", "ServiceEntry", ("networking.istio.io", "serviceentries")),
            ("weft.dev/v1alpha1", "Mesh", ("weft.dev", "meshes")),
            ("policy/v1", "PodDisruptionBudget", ("policy", "poddisruptionbudgets")),
            (
                "admissionregistration.k8s.io/v1",
                "MutatingWebhookConfiguration",
                ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
            ),
        ];
        for (api_version, kind, (group, plural)) in cases {
            let reference = Reference::new(api_version, kind, None, "x");
            assert_eq!(reference.resource(), (group, plural.to_owned()), "{kind}");
        }
    }
}
