//! The service details: facts about a book. It knows one book under every number, as Istio's does.

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use crate::headers;
use crate::server::{self, Answer};

pub(crate) struct App;

impl server::App for App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, "/health") => server::json(StatusCode::OK, &json!({"status": "Details is healthy"})),
            (&Method::GET, "/headers") => server::json(StatusCode::OK, &headers::shown(request.headers())),
            (&Method::GET, _) => match path.strip_prefix("/details/").map(str::parse::<u64>) {
                Some(Ok(id)) => server::json(StatusCode::OK, &facts(id)),
                Some(Err(_)) => server::json(StatusCode::BAD_REQUEST, &json!({"error": "a product id is a number"})),
                None => server::not_found(),
            },
            _ => server::not_found(),
        }
    }
}

fn facts(id: u64) -> serde_json::Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}
