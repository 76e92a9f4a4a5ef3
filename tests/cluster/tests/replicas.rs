//! Two replicas of the control plane: each serves every proxy with the same, what one knows outlives it, and the death of
//! the leader amid changes leaves nobody behind.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use weft_cluster_tests::{Api, Caller, ControlPlane, Namespace, Pod, get, install, kubectl, reinstall, within};

const SETTLED: Duration = Duration::from_secs(40);
const CALLERS: [&str; 3] = ["one", "two", "three"];

struct Shop {
    namespace: Namespace,
    callers: Vec<Caller>,
}

/// A server and three callers, each with a sidecar that has asked for it.
fn shop(name: &str) -> Shop {
    install();
    let namespace = Namespace::new(name, &["istio-injection=enabled"]);
    namespace.app("server", "v1");
    namespace.apply(&rule(0).to_string());
    let callers = CALLERS.iter().map(|name| namespace.caller(name)).collect();
    let shop = Shop { namespace, callers };
    shop.all_get(0);
    shop
}

/// Answers carry this number.
fn rule(number: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "server"},
        "spec": {
            "hosts": ["server"],
            "http": [{
                "headers": {"response": {"set": {"x-number": number.to_string()}}},
                "retries": {"attempts": 0},
                "route": [{"destination": {"host": "server"}}],
            }],
        },
    })
}

impl Shop {
    fn all_get(&self, number: u32) {
        for (caller, name) in self.callers.iter().zip(CALLERS) {
            within(SETTLED, &format!("caller {name} is answered by rule {number}"), || {
                let answer = caller.get("http://server/");
                if answer.header("x-number") == number.to_string() { Ok(()) } else { Err(answer) }
            });
        }
    }

    /// By proxy of this namespace, what it has and whether that is all that it should have.
    fn proxies(&self) -> BTreeMap<String, (String, String)> {
        let reports = ControlPlane::pods().into_iter().filter_map(|pod| pod.report().ok());
        let lines = reports.flat_map(|report| report["proxies"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let connected = lines.filter(|line| line["revision"].is_string());
        let of_ours =
            connected.filter(|line| text(&line["workload"]).starts_with(&format!("{}/", self.namespace.name)));
        of_ours.map(|line| (text(&line["workload"]), (text(&line["revision"]), text(&line["state"])))).collect()
    }

    /// Waits until each proxy is connected and has all that it should; what that is.
    fn current(&self) -> BTreeMap<String, String> {
        within(SETTLED, "every proxy has what it should", || {
            let proxies = self.proxies();
            let whole = proxies.len() == CALLERS.len() + 1 && proxies.values().all(|(_, state)| state == "current");
            if whole {
                Ok(proxies.into_iter().map(|(name, (revision, _))| (name, revision)).collect())
            } else {
                Err(proxies)
            }
        })
    }
}

/// Ends when they are gone, and not only their objects.
fn kill(pods: &[Pod]) {
    let force = ["-n", "weft-system", "delete", "pod", "--grace-period=0", "--force"];
    kubectl(force.into_iter().chain(pods.iter().map(|pod| pod.name.as_str())));
    for pod in pods {
        within(SETTLED, &format!("{} is gone", pod.name), || pod.report().map_or(Ok(()), Err));
    }
}

/// Which of two Ready replicas leads.
fn led() -> Pod {
    let pods = ControlPlane::settled();
    within(SETTLED, "one of the replicas leads", || {
        let leader = ControlPlane::leader();
        pods.iter().find(|pod| pod.name == leader).cloned().ok_or_else(|| (leader, pods.clone()))
    })
}

#[test]
fn any_replica_serves_any_proxy_the_same() {
    let shop = shop("replicas-any");
    let before = shop.current();
    let [first, second] = ControlPlane::settled();
    // Everybody on the second, and then on others.
    kill(&[first]);
    assert_eq!(shop.current(), before, "by the other replica");
    ControlPlane::settled();
    kill(&[second]);
    ControlPlane::settled();
    assert_eq!(shop.current(), before, "by a replica that never met them");
    shop.all_get(0);
}

#[test]
fn the_last_good_version_outlives_every_replica() {
    let shop = shop("replicas-good");
    let before = shop.current();
    // With the webhook in place the API server does not take what is broken.
    kubectl(["delete", "validatingwebhookconfiguration", "weft-validator"]);
    let mut broken = rule(1);
    broken["spec"]["http"][0]["rout"] = json!([]);
    shop.namespace.apply(&broken.to_string());
    let says = |word: &str| {
        within(SETTLED, &format!("status says {word}"), || {
            let object = shop.namespace.get(["virtualservice", "server"]);
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let status = object["status"].clone();
            if current && status.to_string().contains(word) { Ok(()) } else { Err(status) }
        });
    };
    says("an earlier version counts");
    ControlPlane::replace_one_by_one();
    assert_eq!(shop.current(), before, "replicas that never saw the good version");
    shop.all_get(0);
    shop.namespace.apply(&rule(2).to_string());
    shop.all_get(2);
    reinstall(&[]);
}

#[test]
fn the_leader_dies_amid_changes_and_nobody_is_left_behind() {
    let shop = shop("replicas-churn");
    led();
    let api = Api::open();
    let path = format!("/apis/networking.istio.io/v1/namespaces/{}/virtualservices/server", shop.namespace.name);
    let (start, mut killed) = (Instant::now(), None);
    for number in 1..=CHANGES {
        let due = start + CHANGE_EVERY * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        api.patch(&path, &rule(number)).unwrap();
        if number == CHANGES / 2 {
            let leader = led();
            killed = Some((leader.clone(), std::thread::spawn(move || kill(&[leader]))));
        }
    }
    let took = start.elapsed();
    assert!(took < CHANGE_EVERY * CHANGES * 2, "{CHANGES} changes took {took:?}");
    let (leader, killing) = killed.expect("half of the changes were made");
    killing.join().unwrap();
    shop.all_get(CHANGES);
    within(SETTLED, "another replica leads", || {
        let now = ControlPlane::leader();
        if now != leader.name && !now.is_empty() { Ok(()) } else { Err(now) }
    });
    ControlPlane::settled();
    let at_the_end = shop.current();
    // Replicas that read the cluster as it is now compile for everybody what everybody has.
    let all = ControlPlane::settled();
    kill(&all);
    let fresh = ControlPlane::settled();
    assert!(fresh.iter().all(|pod| !all.contains(pod)), "{fresh:?}");
    assert_eq!(shop.current(), at_the_end, "a fresh compile");
    shop.all_get(CHANGES);
}

const CHANGES: u32 = 200;
/// 20 in a second.
const CHANGE_EVERY: Duration = Duration::from_millis(50);

#[test]
fn replicas_do_not_fight_over_the_webhooks_certificates() {
    install();
    ControlPlane::settled();
    let webhook = || get(["mutatingwebhookconfiguration", "weft-injector"]);
    let bundle = |object: &Value| object["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap().to_owned();
    let generation = |object: &Value| object["metadata"]["generation"].as_u64().unwrap();
    let before = webhook();
    let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": strangers_bundle()}]);
    kubectl(["patch", "mutatingwebhookconfiguration", "weft-injector", "--type=json", "-p", &patch.to_string()]);
    let mended = within(SETTLED, "the bundle is ours again", || {
        let now = webhook();
        if bundle(&now) == bundle(&before) && generation(&now) > generation(&before) {
            Ok(now)
        } else {
            Err(bundle(&now))
        }
    });
    assert!(generation(&mended) <= generation(&before) + 3, "one write by each at most: {mended:#}");
    // For longer than a replica waits before it looks again.
    let quiet = Instant::now() + QUIET;
    while Instant::now() < quiet {
        let now = webhook();
        assert_eq!(generation(&now), generation(&mended), "somebody writes on: {now:#}");
    }
    let namespace = Namespace::new("replicas-webhook", &["istio-injection=enabled"]);
    namespace.caller("caller");
    assert_eq!(namespace.pods("app=caller")[0]["status"]["initContainerStatuses"].as_array().map(Vec::len), Some(2));
}

const QUIET: Duration = Duration::from_secs(5);

/// A root that is not ours, as a webhook configuration holds one: base64 around PEM, for which a Secret will do.
fn strangers_bundle() -> String {
    let root = get(["configmap", "kube-root-ca.crt", "-n", "default"]);
    let literal = format!("--from-literal=pem={}", root["data"]["ca.crt"].as_str().unwrap());
    let made = kubectl(["create", "secret", "generic", "any", "--dry-run=client", "-o", "json", &literal]);
    let secret: Value = serde_json::from_str(&made).unwrap();
    secret["data"]["pem"].as_str().unwrap().to_owned()
}
