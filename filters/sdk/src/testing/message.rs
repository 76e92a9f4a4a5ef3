//! A request and a response to ask a filter about, and the attributes that the proxy would read off them.

/// A request under construction.
#[derive(Debug, Clone, Default)]
pub struct TestRequest {
    method: String,
    path: String,
    authority: String,
    pub(super) headers: Vec<(String, String)>,
    /// Attributes that come from elsewhere than the head, by their name.
    given: Vec<(&'static str, String)>,
}

/// `GET path`.
pub fn get(path: &str) -> TestRequest {
    request("GET", path)
}

pub fn request(method: &str, path: &str) -> TestRequest {
    TestRequest { method: method.into(), path: path.into(), authority: "test".into(), ..TestRequest::default() }
}

impl TestRequest {
    /// One more header; the same name may come again.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = authority.into();
        self
    }

    /// The caller's SPIFFE id, and with it its namespace.
    #[must_use]
    pub fn source_identity(mut self, id: &str) -> Self {
        if let Some((_, rest)) = id.split_once("/ns/") {
            let namespace = rest.split('/').next().unwrap_or_default();
            self.given.push(("@source.namespace", namespace.into()));
        }
        self.given("@source.identity", id)
    }

    /// The caller's IP address and port.
    #[must_use]
    pub fn source_address(self, address: &str) -> Self {
        self.given("@source.address", address)
    }

    /// An attribute that comes from elsewhere than the head, such as `@route`.
    #[must_use]
    pub fn given(mut self, attribute: &'static str, value: &str) -> Self {
        self.given.push((attribute, value.into()));
        self
    }

    /// What the proxy passes for the declared `name`.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        if let Some(parameter) = name.strip_prefix("@query:") {
            return self.query(parameter);
        }
        if let Some(cookie) = name.strip_prefix("@cookie:") {
            return self.cookie(cookie);
        }
        match name {
            ":method" => Some(self.method.clone()),
            ":path" => Some(self.path.clone()),
            ":authority" => Some(self.authority.clone()),
            ":scheme" => Some("http".into()),
            "@request.id" => self.attribute("x-request-id"),
            _ if name.starts_with('@') => {
                self.given.iter().find(|(one, _)| *one == name).map(|(_, value)| value.clone())
            }
            _ => joined(&self.headers, name, if name == "cookie" { "; " } else { ", " }),
        }
    }

    fn query(&self, parameter: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(name, _)| decoded(name) == parameter).map(|(_, value)| decoded(value))
    }

    fn cookie(&self, cookie: &str) -> Option<String> {
        let cookies = self.attribute("cookie")?;
        let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.into_iter().find(|(name, _)| *name == cookie).map(|(_, value)| value.trim_matches('"').to_owned())
    }
}

/// A response under construction.
#[derive(Debug, Clone, Default)]
pub struct TestResponse {
    status: u16,
    pub(super) headers: Vec<(String, String)>,
    subset: Option<String>,
}

pub fn response(status: u16) -> TestResponse {
    TestResponse { status, ..TestResponse::default() }
}

impl TestResponse {
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The subset that answered.
    #[must_use]
    pub fn subset(mut self, subset: &str) -> Self {
        self.subset = Some(subset.into());
        self
    }

    pub(crate) fn attribute(&self, name: &str, request: &TestRequest) -> Option<String> {
        if let Some(name) = name.strip_prefix("req:") {
            return request.attribute(name);
        }
        match name {
            ":status" => Some(self.status.to_string()),
            "@subset" => self.subset.clone(),
            "@upstream" => Some("127.0.0.1:9080".into()),
            _ => joined(&self.headers, name, ", "),
        }
    }
}

fn joined(headers: &[(String, String)], name: &str, between: &str) -> Option<String> {
    let values: Vec<&str> = headers.iter().filter(|(one, _)| one == name).map(|(_, value)| value.as_str()).collect();
    if values.is_empty() { None } else { Some(values.join(between)) }
}

/// Percent-decoding; `+` stays, as in the proxy.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
