use super::*;
use crate::inject::{Decision, Namespace, decide};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

fn selects(selector: &Value, labels: &Labels) -> bool {
    selector["matchExpressions"].as_array().expect("expressions").iter().all(|expression| {
        let own = labels.get(expression["key"].as_str().expect("a key"));
        let listed = |value: &String| expression["values"].as_array().expect("values").iter().any(|v| v == value);
        match expression["operator"].as_str() {
            Some("In") => own.is_some_and(listed),
            Some("NotIn") => !own.is_some_and(listed),
            Some("DoesNotExist") => own.is_none(),
            other => panic!("operator {other:?}"),
        }
    })
}

fn asked(webhooks: &Value, namespace: &Namespace, pod: &Labels) -> Vec<String> {
    let mut labels = namespace.labels.clone();
    labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.name.clone());
    let webhooks = webhooks["webhooks"].as_array().expect("webhooks").iter();
    let selecting =
        webhooks.filter(|w| selects(&w["namespaceSelector"], &labels) && selects(&w["objectSelector"], pod));
    selecting.map(|webhook| webhook["name"].to_string()).collect()
}

/// Every choice of one value, or none, for each key.
fn choices(keys: &[(&str, &[&str])]) -> Vec<Labels> {
    keys.iter().fold(vec![Labels::new()], |all, (key, values)| {
        let with = |labels: &Labels| {
            let one = |value: &&str| {
                let mut labels = labels.clone();
                labels.insert((*key).to_owned(), (*value).to_owned());
                labels
            };
            std::iter::once(labels.clone()).chain(values.iter().map(one)).collect::<Vec<_>>()
        };
        all.iter().flat_map(with).collect()
    })
}

#[test]
fn the_api_server_asks_about_every_pod_that_is_injected_and_about_no_unlabelled_one() {
    let namespaces = choices(&[
        ("istio-injection", &["enabled", "disabled"]),
        ("weft.dev/inject", &["enabled", "true", "disabled"]),
        ("istio.io/rev", &["default", "canary"]),
        ("weft.dev/rev", &["default", "next"]),
    ]);
    let pods = choices(&[
        ("sidecar.istio.io/inject", &["true", "false"]),
        ("weft.dev/inject", &["true", "false"]),
        ("istio.io/rev", &["default", "canary"]),
        ("weft.dev/rev", &["default", "next"]),
    ]);
    let mut injected = 0;
    for neighbour in [Neighbour::None, Neighbour::Istio] {
        let [injector, _] = configurations(neighbour);
        for labels in &namespaces {
            let namespace = Namespace { name: "shop".to_owned(), labels: labels.clone() };
            for pod in &pods {
                let object = json!({"metadata": {"labels": pod}, "spec": {"containers": [{"name": "web"}]}});
                let asked = asked(&injector, &namespace, pod);
                let decision = decide(&object, &namespace, neighbour);
                let row = format!("{neighbour:?}, namespace {labels:?}, pod {pod:?}: {decision:?}, asked {asked:?}");
                if decision == Decision::Inject {
                    injected += 1;
                    assert!(!asked.is_empty(), "{row}");
                }
                if labels.is_empty() && pod.is_empty() {
                    assert!(asked.is_empty(), "{row}");
                }
            }
        }
        for name in NEVER {
            let labels = Labels::from([("weft.dev/inject".to_owned(), "enabled".to_owned())]);
            let namespace = Namespace { name: (*name).to_owned(), labels };
            assert!(asked(&injector, &namespace, &Labels::new()).is_empty(), "namespace {name}");
        }
    }
    assert!(injected > 1000, "only {injected} choices lead to a sidecar");
}

#[test]
fn nobody_but_the_keeper_writes_the_bundle() {
    for object in configurations(Neighbour::None) {
        let webhooks = object["webhooks"].as_array().expect("webhooks");
        assert!(!webhooks.is_empty());
        for webhook in webhooks {
            assert!(webhook["clientConfig"].get("caBundle").is_none(), "{webhook}");
        }
    }
}
