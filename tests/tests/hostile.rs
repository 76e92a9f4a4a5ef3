//! A filter that loops, traps or eats memory harms its own route alone: a clean route on the same worker takes load
//! meanwhile, and none of its requests fails or changes. Asserted by counters, never by time.
#![allow(clippy::unwrap_used)]

use http::Request;
use weft_tests::yaml::{caller, service, virtual_service, workload};
use weft_tests::{App, Client, Load, Mesh, MeshOptions, Version, eventually_async, filter_component, push};

/// What the hostile guest does to each request, and the kind of failure that this must be.
const DEEDS: &[(&str, &str)] = &[
    ("loop", "deadline"),
    ("memory", "memory"),
    ("recursion", "stack"),
    ("trap", "trap"),
    ("panic", "trap"),
    ("slot", "output"),
    ("value", "output"),
    ("status", "output"),
];

fn filter(name: &str, image: &str, config: &str) -> String {
    format!(
        "apiVersion: weft.dev/v1alpha1\nkind: Filter\nmetadata: {{name: {name}}}\nspec:\n  image: oci-layout:../{image}:1\n  limits: {{memory: 2Mi}}\n  config: {config}\n---\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_filters_harm_nobody_else() {
    let app = App::http("echo").await;
    let mut yaml = vec![caller("client"), service("echo", "http"), workload("echo", "v1", "http", app.address)];
    let mut routes = String::new();
    for (deed, _) in DEEDS {
        yaml.push(filter(&format!("hostile-{deed}"), "hostile", &format!("{{request: {deed}}}")));
        routes += &format!(
            "  - match: [{{uri: {{exact: /{deed}}}}}]\n    filters: [{{name: hostile-{deed}}}]\n    route: [{{destination: {{host: echo}}}}]\n"
        );
    }
    yaml.push(filter("clean", "headers", "{request: {set: {x-clean: 'yes'}}, response: {set: {x-clean: 'yes'}}}"));
    routes += "  - filters: [{name: clean}]\n    retries: {attempts: 0}\n    route: [{destination: {host: echo}}]";
    yaml.push(virtual_service("echo", &routes));
    let options = MeshOptions { sidecar: vec!["--workers".into(), "1".into()], ..Default::default() };
    let mut mesh = Mesh::start(&yaml.concat(), options);
    let image = |name: &str| format!("oci-layout:{}:1", mesh.path().join(name).display());
    push(&filter_component("tests/guests/hostile"), &image("hostile"));
    push(&filter_component("filters/headers"), &image("headers"));
    mesh.join("client").await;
    let outbound = mesh.sidecar("client").outbound;
    let mut client = Client::new(outbound, Version::Http1);
    eventually_async("the clean route answers through its filter", async || {
        let answer = client.get("http://echo:8080/clean").await?;
        if answer.header("x-clean") == "yes" { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
    })
    .await;

    let mut admin = Client::new(mesh.sidecar("client").admin, Version::Http1);
    eventually_async("every hostile filter is loaded", async || {
        let filters = admin.get("/filters").await?.json();
        let ready = |deed: &str| {
            let all = filters["filters"].as_array().into_iter().flatten();
            all.clone().any(|f| f["key"] == format!("default/hostile-{deed}") && f["state"] == "ready")
        };
        if DEEDS.iter().all(|(deed, _)| ready(deed)) { Ok(()) } else { Err(filters.to_string()) }
    })
    .await;

    let request = |_| (Request::get("http://echo:8080/clean").body(Default::default()).unwrap(), ());
    let load = Load::start((outbound, Version::Http1), 2, request, |(), answer| {
        let right = answer.status == 200 && answer.header("x-clean") == "yes" && answer.text() == "echo";
        if right { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
    });
    for (deed, _) in DEEDS {
        for round in 0..6 {
            let answer = client.get(&format!("http://echo:8080/{deed}")).await.unwrap();
            assert_eq!(answer.status, 503, "{deed}, request {round}: {}", answer.text());
        }
    }
    load.made(1_000).await;
    load.stop().await.assert_clean(1_000);

    let filters = Client::new(mesh.sidecar("client").admin, Version::Http1).get("/filters").await.unwrap().json();
    let figures = |name: &str| {
        let all = filters["filters"].as_array().unwrap();
        all.iter()
            .find(|filter| filter["key"] == format!("default/{name}"))
            .unwrap_or_else(|| panic!("{name}: {filters}"))
    };
    let clean = figures("clean");
    let failed: u64 = clean["failures"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(
        (failed, clean["place"].as_str()),
        (0, Some("worker")),
        "no call of the clean filter was interrupted: {clean}"
    );
    for (deed, kind) in DEEDS {
        let hostile = figures(&format!("hostile-{deed}"));
        assert!(hostile["failures"][kind].as_u64() > Some(0), "{deed} fails as {kind}: {hostile}");
    }
    let looping = figures("hostile-loop");
    assert_eq!(looping["misses_on_workers"], 3, "it stops running on the workers after its third miss: {looping}");
    assert_ne!(looping["place"], "worker", "{looping}");
}
