//! One registry host over HTTP: TLS with its own CA, redirects and challenges followed under guard, bounded answers.
//!
//! Does not know the registry's paths (registry.rs) nor when to try again (images.rs). The connection pool and the
//! tokens live here.

use crate::auth::{Authorization, Challenge, TokenAnswer, challenge};
use crate::credentials::login;
use crate::error::Cause;
use crate::guard::{BlockedAddress, Guard, GuardedResolver, Trust, is_loopback};
use crate::settings::{Limits, Loopback, PlainHttp, Registries, Roots};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub(crate) struct Endpoint {
    host: String,
    base: Url,
    plain_http: PlainHttp,
    client: reqwest::Client,
    guard: Arc<Guard>,
    registries: Arc<Registries>,
    limits: Limits,
    /// By scope.
    authorizations: Mutex<HashMap<String, Authorization>>,
}

/// One request.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What a token has to permit, as in `repository:filters/canary:pull`.
    pub(crate) scope: String,
}

const REDIRECTS_MAX: usize = 5;
/// Of an error's own words.
const DETAIL_BYTES_MAX: u64 = 4096;

impl Endpoint {
    pub(crate) fn new(host: &str, registries: &Arc<Registries>, limits: &Limits) -> Result<Self, Cause> {
        let entry = registries.entry(host);
        let unreadable = |reason: String| Cause::Unreachable { host: host.to_owned(), reason };
        let https = Url::parse(&format!("https://{}/", api_host(host))).map_err(|e| unreadable(e.to_string()))?;
        let name = https.host_str().unwrap_or_default().to_owned();
        let plain_http = match entry {
            Some(entry) => entry.plain_http,
            None if registries.loopback == Loopback::PlainHttp && is_loopback(&name) => PlainHttp::Use,
            None => PlainHttp::Refuse,
        };
        let base = match plain_http {
            PlainHttp::Refuse => https,
            PlainHttp::Use => {
                Url::parse(&format!("http://{}/", api_host(host))).map_err(|e| unreadable(e.to_string()))?
            }
        };
        let guard = Arc::new(Guard::new(&name, if entry.is_some() { Trust::Named } else { Trust::Unnamed }));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(host, registries)?)
            .dns_resolver(GuardedResolver(Arc::clone(&guard)))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits.connect)
            .read_timeout(limits.idle)
            .pool_max_idle_per_host(4)
            .user_agent(concat!("weft/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(Self {
            host: host.to_owned(),
            base,
            plain_http,
            client,
            guard,
            registries: Arc::clone(registries),
            limits: limits.clone(),
            authorizations: Mutex::default(),
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `path` starts with `v2/`.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Cause> {
        self.join(&self.base, path)
    }

    /// `to` may be relative, as in a Location header.
    pub(crate) fn join(&self, from: &Url, to: &str) -> Result<Url, Cause> {
        from.join(to).map_err(|error| Cause::Malformed {
            what: format!("a location at {}", self.host),
            reason: error.to_string(),
        })
    }

    /// Answers challenges and follows redirects of reads; any other answer is the caller's to judge.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Response, Cause> {
        let mut url = ask.url.clone();
        let mut authorization = self.held(&ask.scope);
        let mut challenged = false;
        for _ in 0..=REDIRECTS_MAX {
            self.check(&url)?;
            let own = url.origin() == self.base.origin();
            let mut request = self.client.request(ask.method.clone(), url.clone()).headers(ask.headers.clone());
            if !ask.body.is_empty() {
                request = request.body(ask.body.clone());
            }
            if let (true, Some(authorization)) = (own, &authorization) {
                request = request.header(AUTHORIZATION, &authorization.value);
            }
            let response = request.send().await.map_err(|error| self.cause(&url, error))?;
            if response.status() == StatusCode::UNAUTHORIZED && own && !challenged {
                challenged = true;
                match self.authorize(response.headers(), &ask.scope).await? {
                    Some(fresh) => authorization = Some(fresh),
                    None => return Ok(response),
                }
            } else if let Some(location) = redirected(&ask.method, &response) {
                url = self.join(&url, &location)?;
            } else {
                return Ok(response);
            }
        }
        Err(self.blocked(&url, "it redirects too often"))
    }

    /// The whole body, bounded.
    pub(crate) async fn body(&self, mut response: Response, what: &'static str) -> Result<Vec<u8>, Cause> {
        let bytes_max = self.limits.manifest_bytes_max;
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            let bytes = (body.len() + chunk.len()) as u64;
            if bytes > bytes_max {
                return Err(Cause::TooLarge { what, bytes, bytes_max });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    pub(crate) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Cause> {
        let url = response.url().clone();
        response.chunk().await.map_err(|error| self.cause(&url, error))
    }

    /// An answer that is none, in words.
    pub(crate) async fn refusal(&self, request: &str, mut response: Response) -> Cause {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() as u64 >= DETAIL_BYTES_MAX {
                break;
            }
        }
        match status {
            404 => Cause::NotFound { place: self.host.clone() },
            401 | 403 => Cause::Refused { host: self.host.clone(), status },
            _ => Cause::Status { host: self.host.clone(), request: request.to_owned(), status, detail: detail(&body) },
        }
    }

    fn held(&self, scope: &str) -> Option<Authorization> {
        let held = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(scope).filter(|authorization| authorization.serves(Instant::now())).cloned()
    }

    /// `None`: there is nothing with which to answer the challenge.
    async fn authorize(&self, headers: &HeaderMap, scope: &str) -> Result<Option<Authorization>, Cause> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|h| challenge(h.to_str().ok()?));
        // A token is worth more than the password itself: it ends.
        let Some(challenge) = challenges.max_by_key(|c| matches!(c, Challenge::Bearer { .. })) else { return Ok(None) };
        let login = login(&self.host, &self.registries)?;
        let authorization = match (challenge, login) {
            (Challenge::Basic, None) => return Ok(None),
            (Challenge::Basic, Some(login)) => Authorization::basic(&login),
            (Challenge::Bearer { realm, service, scope: wanted }, login) => {
                let mut url = self.join(&self.base, &realm)?;
                self.check(&url)?;
                {
                    let mut query = url.query_pairs_mut();
                    query.extend_pairs(service.map(|service| ("service", service)));
                    query.append_pair("scope", wanted.as_deref().unwrap_or(scope));
                }
                let mut request = self.client.get(url.clone());
                if let Some(login) = &login {
                    request = request.header(AUTHORIZATION, Authorization::basic(login).value);
                }
                let response = request.send().await.map_err(|error| self.cause(&url, error))?;
                if !response.status().is_success() {
                    return Err(match self.refusal("a token request", response).await {
                        Cause::NotFound { place } => Cause::Refused { host: place, status: 404 },
                        other => other,
                    });
                }
                let body = self.body(response, "a token answer").await?;
                let malformed =
                    |reason: String| Cause::Malformed { what: format!("the token answer for {}", self.host), reason };
                let answer: TokenAnswer =
                    serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
                Authorization::bearer(answer, Instant::now())
                    .ok_or_else(|| malformed("it holds no token".to_owned()))?
            }
        };
        let mut held = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, authorization| authorization.serves(Instant::now()));
        held.insert(scope.to_owned(), authorization.clone());
        Ok(Some(authorization))
    }

    fn check(&self, url: &Url) -> Result<(), Cause> {
        match (url.scheme(), self.plain_http) {
            ("https", _) | ("http", PlainHttp::Use) => {}
            ("http", PlainHttp::Refuse) => return Err(self.blocked(url, "it is plain HTTP, which is not allowed here")),
            _ => return Err(self.blocked(url, "it is neither HTTPS nor HTTP")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.blocked(url, "it carries a user or a password"));
        }
        let host = url.host_str().unwrap_or_default();
        self.guard.check_literal(host).map_err(|blocked| self.blocked(url, blocked.reason))
    }

    fn blocked(&self, url: &Url, reason: &'static str) -> Cause {
        let target = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
        Cause::Blocked { host: self.host.clone(), target, reason }
    }

    fn cause(&self, url: &Url, error: reqwest::Error) -> Cause {
        let host = self.host.clone();
        if error.is_timeout() {
            let limit = if error.is_connect() { self.limits.connect } else { self.limits.idle };
            return Cause::TimedOut { host, limit };
        }
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            if let Some(blocked) = inner.downcast_ref::<BlockedAddress>() {
                return self.blocked(url, blocked.reason);
            }
            if let Some(why) = refused_certificate(inner) {
                return Cause::Certificates { host, reason: format!("its certificate is not trusted ({why:?})") };
            }
            reason = inner.to_string();
            source = inner.source();
        }
        Cause::Unreachable { host, reason }
    }
}

/// An io::Error's source is that of what it wraps, and so hides it.
fn refused_certificate<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::CertificateError> {
    let mut error = error;
    loop {
        if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
            return Some(why);
        }
        error = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
}

fn redirected(method: &Method, response: &Response) -> Option<String> {
    let read = *method == Method::GET || *method == Method::HEAD;
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    location.filter(|_| read && moved).map(ToOwned::to_owned)
}

/// Docker Hub answers under another name than its images bear.
fn api_host(host: &str) -> &str {
    if host == "docker.io" { "registry-1.docker.io" } else { host }
}

fn tls(host: &str, registries: &Registries) -> Result<rustls::ClientConfig, Cause> {
    let bad = |reason: String| Cause::Certificates { host: host.to_owned(), reason };
    let extra: Vec<CertificateDer<'static>> = match registries.entry(host).and_then(|entry| entry.ca.as_ref()) {
        None => Vec::new(),
        Some(Roots::File(file)) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| bad(format!("{}: {error}", file.display())))?,
        Some(Roots::Text { origin, pem }) => CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| bad(format!("{origin}: {error}")))?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?;
    let config = match rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth(),
        Err(error) => {
            // A machine without certificates may still use plain HTTP; HTTPS then trusts nobody.
            tracing::warn!(%host, %error, "no root certificates");
            builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        }
    };
    Ok(config)
}

/// The message in an error body of the distribution specification, or nothing.
fn detail(body: &[u8]) -> String {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &document["errors"][0];
    let message = first["message"].as_str().or(first["code"].as_str()).unwrap_or_default();
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    if message.is_empty() { message } else { format!(": {message}") }
}
