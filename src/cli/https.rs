//! A client's side of TLS: the job's certificate must be one that this machine trusts, for the name that it is asked by; or, for the job of the settings, the
//! very one that they name.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A chain of certificates has some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How webpki calls an authority's certificate that a server shows as its own: rustls passes on the word alone.
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";

/// How one host is spoken to.
pub struct Https {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// TLS_CERT, where its certificate alone is taken.
    own: Option<PathBuf>,
}

/// Something answers, and its certificate is not taken. Another try would not change that.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cure}")]
pub struct Untrusted {
    pub what: String,
    pub cure: String,
}

impl Https {
    /// A job that is asked by this name.
    ///
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
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        Self::trusting(host, verifier.build()?, None)
    }

    /// The job of the settings. It is asked by its address, which no certificate needs to name: whoever shows the certificate of TLS_CERT, and proves that he has
    /// its key, is that job.
    ///
    /// # Errors
    /// If the host is none.
    pub fn to_own(host: &str, cert: &Path) -> anyhow::Result<Self> {
        let verifier = Own { cert: cert.to_owned(), provider: ring::default_provider() };
        Self::trusting(host, Arc::new(verifier), Some(cert.to_owned()))
    }

    fn trusting(host: &str, verifier: Arc<dyn ServerCertVerifier>, own: Option<PathBuf>) -> anyhow::Result<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            // Both verifiers are named above; rustls calls every choice of one dangerous.
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).with_context(|| format!("{host:?} is no host name"))?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name, own })
    }

    /// # Errors
    /// `Untrusted` where the certificate is the reason.
    pub async fn secure(&self, stream: TcpStream, authority: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let error = match self.connector.connect(self.name.clone(), stream).await {
            Ok(secured) => return Ok(secured),
            Err(error) => error,
        };
        let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        if let Some(Error::InvalidCertificate(why)) = refused {
            return Err(self.untrusted(authority, why).into());
        }
        Err(anyhow!(error).context(format!("https to {authority} failed: does the job serve https there?")))
    }

    fn untrusted(&self, authority: &str, why: &CertificateError) -> Untrusted {
        if let Some(own) = &self.own {
            let what = match why {
                CertificateError::Other(other) => other.0.to_string(),
                _ => format!("what answers at {authority} shows another certificate than TLS_CERT={}", own.display()),
            };
            let cure = "set TLS_CERT, HTTP_ADDR and HTTP_PORT as the job has them (it takes up a new file within seconds, and its log says why where \
                        it does not); or name the job by --url https://NAME:PORT";
            return Untrusted { what, cure: cure.to_owned() };
        }
        let (what, cure) = match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                format!("is not made for this name{}", names(why)),
                "ask by a name that it has (--url https://NAME:PORT), or have one made for this name".to_owned(),
            ),
            CertificateError::UnknownIssuer => (
                "is not trusted here: no authority that is known has signed it".to_owned(),
                "name a file with the authority's certificate by SSL_CERT_FILE".to_owned(),
            ),
            CertificateError::Other(other) if other.0.to_string() == CA_AS_SERVER => (
                "is an authority's (CA:TRUE), which a plain `openssl req -x509` makes, and cannot be a server's"
                    .to_owned(),
                "make one with basicConstraints=CA:FALSE, as docs/security.md has it under TLS".to_owned(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ("has expired".to_owned(), "put a new one in TLS_CERT: the job takes it up by itself".to_owned())
            }
            other => (format!("is not taken ({other})"), "have another one made, as docs/security.md says".to_owned()),
        };
        Untrusted { what: format!("the certificate of {authority} {what}"), cure }
    }
}

/// Those that the certificate has instead.
fn names(why: &CertificateError) -> String {
    match why {
        CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
            // As `DnsName("localhost")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            format!(" but for {}", presented.iter().map(bare).collect::<Vec<_>>().join(", "))
        }
        _ => String::new(),
    }
}

/// Takes the first certificate of a file and no other. The file is read at each handshake: the job takes up a new one while a client goes on.
#[derive(Debug)]
struct Own {
    cert: PathBuf,
    provider: CryptoProvider,
}

impl Own {
    fn read(&self) -> Result<CertificateDer<'static>, String> {
        let name = self.cert.display();
        let file = File::open(&self.cert).map_err(|error| format!("TLS_CERT={name} cannot be read: {error}"))?;
        let first = CertificateDer::pem_reader_iter(BufReader::new(file.take(FILE_BYTES_MAX))).next();
        first.and_then(Result::ok).ok_or_else(|| format!("TLS_CERT={name} holds no certificate"))
    }
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let other = |why| CertificateError::Other(rustls::OtherError(Arc::new(io::Error::other(why))));
        let own = self.read().map_err(other)?;
        if own.as_ref() == end_entity.as_ref() {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
