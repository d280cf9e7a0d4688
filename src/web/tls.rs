//! TLS on the way in: the certificate and its key, taken up anew when their files change, and handshakes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Files that are being replaced are not there for a moment; where they cannot be read at so many looks one after the other, somebody must see to it.
const LOOKS_WITHOUT_FILES: u32 = 5;
/// A chain of certificates has some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What every TLS connection begins with: a record of a handshake.
const HANDSHAKE: u8 = 22;

/// What the server shows of itself.
pub struct Tls {
    files: TlsFiles,
    seen: Mutex<Seen>,
    config: RwLock<Arc<ServerConfig>>,
}

struct Seen {
    /// Of the files as they were last read, usable or not.
    bytes: (Vec<u8>, Vec<u8>),
    /// Looks since then at which they could not be read.
    unread: u32,
}

/// What came of a connection.
pub enum Begun {
    Secure(Box<TlsStream<TcpStream>>),
    /// The client does not speak TLS.
    Plain(TcpStream),
    /// It broke off, or took too long.
    Gone,
}

impl Tls {
    /// # Errors
    /// For people: which file cannot be used, why, and what it must be.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let bytes = read(files)?;
        let config = RwLock::new(Arc::new(config(files, &bytes)?));
        Ok(Self { files: files.clone(), seen: Mutex::new(Seen { bytes, unread: 0 }), config })
    }

    /// Takes up new files as they come, for ever. Connections that are open keep what they have.
    pub async fn keep_up(self: Arc<Self>) {
        loop {
            sleep(LOOK_EVERY).await;
            let tls = Arc::clone(&self);
            // A disk may be slow.
            let looked = spawn_blocking(move || tls.look()).await;
            match looked {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    tracing::info!("TLS_CERT and TLS_KEY have changed: new connections get the new certificate");
                }
                Ok(Err(why)) => tracing::warn!("{why}; the certificate that was read before goes on"),
                Err(_) => return,
            }
        }
    }

    /// Whether the files changed.
    ///
    /// # Errors
    /// What cannot be used, and what cannot be read for long; each is told once.
    pub fn look(&self) -> Result<bool, String> {
        let now = read(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match now {
            Ok(now) => now,
            Err(why) => {
                seen.unread = seen.unread.saturating_add(1);
                return if seen.unread == LOOKS_WITHOUT_FILES { Err(why) } else { Ok(false) };
            }
        };
        seen.unread = 0;
        if seen.bytes == now {
            return Ok(false);
        }
        let fresh = config(&self.files, &now);
        seen.bytes = now;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh?);
        Ok(true)
    }

    /// Shakes hands within this time.
    pub async fn begin(&self, stream: TcpStream, at_most: Duration) -> Begun {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        let begin = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1) if first == [HANDSHAKE] => match TlsAcceptor::from(config).accept(stream).await {
                    Ok(stream) => Begun::Secure(Box::new(stream)),
                    Err(_) => Begun::Gone,
                },
                Ok(1) => Begun::Plain(stream),
                _ => Begun::Gone,
            }
        };
        timeout(at_most, begin).await.unwrap_or(Begun::Gone)
    }
}

/// The bytes of both.
fn read(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), String> {
    let of = |name: &str, path: &Path| {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Err(error) => Err(format!("{name}={} cannot be read: {error}", path.display())),
            Ok(n) if n as u64 > FILE_BYTES_MAX => Err(format!(
                "{name}={} has more than {FILE_BYTES_MAX} bytes: it is no PEM file of this kind",
                path.display()
            )),
            Ok(_) => Ok(bytes),
        }
    };
    Ok((of("TLS_CERT", &files.cert)?, of("TLS_KEY", &files.key)?))
}

fn config(files: &TlsFiles, (cert, key): &(Vec<u8>, Vec<u8>)) -> Result<ServerConfig, String> {
    let (cert_file, key_file) = (files.cert.display(), files.key.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("TLS_CERT={cert_file} is no PEM file: {error}"))?;
    if chain.is_empty() {
        return Err(format!("TLS_CERT={cert_file} holds no certificate: a PEM file with BEGIN CERTIFICATE is wanted"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        // The parser's words never quote what is in the file.
        format!("TLS_KEY={key_file} holds no private key in PEM without a passphrase: {error}")
    })?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("TLS_CERT={cert_file} and TLS_KEY={key_file} cannot be used together: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
