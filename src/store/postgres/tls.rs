//! How a connection is made under each `DB_SSLMODE`, in libpq's sense: `prefer` and `require` encrypt and trust any certificate, `verify-full` wants one for
//! this host from a certificate authority of this machine (or of the file that SSL_CERT_FILE names).

use std::sync::Arc;

use postgres::{Client, Config, NoTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::StoreError;
use crate::store::target::{PostgresConfig, SslMode};

pub fn connect(options: &mut Config, config: &PostgresConfig) -> Result<Client, StoreError> {
    // A path: a Unix socket, which needs no encryption and has none.
    let mode = if config.host.starts_with('/') { SslMode::Disable } else { config.ssl };
    let client = match mode {
        SslMode::Disable => options.ssl_mode(postgres::config::SslMode::Disable).connect(NoTls),
        SslMode::Prefer => options.ssl_mode(postgres::config::SslMode::Prefer).connect(trusting()?),
        SslMode::Require => options.ssl_mode(postgres::config::SslMode::Require).connect(trusting()?),
        SslMode::VerifyFull => options.ssl_mode(postgres::config::SslMode::Require).connect(verifying()?),
    };
    client.map_err(super::error)
}

fn trusting() -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| StoreError::Broken(e.to_string()))?;
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn verifying() -> Result<MakeRustlsConnect, StoreError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let why = "DB_SSLMODE=verify-full, and this machine has no certificate authorities: install ca-certificates or set SSL_CERT_FILE";
        return Err(StoreError::Broken(why.to_owned()));
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| StoreError::Broken(e.to_string()))?;
    Ok(MakeRustlsConnect::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Trusts any certificate, but still checks that the server has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
