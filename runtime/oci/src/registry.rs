//! One repository in one registry, by the OCI distribution specification: resolve, read, push.
//!
//! Does not know retries or mirrors (images.rs), nor challenges and redirects (endpoint.rs).

use crate::endpoint::{Ask, Endpoint};
use crate::error::Cause;
use crate::image::{self, ACCEPT, Image, MANIFEST};
use crate::spool::{Spool, Spooled};
use bytes::Bytes;
use reqwest::header::{ACCEPT as ACCEPT_HEADER, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use std::path::Path;
use weft_snapshot::Digest;

pub(crate) struct Repository<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) name: &'a str,
}

const DIGEST_HEADER: &str = "docker-content-digest";

impl Repository<'_> {
    /// The digest to which a tag points now. The registry's word: whoever pulls by it verifies.
    pub(crate) async fn resolve(&self, tag: &str) -> Result<Digest, Cause> {
        let response = self.read(Method::HEAD, &format!("manifests/{tag}")).await?;
        let stated = response.headers().get(DIGEST_HEADER).and_then(|d| d.to_str().ok()?.parse().ok());
        match stated {
            Some(digest) => Ok(digest),
            None => self.manifest(tag).await.map(|manifest| image::digest(&manifest)),
        }
    }

    /// By tag or digest, unverified.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Vec<u8>, Cause> {
        let response = self.read(Method::GET, &format!("manifests/{reference}")).await?;
        self.endpoint.body(response, "the manifest").await
    }

    /// Into a verified file in `folder`.
    pub(crate) async fn component(&self, digest: Digest, bytes: u64, folder: &Path) -> Result<Spooled, Cause> {
        let mut spool = Spool::new(folder, digest, bytes, self.endpoint.limits().component_bytes_max)?;
        let mut response = self.read(Method::GET, &format!("blobs/{digest}")).await?;
        while let Some(chunk) = self.endpoint.chunk(&mut response).await? {
            spool.write(&chunk)?;
        }
        spool.finish()
    }

    /// Blobs first, the tag last, so that a tag never points to something that is not there.
    pub(crate) async fn push(&self, image: &Image, tag: &str) -> Result<(), Cause> {
        self.push_blob(image.digests.component, &image.component).await?;
        self.push_blob(image.digests.config, &image.config).await?;
        let mut ask = self.ask(Method::PUT, self.url(&format!("manifests/{tag}"))?, "pull,push");
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        ask.body = Bytes::copy_from_slice(&image.manifest);
        self.expect("the push of the manifest", self.endpoint.send(&ask).await?).await.map(drop)
    }

    async fn push_blob(&self, digest: Digest, blob: &[u8]) -> Result<(), Cause> {
        let held = self.ask(Method::HEAD, self.url(&format!("blobs/{digest}"))?, "pull,push");
        if self.endpoint.send(&held).await?.status() == StatusCode::OK {
            return Ok(());
        }
        let start = self.ask(Method::POST, self.url("blobs/uploads/")?, "pull,push");
        let started = self.expect("the start of an upload", self.endpoint.send(&start).await?).await?;
        let location = started.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let Some(location) = location else {
            let what = format!("the answer of {} to an upload", self.endpoint.host());
            return Err(Cause::Malformed { what, reason: "it names no location".to_owned() });
        };
        let mut url = self.endpoint.join(started.url(), location)?;
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut upload = self.ask(Method::PUT, url, "pull,push");
        upload.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        upload.body = Bytes::copy_from_slice(blob);
        self.expect("an upload", self.endpoint.send(&upload).await?).await.map(drop)
    }

    async fn read(&self, method: Method, path: &str) -> Result<Response, Cause> {
        let mut ask = self.ask(method, self.url(path)?, "pull");
        for media_type in ACCEPT {
            ask.headers.append(ACCEPT_HEADER, HeaderValue::from_static(media_type));
        }
        self.expect(path, self.endpoint.send(&ask).await?).await
    }

    async fn expect(&self, request: &str, response: Response) -> Result<Response, Cause> {
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.endpoint.refusal(request, response).await)
    }

    fn url(&self, path: &str) -> Result<Url, Cause> {
        self.endpoint.url(&format!("v2/{}/{path}", self.name))
    }

    fn ask(&self, method: Method, url: Url, actions: &str) -> Ask {
        let scope = format!("repository:{}:{actions}", self.name);
        Ask { method, url, headers: HeaderMap::new(), body: Bytes::new(), scope }
    }
}
