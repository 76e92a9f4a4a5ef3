//! A change is applied whole: every answer belongs to the old configuration or to the new one, never to parts of both.
#![allow(clippy::unwrap_used)]

use http::Request;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use weft_tests::yaml::{STRICT, caller, service, virtual_service, workload};
use weft_tests::{Answer, App, Client, Load, Mesh, MeshOptions, Version, eventually_async, filter_component, push};

const FLIPS: u64 = 30;

/// One configuration: its rule, the workloads that its subset means, its retries' budget and its filter's config all
/// say `word`.
fn configuration(word: &str) -> String {
    let rule = format!(
        "  - headers: {{response: {{set: {{x-rule: {word}}}}}}}\n    filters: [{{name: mark}}]\n    retries: {{attempts: 0}}\n    route: [{{destination: {{host: echo, subset: live}}}}]"
    );
    let subset = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: echo}}\nspec:\n  host: echo\n  subsets: [{{name: live, labels: {{version: {word}}}}}]\n---\n"
    );
    let filter = format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Filter\nmetadata: {{name: mark}}\nspec:\n  image: oci-layout:../images:1\n  config: {{response: {{set: {{x-filter: {word}}}}}}}\n---\n"
    );
    [virtual_service("echo", &rule), subset, filter].concat()
}

/// What rule, filter and workload say; all three must be one word.
fn judge(answer: &Answer) -> Result<(), String> {
    let says = [answer.header("x-rule"), answer.header("x-filter"), answer.header("x-app")];
    let whole =
        answer.status == 200 && says.iter().all(|word| *word == says[0]) && ["blue", "green"].contains(&says[0]);
    if whole {
        Ok(())
    } else {
        Err(format!("{} with rule, filter and workload {says:?}: {}", answer.status, answer.text()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_mixes_two_configurations() {
    let [blue, green] = [App::http("blue").await, App::http("green").await];
    let members = [
        STRICT.to_owned(),
        caller("client"),
        service("echo", "http"),
        workload("echo", "blue", "http", blue.address),
        workload("echo", "green", "http", green.address),
    ];
    let mut mesh = Mesh::start(&members.concat(), MeshOptions::default());
    push(&filter_component("filters/headers"), &format!("oci-layout:{}:1", mesh.path().join("images").display()));
    mesh.write("rules.yaml", &configuration("blue"));
    for name in ["echo-blue", "echo-green", "client"] {
        mesh.join(name).await;
    }
    let outbound = mesh.sidecar("client").outbound;
    follows(&mesh, "blue").await;

    let seen: Arc<[AtomicU64; 2]> = Arc::default();
    let start = |version| {
        let seen = Arc::clone(&seen);
        let request = |_| (Request::get("http://echo:8080/").body(Default::default()).unwrap(), ());
        Load::start((outbound, version), 3, request, move |(), answer| {
            seen[usize::from(answer.header("x-rule") == "green")].fetch_add(1, Ordering::Relaxed);
            judge(answer)
        })
    };
    let loads = [start(Version::Http1), start(Version::Http2)];
    for flip in 0..FLIPS {
        let word = ["green", "blue"][usize::from(flip % 2 == 1)];
        mesh.write("rules.yaml", &configuration(word));
        follows(&mesh, word).await;
    }
    for load in loads {
        load.made(500).await;
        load.stop().await.assert_clean(500);
    }
    for (word, seen) in ["blue", "green"].iter().zip(&*seen) {
        assert!(seen.load(Ordering::Relaxed) >= FLIPS, "the load hardly met {word}");
    }
}

/// Waits until a request meets this configuration.
async fn follows(mesh: &Mesh, word: &str) {
    let mut client = Client::new(mesh.sidecar("client").outbound, Version::Http1);
    eventually_async(&format!("the client's sidecar follows {word}"), async || {
        let answer = client.get("http://echo:8080/").await?;
        if answer.header("x-rule") == word { judge(&answer) } else { Err(answer.header("x-rule").to_owned()) }
    })
    .await;
}
