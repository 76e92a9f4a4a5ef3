//! The service productpage: the page, its JSON interface, and a login without a password, as Istio's has.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::headers::{self, END_USER};
use crate::outbound::{CallError, Outbound, Reply};
use crate::server::{self, Answer, BODY_BYTES_MAX};
use crate::{Productpage, page};

/// How long details and reviews may take before the page goes without them.
const CALL_MAX: Duration = Duration::from_secs(3);
/// Where the name of the user is kept. Whoever types a name is that user.
const SESSION: &str = "session";

pub(crate) struct App {
    options: Productpage,
    outbound: Outbound,
}

/// One call to another service, for the page to show.
pub(crate) struct Call {
    pub(crate) service: String,
    pub(crate) path: String,
    pub(crate) elapsed: Duration,
    pub(crate) outcome: Result<Reply, CallError>,
}

impl Call {
    /// The answer as JSON, where it is a good one.
    pub(crate) fn value(&self) -> Option<Value> {
        match &self.outcome {
            Ok(reply) if reply.status == StatusCode::OK => serde_json::from_slice(&reply.body).ok(),
            _ => None,
        }
    }
}

pub(crate) fn products() -> Value {
    json!([{
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "One of <b>William Shakespeare</b>'s first plays, his shortest, and the one with the most \
            mistaken identities: twins, both with twins for servants, in a town that knows only half of them.",
    }])
}

impl App {
    pub(crate) fn new(options: Productpage) -> Self {
        let outbound = Outbound::new(options.mesh.clone());
        Self { options, outbound }
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/") => see_other("/productpage", None),
            (&Method::GET, "/health") => server::typed(StatusCode::OK, "text/plain", "Product page is healthy".into()),
            (&Method::GET, "/headers") => server::json(StatusCode::OK, &headers::shown(request.headers())),
            (&Method::GET, "/productpage") => self.page(request.headers()).await,
            (&Method::POST, "/login") => login(request).await,
            (&Method::GET | &Method::POST, "/logout") => see_other("/productpage", Some("")),
            (&Method::GET, "/api/v1/products") => server::json(StatusCode::OK, &products()),
            (&Method::GET, path) => match path.strip_prefix("/api/v1/products/") {
                Some(rest) => self.product(rest, request.headers()).await,
                None => server::not_found(),
            },
            _ => server::not_found(),
        }
    }

    /// `ID`, `ID/reviews` or `ID/ratings`: what the service behind answers, or why there is no answer.
    async fn product(&self, rest: &str, incoming: &HeaderMap) -> Answer {
        let (id, what) = rest.split_once('/').unwrap_or((rest, "details"));
        let Ok(id) = id.parse::<u64>() else {
            return server::json(StatusCode::BAD_REQUEST, &json!({"error": "a product id is a number"}));
        };
        let host = match what {
            "details" => &self.options.details_host,
            "reviews" => &self.options.reviews_host,
            "ratings" => &self.options.ratings_host,
            _ => return server::not_found(),
        };
        let call = self.call(host, format!("/{what}/{id}"), incoming).await;
        let mut answer = match (call.value(), &call.outcome) {
            (Some(value), _) => server::json(StatusCode::OK, &value),
            (None, Ok(reply)) if reply.status != StatusCode::OK => server::json(reply.status, &unavailable(what)),
            (None, _) => server::json(StatusCode::INTERNAL_SERVER_ERROR, &unavailable(what)),
        };
        pass_cookies(&call, &mut answer);
        answer
    }

    async fn page(&self, incoming: &HeaderMap) -> Answer {
        let details = self.call(&self.options.details_host, "/details/0".into(), incoming);
        let reviews = self.call(&self.options.reviews_host, "/reviews/0".into(), incoming);
        let (details, reviews) = futures_util::future::join(details, reviews).await;
        let user = user(incoming);
        let html = page::html(&page::Content { user: user.as_deref(), incoming, details: &details, reviews: &reviews });
        let mut answer = server::typed(StatusCode::OK, "text/html; charset=utf-8", html);
        pass_cookies(&details, &mut answer);
        pass_cookies(&reviews, &mut answer);
        answer
    }

    async fn call(&self, service: &str, path: String, incoming: &HeaderMap) -> Call {
        let mut outgoing = headers::passed_on(incoming);
        if let Some(name) = user(incoming).and_then(|name| HeaderValue::from_str(&name).ok()) {
            outgoing.insert(END_USER, name);
        }
        let started = Instant::now();
        let outcome = self.outbound.get(service, &path, outgoing, CALL_MAX).await;
        Call { service: service.to_owned(), path, elapsed: started.elapsed(), outcome }
    }
}

impl server::App for App {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.route(request).await
    }
}

/// The answer for a part of the page that is missing.
fn unavailable(what: &str) -> Value {
    json!({"error": format!("product {what} are not available just now")})
}

/// A cookie that a filter sets on the way from a service, such as a sticky canary's, is meant for the browser.
fn pass_cookies(call: &Call, answer: &mut Answer) {
    if let Ok(reply) = &call.outcome {
        for cookie in reply.headers.get_all(header::SET_COOKIE) {
            answer.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
    }
}

/// The user who is logged in.
fn user(incoming: &HeaderMap) -> Option<String> {
    let name = headers::cookie(incoming, SESSION)?;
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

async fn login(request: Request<Incoming>) -> Answer {
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return server::json(StatusCode::BAD_REQUEST, &json!({"error": "the form cannot be read, or is too long"}));
    };
    let body = body.to_bytes();
    let form = String::from_utf8_lossy(&body);
    let field = form.split('&').find_map(|pair| pair.strip_prefix("username="));
    see_other("/productpage", Some(&name(field.unwrap_or_default())))
}

/// A name that can stand in a cookie and in a header; other characters of the form's value are left out.
fn name(field: &str) -> String {
    const LENGTH_MAX: usize = 64;
    field.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter)).take(LENGTH_MAX).collect()
}

/// Goes to `path`; with `user`, logs him in, or out if he has no name.
fn see_other(path: &'static str, user: Option<&str>) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static(path));
    let cookie = user.map(|user| match user {
        "" => format!("{SESSION}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"),
        name => format!("{SESSION}={name}; Path=/; HttpOnly; SameSite=Lax"),
    });
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}
