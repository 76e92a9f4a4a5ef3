//! The service reviews in its three versions: without stars, with black ones, with red ones.

use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::outbound::Outbound;
use crate::server::{self, Answer};
use crate::{Reviews, Version, headers};

/// How long ratings may take before the reviews go without stars.
const RATINGS_MAX: Duration = Duration::from_millis(2500);

const TEXTS: [(&str, &str); 2] = [
    ("Reviewer1", "Two pairs of twins, one long day, and not a dull page. I laughed until the candle went out."),
    ("Reviewer2", "Light as a feather beside the great tragedies, and all the better company on a rainy evening."),
];

pub(crate) struct App {
    version: Version,
    pod_name: String,
    ratings_host: String,
    outbound: Outbound,
}

impl App {
    pub(crate) fn new(options: Reviews) -> Self {
        let version = options.version;
        Self {
            version,
            pod_name: options.listen.pod_name.unwrap_or_else(|| format!("reviews-{}", version.as_str())),
            ratings_host: options.ratings_host,
            outbound: Outbound::new(options.mesh),
        }
    }

    async fn reviews(&self, id: u64, incoming: &HeaderMap) -> Value {
        let color = match self.version {
            Version::V1 => None,
            Version::V2 => Some("black"),
            Version::V3 => Some("red"),
        };
        let stars = match color {
            Some(_) => self.ratings(id, incoming).await,
            None => Map::new(),
        };
        let reviews = TEXTS.map(|(reviewer, text)| {
            let mut review = json!({"reviewer": reviewer, "text": text});
            if let Some(color) = color {
                review["rating"] = match stars.get(reviewer).and_then(Value::as_u64) {
                    Some(stars) => json!({"stars": stars, "color": color}),
                    None => json!({"error": "ratings are not available just now"}),
                };
            }
            review
        });
        json!({"id": id.to_string(), "podname": self.pod_name, "clustername": "null", "reviews": reviews})
    }

    /// Empty where ratings do not answer: reviews without stars are better than none.
    async fn ratings(&self, id: u64, incoming: &HeaderMap) -> Map<String, Value> {
        let path = format!("/ratings/{id}");
        let reply = self.outbound.get(&self.ratings_host, &path, headers::passed_on(incoming), RATINGS_MAX).await;
        let body = match reply {
            Ok(reply) if reply.status == StatusCode::OK => reply.body,
            _ => return Map::new(),
        };
        match serde_json::from_slice::<Value>(&body) {
            Ok(Value::Object(mut answer)) => match answer.remove("ratings") {
                Some(Value::Object(ratings)) => ratings,
                _ => Map::new(),
            },
            _ => Map::new(),
        }
    }
}

impl server::App for App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, "/health") => server::json(StatusCode::OK, &json!({"status": "Reviews is healthy"})),
            (&Method::GET, "/headers") => server::json(StatusCode::OK, &headers::shown(request.headers())),
            (&Method::GET, _) => match path.strip_prefix("/reviews/").map(str::parse::<u64>) {
                Some(Ok(id)) => server::json(StatusCode::OK, &self.reviews(id, request.headers()).await),
                Some(Err(_)) => server::json(StatusCode::BAD_REQUEST, &json!({"error": "a product id is a number"})),
                None => server::not_found(),
            },
            _ => server::not_found(),
        }
    }
}
