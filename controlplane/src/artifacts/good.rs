//! What is asked of one Filter, and the last version that satisfied it: plain values, also on disk.
//!
//! Does not know how a version is obtained.

use super::cupboard::Place;
use super::facts::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use weft_config::Policy;
use weft_filter_host::Manifest;
use weft_snapshot::{Digest, FilterKey};

/// What is asked of one Filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ask {
    /// As written, without the pin.
    pub(super) image: String,
    pub(super) pin: Option<Digest>,
    pub(super) refresh: Option<Duration>,
    pub(super) pull_secret: Option<Place>,
    pub(super) policies: BTreeMap<FilterKey, PolicyAsk>,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// What is asked of one policy: a change means that the component has to admit it anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicyAsk {
    pub(super) config: String,
    pub(super) deadline: Duration,
    pub(super) memory_max: u64,
}

/// What was admitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Good {
    #[serde(with = "version_text")]
    pub(super) version: Version,
    /// [`Ask::object`] of what asked for it: while that stays, the tag is not looked up again.
    pub(super) object: String,
    #[serde(with = "keyed")]
    pub(super) policies: BTreeMap<FilterKey, Admitted>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Admitted {
    pub(super) ask: PolicyAsk,
    pub(super) manifest: Manifest,
}

/// By Filter, `NAMESPACE/NAME`.
pub(super) fn asks(policies: &[Policy]) -> BTreeMap<String, Ask> {
    let mut asks: BTreeMap<String, Ask> = BTreeMap::new();
    for policy in policies {
        let ask = asks.entry(policy.filter.clone()).or_insert_with(|| Ask {
            image: policy.image.clone(),
            pin: policy.digest,
            refresh: policy.refresh,
            pull_secret: Place::of_filter(policy),
            policies: BTreeMap::new(),
            file: policy.file.clone(),
            line: policy.line,
            column: policy.column,
        });
        let asked =
            PolicyAsk { config: policy.config.clone(), deadline: policy.deadline, memory_max: policy.memory_max };
        ask.policies.insert(policy.key.clone(), asked);
    }
    asks
}

impl Ask {
    /// Names the Filter object as far as it concerns its image: what an attachment adds changes nothing here.
    pub(super) fn object(&self) -> String {
        let own = self.policies.iter().find(|(key, _)| key.0 == key.filter()).map(|(_, ask)| ask);
        let mut text = format!("{}\n{:?}\n{:?}\n{own:?}", self.image, self.pin, self.refresh);
        if let Some(place) = &self.pull_secret {
            text.push_str(&place.origin());
        }
        Digest(Sha256::digest(text).into()).to_string()
    }
}

mod version_text {
    use super::{Deserialize, Digest, Serialize, Version};
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(version: &Version, to: S) -> Result<S::Ok, S::Error> {
        (version.image.to_string(), version.component.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
        let (image, component) = <(String, String)>::deserialize(from)?;
        let digest = |text: String| text.parse::<Digest>().map_err(D::Error::custom);
        Ok(Version { image: digest(image)?, component: digest(component)? })
    }
}

mod keyed {
    use super::{Admitted, BTreeMap, Deserialize, FilterKey};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<FilterKey, Admitted>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(key, admitted)| (&key.0, admitted)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<FilterKey, Admitted>, D::Error> {
        let map = BTreeMap::<String, Admitted>::deserialize(from)?;
        Ok(map.into_iter().map(|(key, admitted)| (FilterKey(key), admitted)).collect())
    }
}
