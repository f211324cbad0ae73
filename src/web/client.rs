//! Settings of pooled connections, and the table of host names.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::error::WebError;
use crate::base::fs;

/// Largest file of CA certificates that is read, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;

/// Says how long to wait for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer, and between two pieces of its body.
    pub read: Duration,
    /// A body must bring at least [`Self::window_bytes`] in each such window.
    pub window: Duration,
    pub window_bytes: u64,
    /// How often a request is tried without getting on, at least 1.
    pub tries: u32,
    /// Before the second try; doubled before each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            window: Duration::from_secs(60),
            window_bytes: 60 << 10,
            tries: 4,
            pause: Duration::from_millis(300),
        }
    }
}

/// Returns the configuration of a client that keeps up to so many idle connections a host, four times as many
/// in all.
pub fn configuration(
    patience: &Patience,
    roots: RootCerts,
    proxy: Option<ureq::Proxy>,
    connections: usize,
) -> Config {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("mkimage/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .proxy(proxy)
        .max_idle_connections(connections.saturating_mul(4))
        .max_idle_connections_per_host(connections)
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.read))
        .timeout_per_read(Some(patience.read))
        .build()
}

/// Reads the CA certificates of a PEM file; without one, those of the system count.
pub fn certificates(path: Option<&Path>) -> Result<RootCerts, WebError> {
    let Some(path) = path else { return Ok(RootCerts::PlatformVerifier) };
    let bytes = fs::read_at_most(path, CERTIFICATES_BYTES_MAX)?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(WebError::Certificates { path: path.to_owned() }),
        false => Ok(RootCerts::from(certificates)),
    }
}

/// Looks each host up once: the library would at every request, pooled or not, and name servers drop some.
/// Cloning shares the table.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// The host to reach in place of every other.
    instead: Option<Uri>,
    known: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
    system: Arc<DefaultResolver>,
}

impl Lookups {
    /// Returns lookups that share this table and lead to one host, whatever is asked for.
    pub fn instead(&self, host: Uri) -> Self {
        Lookups { instead: Some(host), ..self.clone() }
    }
}

impl Resolver for Lookups {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = self.instead.as_ref().unwrap_or(uri);
        let key = format!("{:?} {:?}", uri.scheme(), uri.authority());
        // Held while the system is asked: the threads of a pool want the same host at the same time.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = known.get(&key) {
            let mut result = self.empty();
            addresses.iter().for_each(|address| result.push(*address));
            return Ok(result);
        }
        let result = self.system.resolve(uri, config, timeout)?;
        known.insert(key, result.iter().copied().collect());
        Ok(result)
    }
}
