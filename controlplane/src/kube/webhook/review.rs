//! AdmissionReview (admission.k8s.io/v1): what the API server asks, and how it is answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// One question.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    request: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Allowed {
        /// JSONPatch; empty: as it is.
        patch: Vec<Value>,
        warnings: Vec<String>,
    },
    /// A sentence with its remedy.
    Denied { reason: String, warnings: Vec<String> },
}

impl Verdict {
    pub(super) fn allowed() -> Self {
        Self::Allowed { patch: Vec::new(), warnings: Vec::new() }
    }
}

impl Asked {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut review: Value = serde_json::from_slice(body).ok()?;
        let ours = review["kind"] == "AdmissionReview" && review["apiVersion"] == "admission.k8s.io/v1";
        let request = review.get_mut("request")?.take();
        (ours && request["uid"].is_string()).then_some(Self { request })
    }

    pub(super) fn object(&self) -> &Value {
        &self.request["object"]
    }

    /// `null` where there was none.
    pub(super) fn old(&self) -> &Value {
        &self.request["oldObject"]
    }

    pub(super) fn operation(&self) -> &str {
        self.request["operation"].as_str().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.request["namespace"].as_str().unwrap_or_default()
    }

    /// Group and kind.
    pub(super) fn kind(&self) -> (&str, &str) {
        let kind = &self.request["kind"];
        (kind["group"].as_str().unwrap_or_default(), kind["kind"].as_str().unwrap_or_default())
    }

    pub(super) fn answer(&self, verdict: &Verdict) -> String {
        let uid = &self.request["uid"];
        let response = match verdict {
            Verdict::Allowed { patch, warnings } => {
                let mut response = json!({"uid": uid, "allowed": true});
                if !patch.is_empty() {
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = STANDARD.encode(json!(patch).to_string()).into();
                }
                warn(response, warnings)
            }
            Verdict::Denied { reason, warnings } => {
                let status = json!({"code": 403, "reason": "Forbidden", "message": reason});
                warn(json!({"uid": uid, "allowed": false, "status": status}), warnings)
            }
        };
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
    }
}

fn warn(mut response: Value, warnings: &[String]) -> Value {
    if !warnings.is_empty() {
        response["warnings"] = json!(warnings);
    }
    response
}
