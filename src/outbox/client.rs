//! One POST: no redirects, no proxy, no address that is not allowed, an end in time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};
use uuid::Uuid;

use crate::outbox::address::is_public;

/// Its host may be a secret, and is not told.
const NOT_PUBLIC: &str = "its address is not of the public internet: WEBHOOKS_PRIVATE=allow lets webhooks go there";

/// Sends to one webhook.
pub struct Client {
    agent: Agent,
    timeout: Duration,
}

impl Client {
    /// `private`: whether addresses that are not public may be sent to.
    #[must_use]
    pub fn new(private: bool, timeout: Duration) -> Self {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = found.errors.first().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(why, "no certificates are installed here: webhooks at https addresses will not be reached");
        }
        let roots: Vec<Certificate<'static>> =
            found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .build();
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            // A proxy would look names up by itself.
            .proxy(None)
            .timeout_global(Some(timeout))
            .user_agent(concat!("caudal/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        let resolver = Allowed { private, resolver: DefaultResolver::default() };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver), timeout }
    }

    /// # Errors
    /// For people: why it counts as not delivered.
    pub fn post(&self, url: &str, key: Uuid, body: &str) -> Result<(), String> {
        let request = self.agent.post(url).header("Idempotency-Key", key.to_string());
        match request.header("Content-Type", "application/json").send(body) {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) if answer.status().is_redirection() => {
                Err(format!("it answered {}: redirects are not followed", answer.status().as_u16()))
            }
            Ok(answer) => Err(format!("it answered {}", answer.status().as_u16())),
            Err(Error::Timeout(_)) => Err(format!("it did not answer within {} s", self.timeout.as_secs_f64())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Looks names up, and lets through what may be sent to: the connection goes to the very address that was looked at.
#[derive(Debug)]
struct Allowed {
    private: bool,
    resolver: DefaultResolver,
}

impl Resolver for Allowed {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|address| self.private || is_public(address.ip())) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            return Err(Error::Io(io::Error::other(NOT_PUBLIC)));
        }
        Ok(allowed)
    }
}
