//! What a mesh must not lose: open-loop load through each disturbance and past it, from a pod with and one without a
//! sidecar, over HTTP/1.1 keepalive, new connections and gRPC streams. Nothing is retried, and nothing may fail.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};
use weft_cluster_tests::{Caller, Filters, Load, Namespace, install, kubectl, kubectl_with};
use weft_tests::{filter_component, variant};

/// How long the load goes on when the disturbance is over.
const PAST: Duration = Duration::from_secs(30);

struct Shop {
    namespace: Namespace,
    inside: Caller,
    _outside: Namespace,
    stranger: Caller,
}

/// A server of two replicas in the mesh, and callers in it and outside.
fn shop(name: &str) -> Shop {
    install();
    let namespace = Namespace::new(name, &["istio-injection=enabled"]);
    namespace.app("server", "v1");
    namespace.kubectl(["scale", "deployment/server-v1", "--replicas=2"]);
    namespace.ready(&["server-v1"]);
    let outside = Namespace::new(&format!("{name}-outside"), &[]);
    let (inside, stranger) = (namespace.caller("caller"), outside.caller("stranger"));
    let shop = Shop { namespace, inside, _outside: outside, stranger };
    for caller in [&shop.inside, &shop.stranger] {
        caller.until(&shop.url("/"), &[], |answer| (answer.status, answer.app()) == (200, "server-v1"));
    }
    shop
}

impl Shop {
    fn url(&self, path: &str) -> String {
        format!("http://server.{}{path}", self.namespace.name)
    }

    /// Load of each kind, until [`judge`].
    fn load(&self, expect: &[&str]) -> Vec<(&'static str, Load, u64)> {
        let options = [&["--rate", "200", "--expect", "x-app=server-v1"], expect].concat();
        vec![
            ("with a sidecar", self.inside.load(&self.url("/"), &options), 200),
            (
                "without a sidecar",
                self.stranger.load(&self.url("/"), &["--rate", "100", "--expect", "x-app=server-v1"]),
                100,
            ),
            ("gRPC with a sidecar", self.inside.grpc_load(&self.url("/echo.Echo/Echo"), &[]), 1),
        ]
    }
}

/// All of it has to be right, and to have gone on for as long as it should.
fn judge(load: Vec<(&'static str, Load, u64)>, start: Instant) {
    std::thread::sleep(PAST);
    let seconds = start.elapsed().as_secs();
    let mut wrong = Vec::new();
    for (who, load, rate) in load {
        let tally = load.stop();
        println!("{who}: {} requests, {} failed, slowest {} ms", tally.requests, tally.failed, tally.slowest_ms);
        if tally.failed > 0 || tally.requests < seconds * rate * 8 / 10 {
            wrong.push(format!("{who}: {tally:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_filter_is_swapped() {
    let filters = Filters::start();
    let shop = shop("swap");
    kubectl_with(["apply", "-f", "-"], &filters.mesh()).unwrap();
    let component = filter_component("filters/headers");
    let image = filters.push_component(&component, "filters/headers", "1");
    shop.namespace.apply(&format!(
        "apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {{name: headers}}
spec:
  image: {image}
  refresh: 1s
  config: {{response: {{set: {{x-filtered: 'yes'}}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: server}}
spec:
  hosts: [server]
  http:
  - filters: [{{name: headers}}]
    route: [{{destination: {{host: server}}}}]
"
    ));
    shop.inside.until(&shop.url("/"), &[], |answer| answer.header("x-filtered") == "yes");
    let digest = || shop.namespace.kubectl(["get", "filter/headers", "-o", "jsonpath={.status.digest}"]);
    let first = digest();
    let (load, start) = (shop.load(&["--expect", "x-filtered=yes"]), Instant::now());
    filters.push_component(&variant(&component, 1), "filters/headers", "1");
    weft_cluster_tests::eventually("the filter's status names the new digest", || {
        let now = digest();
        if now.starts_with("sha256:") && now != first { Ok(()) } else { Err(now) }
    });
    judge(load, start);
}

#[test]
fn every_deployment_is_restarted() {
    let shop = shop("restart");
    let (load, start) = (shop.load(&[]), Instant::now());
    shop.namespace.kubectl(["rollout", "restart", "deployment/server-v1"]);
    shop.namespace.ready(&["server-v1"]);
    kubectl(["-n", "weft-system", "rollout", "restart", "deployment/weft-controlplane"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    judge(load, start);
}

#[test]
fn the_control_plane_is_killed() {
    let shop = shop("kill");
    let (load, start) = (shop.load(&[]), Instant::now());
    kubectl(["-n", "weft-system", "delete", "pods", "--all", "--grace-period=0", "--force"]);
    kubectl(["-n", "weft-system", "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
    judge(load, start);
}
