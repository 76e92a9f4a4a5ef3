//! Calls from a pod, by the client in it, as its own containers would make them: through a sidecar where it has one.

use crate::within;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

pub struct Caller {
    namespace: String,
    name: String,
}

/// What came back; `status` 0 and a reason in `error` where nothing did.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u64,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub error: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The app that answered, by its own word.
    pub fn app(&self) -> &str {
        self.header("x-app")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    fn of(line: &str) -> Self {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let headers = line["headers"].as_object().into_iter().flatten();
        Self {
            status: line["status"].as_u64().unwrap_or_default(),
            headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
            body: text(&line["body"]),
            error: text(&line["error"]),
        }
    }
}

impl Caller {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[track_caller]
    pub fn get(&self, url: &str) -> Answer {
        self.ask(url, &[]).remove(0)
    }

    /// Asks until the answer is the wanted one: for the first request to a service. A pod is Ready before kube-proxy and
    /// the sidecars have heard of it, and nothing in Kubernetes says when they have.
    #[track_caller]
    pub fn until(&self, url: &str, options: &[&str], wanted: impl Fn(&Answer) -> bool) -> Answer {
        within(FIRST_MAX, &format!("{url} answers as it should"), || {
            let answer = self.ask(url, options).remove(0);
            if wanted(&answer) { Ok(answer) } else { Err(answer) }
        })
    }

    /// The client's own options: `ask(url, &["--times", "20", "--http2", "--header", "end-user: jason"])`.
    #[track_caller]
    pub fn ask(&self, url: &str, options: &[&str]) -> Vec<Answer> {
        let mut command = self.exec(&[]);
        command.args(["get", url]).args(options);
        let output = command.output().unwrap();
        let answers: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(Answer::of).collect();
        assert!(!answers.is_empty(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        answers
    }

    /// Open-loop HTTP requests until [`Load::stop`], the first of them answered when this returns; the client's own options, such as `--rate 200`,
    /// `--expect x-app=reviews-v1|reviews-v2`.
    #[track_caller]
    pub fn load(&self, url: &str, options: &[&str]) -> Load {
        self.start_load("http", url, options)
    }

    /// gRPC streams, one after the other, until [`Load::stop`].
    #[track_caller]
    pub fn grpc_load(&self, url: &str, options: &[&str]) -> Load {
        self.start_load("grpc", url, options)
    }

    fn start_load(&self, kind: &str, url: &str, options: &[&str]) -> Load {
        let mut command = self.exec(&["-i"]);
        command.args(["load", kind, url]).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        assert_eq!(first.trim_end(), "begun", "{command:?}");
        Load { what: format!("{command:?}"), child, output }
    }

    fn exec(&self, options: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(["-n", &self.namespace, "exec"]).args(options);
        command.args([&format!("deployment/{}", self.name), "-c", "app", "--", "/weft-cluster-app"]);
        command
    }
}

/// Until the news of a pod is everywhere, on a busy machine.
const FIRST_MAX: Duration = Duration::from_secs(30);

pub struct Load {
    what: String,
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What a load saw.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    pub failed: u64,
    /// Some of them in words.
    pub failures: Vec<String>,
    /// Right, and later than the client's `--limit`, 1 s.
    pub slow: u64,
    pub slowest_ms: u64,
    /// How often each app answered.
    pub apps: BTreeMap<String, u64>,
}

impl Load {
    #[track_caller]
    pub fn stop(mut self) -> Tally {
        drop(self.child.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        let tally: Value = serde_json::from_str(&said).unwrap_or_default();
        assert!(status.success() && tally.is_object(), "{} ended with {status}: {said}", self.what);
        let apps = tally["apps"].as_object().into_iter().flatten();
        Tally {
            requests: tally["requests"].as_u64().unwrap_or_default(),
            failed: tally["failed"].as_u64().unwrap_or_default(),
            failures: tally["failures"].as_array().into_iter().flatten().map(ToString::to_string).collect(),
            slow: tally["slow"].as_u64().unwrap_or_default(),
            slowest_ms: tally["slowest_ms"].as_u64().unwrap_or_default(),
            apps: apps.map(|(name, count)| (name.clone(), count.as_u64().unwrap_or_default())).collect(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tally {
    #[track_caller]
    pub fn assert_clean(&self, requests_min: u64) {
        assert_eq!(self.failed, 0, "{} of {} requests failed: {:#?}", self.failed, self.requests, self.failures);
        assert!(self.requests >= requests_min, "only {} requests were made, {requests_min} wanted", self.requests);
    }
}
