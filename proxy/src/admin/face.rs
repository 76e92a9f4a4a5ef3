//! Who may see what at which port: the admin port shows everything, a pod's other ports what others than the mesh ask.
//!
//! What a page says is `pages`' own; what the app says, `status`'.

use super::Stage;
use super::pages::{Answer, PROMETHEUS, Pages, TEXT, page};
use crate::status::{Face, Probed};
use http::{Method, Request, StatusCode};
use std::net::IpAddr;

impl Pages {
    pub(super) async fn answer<B>(&self, face: &Face, from: IpAddr, request: Request<B>) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let app = match face {
            Face::Admin => return self.admin(&request),
            Face::Readiness if reads && path == READY => return self.ready(),
            Face::Metrics if reads && METRICS.contains(&path) => return self.metrics(),
            Face::Readiness | Face::Metrics => return nothing_here(),
            Face::Status(app) => app,
        };
        match path {
            READY if reads => self.ready(),
            path if reads && METRICS.contains(&path) => {
                let mut text = self.metrics_text();
                text.push_str(&app.metrics().await);
                page(StatusCode::OK, PROMETHEUS, text)
            }
            path if reads && path.starts_with("/app-health/") => match app.probe(path, request.headers()).await {
                Some(Probed { status, reason }) => page(status, TEXT, reason),
                None => nothing_here(),
            },
            "/drain" | "/quitquitquit" if !from.to_canonical().is_loopback() => {
                let text = format!("{path} is for this pod's own containers: call it at 127.0.0.1\n");
                page(StatusCode::FORBIDDEN, TEXT, text)
            }
            "/drain" if *method == Method::POST => self.reach(Stage::Draining),
            "/quitquitquit" if *method == Method::POST => self.reach(Stage::Leaving),
            "/drain" | "/quitquitquit" => page(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{path} answers POST\n")),
            _ => nothing_here(),
        }
    }
}

fn nothing_here() -> Answer {
    page(StatusCode::NOT_FOUND, TEXT, "nothing here; the admin port (127.0.0.1:15000) shows more\n".to_owned())
}

const READY: &str = "/healthz/ready";
const METRICS: [&str; 2] = ["/stats/prometheus", "/metrics"];
