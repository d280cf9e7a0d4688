//! Where and how HTTP is served: address, tokens, TLS, names, bounds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::given::Given;
use crate::config::listed;
use crate::config::tokens::{Tokens, tokens};

/// More requests a second than any client's address can send.
const RATE_LIMIT: u32 = 1_000_000;

#[derive(Clone, Debug)]
pub struct Http {
    pub addr: IpAddr,
    pub port: u16,
    pub tokens: Tokens,
    /// Without it HTTP is plain.
    pub tls: Option<TlsFiles>,
    /// Names beside loopback's under which requests are taken, in small letters; none: any name where tokens are asked for, else loopback's alone.
    pub hosts: Vec<String>,
    /// Requests a second from one client's address; None: as many as come.
    pub rate_max: Option<NonZeroU32>,
    /// Requests served at once, headers and bodies: a client that takes longer is cut off.
    pub connections_max: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    /// A client that takes nothing of its answer for so long is gone.
    pub write_timeout: Duration,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those between it and an authority.
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Http {
    /// For a client on this machine; None where the port is whichever was free.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let addr = match self.addr {
            IpAddr::V4(addr) if addr.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(addr) if addr.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            addr => addr,
        };
        (self.port != 0).then(|| format!("{}://{}", self.scheme(), SocketAddr::new(addr, self.port)))
    }

    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

pub(super) fn http(given: &mut Given) -> Http {
    let addr = |text: &str| if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() };
    let rate = |text: &str| text.parse().ok().filter(|rate: &NonZeroU32| rate.get() <= RATE_LIMIT).map(Some);
    Http {
        addr: given.read(
            "HTTP_ADDR",
            Ipv4Addr::LOCALHOST.into(),
            "an IP address, such as 127.0.0.1, 0.0.0.0 or ::1",
            addr,
        ),
        port: given.read("HTTP_PORT", 5000, "0 (any free port) to 65535", |text| text.parse().ok()),
        tokens: tokens(given),
        tls: tls(given),
        hosts: hosts(given),
        rate_max: given.read("HTTP_RATE_MAX", None, &format!("a whole number from 1 to {RATE_LIMIT}"), rate),
        connections_max: given.count("HTTP_CONNECTIONS_MAX", 1_024, (1, 1_000_000)) as usize,
        header_timeout: given.span("HTTP_HEADER_TIMEOUT", Duration::from_secs(10)),
        body_timeout: given.span("HTTP_BODY_TIMEOUT", Duration::from_mins(1)),
        write_timeout: given.span("HTTP_WRITE_TIMEOUT", Duration::from_secs(30)),
    }
}

/// Whether they can be used is found out when the port is opened.
fn tls(given: &mut Given) -> Option<TlsFiles> {
    match (given.text("TLS_CERT"), given.text("TLS_KEY")) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(TlsFiles { cert: cert.into(), key: key.into() }),
        (cert, _) => {
            let (is, not) = if cert.is_some() { ("TLS_CERT", "TLS_KEY") } else { ("TLS_KEY", "TLS_CERT") };
            given.refuse(format!("{is} without {not}: https needs both, plain HTTP neither"));
            None
        }
    }
}

fn hosts(given: &mut Given) -> Vec<String> {
    let hosts: Vec<String> =
        listed(given.text("HTTP_HOSTS").unwrap_or_default()).map(str::to_ascii_lowercase).collect();
    let is_name = |host: &String| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    for host in hosts.iter().filter(|host| !is_name(host) && host.parse::<Ipv6Addr>().is_err()) {
        given.refuse(format!(
            "HTTP_HOSTS: {host:?} is no name: allowed are host names and IP addresses without a port, parted by commas"
        ));
    }
    hosts
}
