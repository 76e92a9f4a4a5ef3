//! The same app over TLS, with a certificate that nobody knows: what HTTPS probes ask for.

use crate::serve::answer;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Until the process ends.
pub(crate) async fn serve(listener: TcpListener, name: Arc<str>) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config()?));
    loop {
        let (stream, peer) = listener.accept().await?;
        let (acceptor, name) = (acceptor.clone(), Arc::clone(&name));
        tokio::spawn(async move {
            // A client that goes away is no concern of the server's.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let name = Arc::clone(&name);
                async move { answer(&name, peer, request).await }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn config() -> anyhow::Result<ServerConfig> {
    let own = rcgen::generate_simple_self_signed(["app".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_no_client_auth().with_single_cert(vec![own.cert.into()], key)?)
}
