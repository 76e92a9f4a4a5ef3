//! What the demo's config says of each call, and whether an answer is that.

use super::audience::Answer;
use std::collections::BTreeSet;

/// One line of the script.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) url: String,
    /// Of the load's requests, in proportion to the other calls.
    pub(super) share: u32,
}

pub(super) const REVIEWS: &str = "reviews";
pub(super) const PRODUCTPAGE: &str = "productpage";
pub(super) const DETAILS: &str = "details";
pub(super) const RATINGS: &str = "ratings";

pub(super) fn script() -> Vec<Call> {
    let call = |name, path: &str, share| Call { name, url: format!("http://{name}:9080{path}"), share };
    vec![
        call(REVIEWS, "/reviews/0", 7),
        call(PRODUCTPAGE, "/productpage", 1),
        call(DETAILS, "/book/0", 1),
        call(RATINGS, "/ratings/0", 1),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// Right, and by this version of reviews.
    Version(String),
}

/// The versions of reviews that the canary may choose.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    pub(super) versions: BTreeSet<&'static str>,
}

impl Expectation {
    pub(super) fn judge(&self, call: &str, answer: &Result<Answer, String>) -> Result<Verdict, String> {
        let answer = answer.as_ref().map_err(Clone::clone)?;
        let status = |wanted: u16| match answer.status == wanted {
            true => Ok(()),
            false => Err(format!("status {} where {wanted} is right: {}", answer.status, start(&answer.text()))),
        };
        match call {
            REVIEWS => {
                status(200)?;
                let version = version(answer)?;
                match self.versions.contains(version.as_str()) {
                    true => Ok(Verdict::Version(version)),
                    false => Err(format!("reviews {version} answered, which the canary may not choose")),
                }
            }
            PRODUCTPAGE => {
                status(200)?;
                let page = answer.text();
                let whole = page.contains("The Comedy of Errors") && !page.contains("Sorry");
                whole.then_some(Verdict::Right).ok_or_else(|| "the page lacks a part".to_owned())
            }
            DETAILS => {
                status(200)?;
                let header = answer.header("x-served-to");
                let right = header == "anonymous";
                right.then_some(Verdict::Right).ok_or_else(|| format!("x-served-to is {header:?}, not anonymous"))
            }
            RATINGS => {
                status(403)?;
                let said = answer.text().contains("ratings are for reviews alone");
                said.then_some(Verdict::Right)
                    .ok_or_else(|| format!("a 403 without its reason: {}", start(&answer.text())))
            }
            other => Err(format!("nobody expects {other}")),
        }
    }
}

/// `reviews-v3` in the JSON's `podname` is version v3.
fn version(answer: &Answer) -> Result<String, String> {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| format!("no JSON: {error}"))?;
    let pod = json["podname"].as_str().unwrap_or_default();
    pod.strip_prefix("reviews-")
        .map(str::to_owned)
        .ok_or_else(|| format!("podname {pod:?} names no version of reviews"))
}

fn start(text: &str) -> String {
    text.chars().take(120).collect()
}
