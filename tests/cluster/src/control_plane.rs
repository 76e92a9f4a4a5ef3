//! The control plane in the cluster: its replicas, each asked by itself, replaced and killed.

use crate::{get, image_prefix, kubectl, weft, within};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The Deployment `weft-controlplane`, which has two replicas as installed.
pub struct ControlPlane;

/// One Ready replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    pub name: String,
    pub ip: String,
}

impl ControlPlane {
    /// Those that are Ready and stay.
    pub fn pods() -> Vec<Pod> {
        let mut pods: Vec<Pod> = Self::all().iter().filter(|pod| is_ready(pod)).map(Pod::of).collect();
        pods.sort();
        pods
    }

    fn all() -> Vec<Value> {
        let list = get(["pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=weft-controlplane"]);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until two replicas are Ready and no other pod of it is left, also none that ends and still serves.
    #[track_caller]
    pub fn settled() -> [Pod; 2] {
        kubectl(["-n", NAMESPACE, "rollout", "status", "deployment/weft-controlplane", "--timeout=120s"]);
        within(READY_MAX, "two replicas are Ready, and alone", || {
            let all = Self::all();
            let ready = <[Pod; 2]>::try_from(Self::pods());
            if all.len() == 2 { ready } else { Err(all.iter().map(Pod::of).collect()) }
        })
    }

    /// Deletes one replica after the other, each when the one before has been replaced.
    #[track_caller]
    pub fn replace_one_by_one() {
        let before = Self::settled();
        for old in &before {
            kubectl(["-n", NAMESPACE, "delete", "pod", &old.name]);
            Self::settled();
        }
        assert!(Self::settled().iter().all(|pod| !before.contains(pod)), "{before:?} are still there");
    }

    /// With no replica running, until it is started again.
    #[track_caller]
    pub fn stopped() {
        Self::scale(0);
        within(READY_MAX, "no replica is left", || {
            let all: Vec<Pod> = Self::all().iter().map(Pod::of).collect();
            if all.is_empty() { Ok(()) } else { Err(all) }
        });
    }

    #[track_caller]
    pub fn started() {
        Self::scale(2);
        Self::settled();
    }

    fn scale(replicas: u8) {
        let replicas = format!("--replicas={replicas}");
        kubectl(["-n", NAMESPACE, "scale", "deployment/weft-controlplane", &replicas]);
    }

    /// Runs another image of it: `weft-controlplane:TAG`.
    #[track_caller]
    pub fn run_image(tag: &str) {
        let image = format!("weft-controlplane={}/weft-controlplane:{tag}", image_prefix());
        kubectl(["-n", NAMESPACE, "set", "image", "deployment/weft-controlplane", &image]);
        Self::settled();
    }

    /// The pod that holds the Lease.
    pub fn leader() -> String {
        let lease = get(["lease", "weft-controlplane", "-n", NAMESPACE]);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self { name: text(&pod["metadata"]["name"]), ip: text(&pod["status"]["podIP"]) }
    }

    /// What `weft status -o json` says of this replica.
    pub fn report(&self) -> Result<Value, String> {
        let said = weft(["status", "-o", "json", "--at", &format!("{}:{STATUS_PORT}", self.ip)])?;
        serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
    }

    /// One of its metrics, by name and labels as they are written.
    pub fn metric(&self, series: &str) -> u64 {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in {text}"))
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(format!("{}:{STATUS_PORT}", self.ip)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: weft\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|on| on["type"] == "Ready" && on["status"] == "True");
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

const NAMESPACE: &str = "weft-system";
const STATUS_PORT: u16 = 15014;
const READY_MAX: Duration = Duration::from_secs(60);
