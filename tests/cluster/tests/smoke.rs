//! The cluster and the suite's own tools, without Weft: what fails here is no fault of the mesh.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;
use weft_cluster_tests::{Namespace, manifests, within};

#[test]
fn bookinfo_runs_from_our_images_with_its_own_manifests() {
    let bookinfo = Namespace::new("smoke-bookinfo", &[]);
    bookinfo.apply(&manifests::bookinfo());
    bookinfo.ready(&manifests::BOOKINFO);
    let caller = bookinfo.caller("caller");
    caller.until("http://productpage:9080/productpage", &[], |page| {
        page.status == 200 && page.body.contains("The Comedy of Errors")
    });
    // Without a mesh each connection goes to any of the three versions.
    within(Duration::from_secs(30), "all three versions of reviews answer", || {
        let answers = caller.ask("http://reviews:9080/reviews/0", &["--times", "30"]);
        let pods: BTreeSet<String> =
            answers.iter().map(|answer| answer.json()["podname"].as_str().unwrap_or_default().to_owned()).collect();
        let versions: Vec<_> = pods.iter().filter_map(|pod| pod.get(..10)).collect();
        if versions == ["reviews-v1", "reviews-v2", "reviews-v3"] { Ok(()) } else { Err(pods) }
    });
}

#[test]
fn the_app_answers_in_each_protocol_and_load_counts_what_is_wrong() {
    let namespace = Namespace::new("smoke-app", &[]);
    namespace.app("server", "v1");
    let caller = namespace.caller("caller");

    let http1 = caller.until("http://server/some/path?x=1", &[], |answer| answer.status == 200);
    assert_eq!(http1.app(), "server-v1", "{http1:?}");
    assert_eq!(http1.json()["path"], "/some/path?x=1");
    assert_eq!(http1.json()["version"], "HTTP/1.1");
    let http2 = caller.ask("http://server/", &["--http2", "--header", "x-test: 1"]).remove(0);
    assert_eq!(http2.json()["version"], "HTTP/2.0", "{http2:?}");
    assert_eq!(http2.json()["headers"]["x-test"], "1", "{http2:?}");
    assert_eq!(caller.get("http://server/status/418").status, 418);
    assert_eq!(caller.get("http://nobody/").status, 0);

    let clean = caller.load("http://server/", &["--expect", "x-app=server-v1"]);
    let wrong = caller.load("http://server/status/503", &["--rate", "20"]);
    let late = caller.load("http://server/delay/300", &["--rate", "20", "--limit", "200"]);
    let grpc = caller.grpc_load("http://server/echo.Echo/Echo", &["--pause", "10"]);
    std::thread::sleep(Duration::from_secs(3));
    clean.stop().assert_clean(400);
    let wrong = wrong.stop();
    assert!(wrong.requests >= 40 && wrong.failed == wrong.requests, "{wrong:?}");
    assert!(wrong.failures.iter().all(|failure| failure.contains("status 503")), "{wrong:?}");
    let late = late.stop();
    assert!(late.requests >= 40 && late.slow == late.requests && late.failed == 0, "{late:?}");
    grpc.stop().assert_clean(5);
}

#[test]
fn load_sees_an_app_that_goes_away() {
    let namespace = Namespace::new("smoke-away", &[]);
    namespace.app("server", "v1");
    let caller = namespace.caller("caller");
    caller.until("http://server/", &[], |answer| answer.status == 200);
    let load = caller.load("http://server/", &[]);
    namespace.kubectl(["delete", "deployment", "server-v1", "--wait"]);
    within(Duration::from_secs(30), "the Service has no pod left", || {
        let pods = namespace.pods("app=server");
        if pods.is_empty() { Ok(()) } else { Err(pods.len()) }
    });
    let tally = load.stop();
    assert!(tally.failed > 0 && tally.failed < tally.requests, "{tally:?}");
}
