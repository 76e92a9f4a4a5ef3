//! The service ratings: stars by reviewer. What is posted is kept in memory, for as long as the process lives.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::headers;
use crate::server::{self, Answer, BODY_BYTES_MAX};

/// Books whose ratings are kept; further ones are refused.
const BOOKS_MAX: usize = 1000;

#[derive(Default)]
pub(crate) struct App {
    posted: Mutex<BTreeMap<u64, BTreeMap<String, u8>>>,
}

impl server::App for App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, "/health") => return server::json(StatusCode::OK, &json!({"status": "Ratings is healthy"})),
            (&Method::GET, "/headers") => return server::json(StatusCode::OK, &headers::shown(request.headers())),
            _ => {}
        }
        let id = match path.strip_prefix("/ratings/").map(str::parse::<u64>) {
            Some(Ok(id)) => id,
            Some(Err(_)) => return error(StatusCode::BAD_REQUEST, "a product id is a number"),
            None => return server::not_found(),
        };
        match *request.method() {
            Method::GET => self.ratings(id),
            Method::POST => match Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await {
                Ok(body) => self.post(id, &body.to_bytes()),
                Err(_) => error(StatusCode::BAD_REQUEST, "the body cannot be read, or is too long"),
            },
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST"),
        }
    }
}

impl App {
    fn ratings(&self, id: u64) -> Answer {
        let posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
        let ratings = match posted.get(&id) {
            Some(ratings) => json!(ratings),
            None => json!({"Reviewer1": 5, "Reviewer2": 4}),
        };
        server::json(StatusCode::OK, &json!({"id": id, "ratings": ratings}))
    }

    fn post(&self, id: u64, body: &[u8]) -> Answer {
        let Ok(ratings) = serde_json::from_slice::<BTreeMap<String, u8>>(body) else {
            return error(StatusCode::BAD_REQUEST, "the body is no object of reviewers and stars");
        };
        let mut posted = self.posted.lock().unwrap_or_else(PoisonError::into_inner);
        if posted.len() >= BOOKS_MAX && !posted.contains_key(&id) {
            return error(StatusCode::INSUFFICIENT_STORAGE, "there are too many books");
        }
        posted.insert(id, ratings.clone());
        server::json(StatusCode::OK, &json!({"id": id, "ratings": ratings}))
    }
}

fn error(status: StatusCode, text: &str) -> Answer {
    server::json(status, &json!({ "error": Value::from(text) }))
}
