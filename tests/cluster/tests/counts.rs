//! Whichever replica a proxy is connected to, it is counted: in a VirtualService's status, and by `weft status` at any of
//! them.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::time::Duration;
use weft_cluster_tests::{Namespace, get, install, kubectl, manifests, weft, within};

const SETTLED: Duration = Duration::from_secs(60);
/// Pods of the server; the caller is one more.
const PODS: usize = 5;

#[test]
fn proxies_of_all_replicas_are_counted() {
    install();
    let shop = Namespace::new("counts", &["istio-injection=enabled"]);
    let server = manifests::app("server", "v1").replace("replicas: 1", &format!("replicas: {PODS}"));
    shop.apply(&(manifests::service("server") + &server));
    shop.ready(&["server-v1"]);
    let caller = shop.caller("caller");
    shop.apply(RULE);
    // From now on it is told of the service.
    assert_eq!(caller.get("http://server/").status, 200);
    spread(&shop);
    all_are_counted(&shop, "on both replicas");
    let leader = get(["-n", "weft-system", "lease", "weft-controlplane"]);
    let leader = leader["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    kubectl(["-n", "weft-system", "delete", "pod", &leader]);
    all_are_counted(&shop, "without the leader that was");
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=90s"]);
    for (name, address) in replicas() {
        within(SETTLED, &format!("weft status at {name}"), || {
            let current = current(&shop, &address)?;
            if current == PODS + 1 { Ok(()) } else { Err(format!("{current} sidecars are current")) }
        });
    }
}

/// Each replica has some; a new pod chooses anew.
fn spread(shop: &Namespace) {
    within(SETTLED, "both replicas have proxies", || {
        let connected: Vec<usize> =
            replicas().iter().map(|(_, address)| own(address)).collect::<Result<_, String>>()?;
        if connected.len() == 2 && connected.iter().all(|count| *count > 0) {
            return Ok(());
        }
        let pod = shop.pods("app=server")[0]["metadata"]["name"].as_str().unwrap().to_owned();
        shop.kubectl(["delete", "pod", &pod]);
        shop.ready(&["server-v1"]);
        Err(format!("{connected:?}"))
    });
}

/// By its own metrics.
fn own(address: &str) -> Result<usize, String> {
    let text = std::process::Command::new("curl").args(["-s", &format!("http://{address}/metrics")]).output();
    let text = String::from_utf8(text.unwrap().stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("pilot_xds{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).ok_or(text)
}

fn all_are_counted(shop: &Namespace, when: &str) {
    let want = format!("{0}/{0}", PODS + 1);
    within(SETTLED, &format!("{want} proxies run it, {when}"), || {
        let object = shop.get(["virtualservice", "server"]);
        let summary = object["status"]["proxies"]["summary"].as_str().unwrap_or_default().to_owned();
        if summary == want { Ok(()) } else { Err(summary) }
    });
}

/// Names and status ports of the replicas that are Ready.
fn replicas() -> Vec<(String, String)> {
    let pods = get(["-n", "weft-system", "pods", "-l", "app.kubernetes.io/name=weft-controlplane"]);
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let here = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    here.map(|pod| (text(&pod["metadata"]["name"]), format!("{}:15014", text(&pod["status"]["podIP"])))).collect()
}

fn current(shop: &Namespace, address: &str) -> Result<usize, String> {
    let report = weft(["status", "-o", "json", "--at", address])?;
    let report: Value = serde_json::from_str(&report).map_err(|error| format!("{error}: {report}"))?;
    let of_shop = |proxy: &&Value| proxy["workload"].as_str().is_some_and(|name| name.starts_with(&shop.name));
    let proxies = report["proxies"].as_array().cloned().unwrap_or_default();
    Ok(proxies.iter().filter(of_shop).filter(|proxy| proxy["state"] == "current").count())
}

const RULE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: server}
spec:
  hosts: [server]
  http: [{headers: {request: {set: {x-counted: 'yes'}}}, route: [{destination: {host: server}}]}]
";
