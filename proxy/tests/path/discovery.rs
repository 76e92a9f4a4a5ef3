//! Hosts that the plan does not know: asked for, waited for, and never let through on a guess.

use crate::app::App;
use crate::client::Client;
use crate::config::{Served, endpoint, host, workload};
use crate::proxy::{Proxy, Setup};
use http::StatusCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use weft_proxy::discovery::Discovery;
use weft_snapshot::{Answer, Host, OutboundPolicy, Snapshot};

#[derive(Default)]
struct Asked(Mutex<Vec<String>>);

impl Discovery for Asked {
    fn ask(&self, host: &Host) {
        self.0.lock().unwrap().push(host.to_string());
    }
}

fn known(policy: OutboundPolicy) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut workload = workload("client", vec![]);
    workload.outbound = policy;
    snapshot.set_workload(workload);
    snapshot
}

/// `patience` is for silence: a test that answers does so in its own time.
fn start(policy: OutboundPolicy, patience: Duration) -> (Arc<Asked>, Proxy) {
    let asked = Arc::<Asked>::default();
    let mut setup = Setup { discovery: Some(Arc::clone(&asked) as _), ..known(policy).into() };
    setup.settings.discovery_timeout = patience;
    (asked, Proxy::start(setup))
}

const UNHURRIED: Duration = Duration::from_secs(10);

async fn asked_for(asked: &Asked, host: &str) {
    crate::eventually("the host is asked for", async || {
        asked.0.lock().unwrap().contains(&host.to_owned()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_waits_for_the_answer() {
    let app = App::saying("found").await;
    let (asked, proxy) = start(OutboundPolicy::AllowAny, UNHURRIED);
    let address = proxy.outbound;
    let waiting = tokio::spawn(async move { Client::http1(address).await.get("http://Reviews:9080/").await });
    asked_for(&asked, "reviews").await;
    let mut snapshot = Served::http("reviews.default.svc", vec![endpoint(app.address)]).alone();
    snapshot.add_answer(Answer { asked: host("reviews"), service: Some(host("reviews.default.svc")) });
    proxy.publish(&snapshot);
    assert_eq!(waiting.await.unwrap().text, "found");
}

#[tokio::test]
async fn absent_is_an_answer_and_silence_is_none() {
    let app = App::saying("outside").await;
    let uri = format!("http://localhost:{}/", app.address.port());
    let cases = [
        (OutboundPolicy::AllowAny, true, StatusCode::OK, "-"),
        (OutboundPolicy::RegistryOnly, true, StatusCode::BAD_GATEWAY, "-"),
        (OutboundPolicy::AllowAny, false, StatusCode::SERVICE_UNAVAILABLE, "NC"),
        (OutboundPolicy::RegistryOnly, false, StatusCode::SERVICE_UNAVAILABLE, "NC"),
    ];
    for (policy, answered, want, flag) in cases {
        let (asked, proxy) = start(policy, if answered { UNHURRIED } else { Duration::from_millis(700) });
        let (address, uri) = (proxy.outbound, uri.clone());
        let waiting = tokio::spawn(async move { Client::http1(address).await.get(&uri).await });
        asked_for(&asked, "localhost").await;
        if answered {
            let mut snapshot = known(policy);
            snapshot.add_answer(Answer { asked: host("localhost"), service: None });
            proxy.publish(&snapshot);
        }
        assert_eq!(waiting.await.unwrap().status, want, "{policy:?}, answered: {answered}");
        proxy.logged("the request", |line| line["response_flags"] == flag).await;
    }
}
