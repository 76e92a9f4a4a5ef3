//! What the sidecar reads and keeps: its token, the mesh's root, its state, and what the pod's author adds.

use super::overlay::lists;
use super::wishes::Wishes;
use serde_json::{Value, json};

pub(super) const TOKEN: &str = "weft-token";
pub(super) const ROOT: &str = "weft-root";
pub(super) const STATE: &str = "weft-state";

pub(super) const TOKEN_FOLDER: &str = "/var/run/secrets/weft";
pub(super) const ROOT_FOLDER: &str = "/etc/weft/root";
/// The volume's own folder is the kubelet's; the proxy makes one of its own in it.
pub(super) const STATE_FOLDER: &str = "/var/lib/weft";

pub(super) fn place(pod: &mut Value, wishes: &Wishes) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if volumes.is_null() {
        *volumes = json!([]);
    }
    let mut ours = own();
    ours.extend(wishes.volumes.iter().cloned());
    lists(volumes, Value::Array(ours), "name");
}

pub(super) fn mounts(wishes: &Wishes) -> Vec<Value> {
    let mut mounts = vec![
        json!({"name": TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": true}),
        json!({"name": ROOT, "mountPath": ROOT_FOLDER, "readOnly": true}),
        json!({"name": STATE, "mountPath": STATE_FOLDER}),
    ];
    mounts.extend(wishes.mounts.iter().cloned());
    mounts
}

fn own() -> Vec<Value> {
    let token = json!({"audience": "weft-ca", "expirationSeconds": 43_200, "path": "token"});
    vec![
        json!({"name": TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}}),
        json!({"name": ROOT, "configMap": {"name": "weft-root"}}),
        // A key must not reach a disk.
        json!({"name": STATE, "emptyDir": {"medium": "Memory"}}),
    ]
}
