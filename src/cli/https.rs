//! A client's side of TLS: the job's certificate must be one that this machine trusts, for the name that it is asked by.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How one host is spoken to.
pub struct Https {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Https {
    /// # Errors
    /// If there are no certificates to trust, or the host is none.
    pub fn to(host: &str) -> anyhow::Result<Self> {
        // SSL_CERT_FILE and SSL_CERT_DIR replace the system's.
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(anyhow!(
                "no certificate to trust is found{why}: install ca-certificates, or name the job's own by SSL_CERT_FILE"
            ));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).with_context(|| format!("{host:?} is no host name"))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    pub async fn secure(&self, stream: TcpStream, authority: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let secured = self.connector.connect(self.name.clone(), stream).await;
        secured.with_context(|| {
            format!(
                "https to {authority} failed: does the job serve https there, is its certificate made for this name (--url https://NAME:PORT), and is \
                 it trusted here (SSL_CERT_FILE names a file of certificates to trust)?"
            )
        })
    }
}
