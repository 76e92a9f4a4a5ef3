//! What a person may choose: by an option, in a file of the chart's values, else what runs already, else the default.
//!
//! It does not know what the objects make of it.

use super::objects::NAME;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use weft_controlplane::inject::Neighbour;

/// All of it decided.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) image_prefix: String,
    pub(crate) tag: String,
    pub(crate) replicas: u16,
    /// Namespaces whose pull secrets the control plane may read.
    pub(crate) pull_secrets: Vec<String>,
    /// Names of Secrets by which nodes pull Weft's own images.
    pub(crate) image_pull_secrets: Vec<String>,
    /// Istio's injector serves here, and its labels stay its own.
    pub(crate) beside_istio: bool,
    /// CRDs of Istio's kinds as well.
    pub(crate) istio_crds: bool,
    /// The control plane's.
    pub(crate) resources: Value,
    /// PersistentVolumeClaim in which replicas keep components and artifacts; none: as long as their pods live.
    pub(crate) state_claim: Option<String>,
    /// A replica that is told to end serves on so long, until nobody is sent to it any more.
    pub(crate) pre_stop_seconds: u16,
}

/// What is said of it in one place; names and meanings are the chart's values'.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Values {
    pub(crate) image_prefix: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) replicas: Option<u16>,
    pub(crate) pull_secrets: Option<Vec<String>>,
    pub(crate) image_pull_secrets: Option<Vec<String>>,
    pub(crate) beside_istio: Option<bool>,
    pub(crate) istio_crds: Option<bool>,
    pub(crate) resources: Option<Value>,
    pub(crate) state_claim: Option<String>,
    pub(crate) pre_stop_seconds: Option<u16>,
}

impl Choice {
    pub(crate) fn neighbour(&self) -> Neighbour {
        if self.beside_istio { Neighbour::Istio } else { Neighbour::None }
    }

    pub(crate) fn image(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.image_prefix.trim_end_matches('/'), self.tag)
    }
}

impl From<Values> for Choice {
    fn from(said: Values) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            image_prefix: filled(said.image_prefix).unwrap_or_else(|| "weft.dev".to_owned()),
            tag: filled(said.tag).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            replicas: said.replicas.unwrap_or(2),
            pull_secrets: said.pull_secrets.unwrap_or_default(),
            image_pull_secrets: said.image_pull_secrets.unwrap_or_default(),
            beside_istio: said.beside_istio.unwrap_or_default(),
            istio_crds: said.istio_crds.unwrap_or(true),
            resources: said.resources.unwrap_or_else(resources),
            state_claim: filled(said.state_claim),
            pre_stop_seconds: said.pre_stop_seconds.unwrap_or(5),
        }
    }
}

impl Values {
    /// A file as `helm install --values` takes it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} does not hold values of the chart", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut documents = weft_config::from_yaml(text).map_err(|fault| anyhow::anyhow!("{fault}"))?;
        documents.retain(|document| !document.is_null());
        let said = match documents.len() {
            0 => return Ok(Self::default()),
            1 => documents.remove(0),
            _ => bail!("there is more than one document in it"),
        };
        let mut values: Self = serde_json::from_value(said)?;
        values.resources = values.resources.map(|given| laid_over(resources(), given));
        if values.replicas == Some(0) {
            bail!("replicas is 0, and one at least must serve");
        }
        Ok(values)
    }

    /// What a Deployment of an earlier install says, but for the tag.
    pub(crate) fn of(deployment: &Value) -> Self {
        let spec = &deployment["spec"];
        let pod = &spec["template"]["spec"];
        let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let containers = entries(&pod["containers"]);
        let Some(container) = containers.iter().find(|container| container["name"] == NAME) else {
            return Self::default();
        };
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let prefix = container["image"].as_str().and_then(|image| Some(image.rsplit_once('/')?.0.to_owned()));
        let names = entries(&pod["imagePullSecrets"]);
        let claims = entries(&pod["volumes"]);
        let claim = claims.iter().find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        Self {
            image_prefix: prefix,
            replicas: number(&spec["replicas"]).filter(|replicas| *replicas > 0),
            image_pull_secrets: Some(names.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()),
            resources: Some(container["resources"].clone()).filter(Value::is_object),
            state_claim: claim.map(str::to_owned),
            pre_stop_seconds: number(&container["lifecycle"]["preStop"]["sleep"]["seconds"]),
            ..Self::default()
        }
    }

    /// What is not said here, as it is said there.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            image_prefix: self.image_prefix.or(other.image_prefix),
            tag: self.tag.or(other.tag),
            replicas: self.replicas.or(other.replicas),
            pull_secrets: self.pull_secrets.or(other.pull_secrets),
            image_pull_secrets: self.image_pull_secrets.or(other.image_pull_secrets),
            beside_istio: self.beside_istio.or(other.beside_istio),
            istio_crds: self.istio_crds.or(other.istio_crds),
            resources: self.resources.or(other.resources),
            state_claim: self.state_claim.or(other.state_claim),
            pre_stop_seconds: self.pre_stop_seconds.or(other.pre_stop_seconds),
        }
    }
}

fn resources() -> Value {
    json!({"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}})
}

/// As Helm lays values over a chart's: mappings grow together, and null takes away.
fn laid_over(mut there: Value, given: Value) -> Value {
    let (Some(fields), Value::Object(given)) = (there.as_object_mut(), given.clone()) else { return given };
    for (name, value) in given {
        match fields.get_mut(&name) {
            _ if value.is_null() => {
                fields.shift_remove(&name);
            }
            Some(own) => *own = laid_over(own.take(), value),
            None => {
                fields.insert(name, value);
            }
        }
    }
    there
}

#[cfg(test)]
mod tests {
    use super::super::deployment;
    use super::*;

    #[test]
    fn the_charts_own_values_are_the_defaults() {
        let chart = include_str!("../../../deploy/chart/values.yaml");
        let (said, usual) = (Choice::from(Values::parse(chart).expect("valid")), Choice::from(Values::default()));
        assert_eq!(format!("{said:?}"), format!("{usual:?}"));
    }

    #[test]
    fn what_an_install_wrote_stays_at_the_next() {
        let values = "imagePrefix: registry.example:5000/weft
replicas: 3
resources: {requests: {cpu: null, memory: 256Mi}, limits: {memory: 2Gi}}
imagePullSecrets: [mirror]
stateClaim: weft-state
preStopSeconds: 9
";
        let chosen = Choice::from(Values::parse(values).expect("valid"));
        assert_eq!(chosen.resources, json!({"requests": {"memory": "256Mi"}, "limits": {"memory": "2Gi"}}));
        let again = Choice::from(Values::default().or(Values::of(&deployment::object(&chosen))));
        assert_eq!(format!("{again:?}"), format!("{chosen:?}"));
        // A file that takes something back is obeyed.
        let back = Values::parse("stateClaim: ''\nimagePullSecrets: []").expect("valid");
        let back = Choice::from(back.or(Values::of(&deployment::object(&chosen))));
        assert_eq!((back.state_claim, back.image_pull_secrets.len(), back.replicas), (None, 0, 3));
    }

    #[test]
    fn files_that_are_no_values() {
        let cases = [
            ("replica: 3", "unknown field `replica`"),
            ("replicas: many", "invalid type"),
            ("replicas: 0", "one at least"),
            ("a: [", ""),
            ("replicas: 1\n---\nreplicas: 2", "more than one document"),
        ];
        for (text, want) in cases {
            let error = Values::parse(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }
}
