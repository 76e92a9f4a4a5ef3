//! Filters.

use super::{nanoseconds, parse, words};
use crate::{DecodeError, proto};
use std::time::Duration;
use weft_snapshot::{Filter, FilterKey};

words!(FailurePolicy, "FailurePolicy": Closed, Open);
words!(Isolation, "Isolation": Reuse, Request);
words!(NonUtf8, "NonUtf8": Refuse, Absent);

impl From<&Filter> for proto::Filter {
    fn from(filter: &Filter) -> Self {
        Self {
            key: filter.key.0.clone(),
            component: filter.component.map(|digest| digest.to_string()),
            artifact: filter.artifact.map(|digest| digest.to_string()),
            config: filter.config.clone(),
            deadline_ns: nanoseconds(filter.deadline),
            memory_max: filter.memory_max,
            failure_policy: proto::FailurePolicy::from(filter.failure_policy).into(),
            non_utf8: proto::NonUtf8::from(filter.non_utf8).into(),
            isolation: proto::Isolation::from(filter.isolation).into(),
        }
    }
}

impl TryFrom<proto::Filter> for Filter {
    type Error = DecodeError;

    fn try_from(filter: proto::Filter) -> Result<Self, DecodeError> {
        let digest = |field, text: Option<String>| text.map(|text| parse(field, &text)).transpose();
        Ok(Self {
            key: FilterKey(filter.key),
            component: digest("Filter.component", filter.component)?,
            artifact: digest("Filter.artifact", filter.artifact)?,
            config: filter.config,
            deadline: Duration::from_nanos(filter.deadline_ns),
            memory_max: filter.memory_max,
            failure_policy: proto::FailurePolicy::read(filter.failure_policy)?,
            non_utf8: proto::NonUtf8::read(filter.non_utf8)?,
            isolation: proto::Isolation::read(filter.isolation)?,
        })
    }
}
