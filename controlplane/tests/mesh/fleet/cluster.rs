//! The fleet's objects in the API server, and their changes.

use futures_util::StreamExt;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

const NAMESPACE: &str = "fleet";
const AT_ONCE: usize = 16;

pub(super) struct Cluster {
    client: Client,
}

/// What a sidecar shows at first contact.
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) token: String,
}

impl Cluster {
    pub(super) async fn connect() -> Self {
        // Another test of this process may have done so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster");
        let cluster = Self { client };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let all = cluster.all("", "v1", "Namespace", "namespaces");
        all.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        cluster
    }

    pub(super) async fn clear(&self) {
        let all = self.all("", "v1", "Namespace", "namespaces");
        all.delete(NAMESPACE, &DeleteParams::default()).await.unwrap();
    }

    pub(super) fn service(n: usize) -> String {
        format!("s{n:04}")
    }

    /// Services, their endpoints and rules, and the pods.
    pub(super) async fn fill(&self, services: usize) {
        self.create("", "v1", "ServiceAccount", account()).await;
        let all = futures_util::stream::iter(0..services).map(|n| async move {
            self.create("", "v1", "Service", service(n)).await;
            self.create("discovery.k8s.io", "v1", "EndpointSlice", slice(n, 0)).await;
            self.create("networking.istio.io", "v1", "VirtualService", rule(n, "none")).await;
            for which in 0..2 {
                let pod: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
                self.create("", "v1", "Pod", self::pod(n, which)).await;
                let address = address(n, which);
                let status = json!({"status": {
                    "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                }});
                let patch = Patch::Merge(&status);
                pod.patch_status(&pod_name(n, which), &PatchParams::default(), &patch).await.unwrap();
            }
        });
        all.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// Where sidecars connect: WEFT_FLEET_AT, or else Weft's Service.
    pub(super) async fn control_plane(&self) -> SocketAddr {
        if let Ok(at) = std::env::var("WEFT_FLEET_AT") {
            return at.parse().expect("WEFT_FLEET_AT is an address and a port");
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), "weft-system");
        let service = services.get("weft-controlplane").await.expect("Weft is installed");
        let address = service.spec.and_then(|spec| spec.cluster_ip).expect("it has an address");
        SocketAddr::new(address.parse().unwrap(), 15012)
    }

    /// The first pod of service `n`.
    pub(super) async fn pod(&self, n: usize) -> Shown {
        let name = pod_name(n, 0);
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let uid = pods.get(&name).await.unwrap().metadata.uid;
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
        let request: TokenRequest = serde_json::from_value(json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {},
            "spec": {"audiences": ["weft-ca"], "boundObjectRef": bound},
        }))
        .unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let answer = accounts.create_token_request(NAMESPACE, &PostParams::default(), &request).await.unwrap();
        Shown { name: format!("{NAMESPACE}/{name}"), token: answer.status.unwrap().token }
    }

    pub(super) async fn rule(&self, n: usize, value: &str) {
        let patch = json!({"spec": rule(n, value)["spec"]});
        self.patch(("networking.istio.io", "VirtualService", "virtualservices"), &Self::service(n), &patch).await;
    }

    pub(super) async fn endpoint(&self, n: usize, generation: usize) {
        let patch = json!({"endpoints": slice(n, generation + 1)["endpoints"]});
        self.patch(("discovery.k8s.io", "EndpointSlice", "endpointslices"), &Self::service(n), &patch).await;
    }

    pub(super) async fn apply(&self, n: usize, value: &str) {
        let mut kubectl = tokio::process::Command::new("kubectl")
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut object = rule(n, value);
        object["apiVersion"] = json!("networking.istio.io/v1");
        object["kind"] = json!("VirtualService");
        let mut input = kubectl.stdin.take().expect("standard input is piped");
        input.write_all(object.to_string().as_bytes()).await.unwrap();
        drop(input);
        assert!(kubectl.wait().await.unwrap().success());
    }

    async fn patch(&self, (group, kind, plural): (&str, &str, &str), name: &str, patch: &Value) {
        let api = self.api(group, "v1", kind, plural);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn create(&self, group: &str, version: &str, kind: &str, mut object: Value) {
        object["apiVersion"] = json!(if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") });
        object["kind"] = json!(kind);
        let plural = format!("{}s", kind.to_lowercase());
        let api = self.api(group, version, kind, &plural);
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }

    fn api(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    fn all(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::all_with(self.client.clone(), &resource)
    }
}

fn pod_name(n: usize, which: usize) -> String {
    format!("{}-{which}", Cluster::service(n))
}

/// Of no network: nobody sends anything there.
fn address(n: usize, which: usize) -> String {
    let number = 2 * n + which;
    format!("198.18.{}.{}", number / 250, number % 250 + 1)
}

fn account() -> Value {
    json!({"metadata": {"name": NAMESPACE}})
}

fn service(n: usize) -> Value {
    // Without a selector: the endpoints are ours to change.
    json!({"metadata": {"name": Cluster::service(n)}, "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

fn slice(n: usize, generation: usize) -> Value {
    let reference = |which: usize| json!({"kind": "Pod", "namespace": NAMESPACE, "name": pod_name(n, which)});
    let moved = format!("198.19.{}.{}", generation / 250 % 250, generation % 250 + 1);
    let second = if generation == 0 { address(n, 1) } else { moved };
    json!({
        "metadata": {"name": Cluster::service(n), "labels": {"kubernetes.io/service-name": Cluster::service(n)}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": [address(n, 0)], "conditions": {"ready": true}, "targetRef": reference(0)},
            {"addresses": [second], "conditions": {"ready": true}, "targetRef": reference(1)},
        ],
    })
}

fn rule(n: usize, value: &str) -> Value {
    let name = Cluster::service(n);
    let headers = json!({"request": {"set": {"x-fleet": value}}});
    let route = json!([{"destination": {"host": name}}]);
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"hosts": [name], "http": [{"headers": headers, "route": route}]},
    })
}

/// Scheduled by nobody, so that no kubelet and no garbage collector looks at it.
fn pod(n: usize, which: usize) -> Value {
    json!({
        "metadata": {
            "name": pod_name(n, which),
            "labels": {"app": Cluster::service(n), "version": "v1", "security.istio.io/tlsMode": "istio"},
            "annotations": {"sidecar.weft.dev/status": "{}"},
        },
        "spec": {
            "serviceAccountName": NAMESPACE, "schedulerName": "nobody",
            "containers": [{"name": "app", "image": "none", "ports": [{"containerPort": 8080}]}],
        },
    })
}
