//! What the demo tells the person who watches: what to open, what to type.

use super::cast::{Cast, PRODUCTPAGE};
use super::stage::Stage;
use std::time::Duration;

pub(super) fn text(stage: &Stage, cast: &Cast, ready: Duration) -> String {
    let curl = format!("curl -x http://{}", cast.client);
    format!(
        "
Bookinfo runs in a mesh after {:.1} s: {} sidecars, mutual TLS between all of them (STRICT).

Open      http://{}/productpage
Change    {}/*.yaml, and watch: weft status --at {}

Try, through the sidecar of a workload named client (every hop after it is mutual TLS):
  canary  {curl} http://reviews:9080/reviews/0
  forced  {curl} -H 'x-reviews: v3' http://reviews:9080/reviews/0
  sticky  {curl} -i http://reviews:9080/reviews/0           (then with -H 'cookie: canary=…' as it was set)
  header  {curl} -i -H 'end-user: ada' http://details:9080/book/0
          (the filter headers rewrites the path to /details/0 and answers x-served-to: ada)
  403     {curl} -i http://ratings:9080/ratings/0
          (the filter authz, in the sidecar of ratings, lets only reviews in)
  logs    {}/*.log
",
        ready.as_secs_f64(),
        cast.sidecars,
        stage.ports.address(PRODUCTPAGE),
        stage.folder.join("mesh").display(),
        cast.status,
        stage.folder.join("logs").display(),
    )
}
