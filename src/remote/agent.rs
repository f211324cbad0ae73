//! The connections of a web site: pooled, with the machine's proxies and CA roots, each host looked up once.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::error::TransferProblem;
use crate::base::fs;

/// Largest file of CA certificates that is read, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;
/// The files of CA certificates that the environment may name, the first that is set counts.
const CERTIFICATES: [&str; 2] = ["CURL_CA_BUNDLE", "SSL_CERT_FILE"];

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

/// Makes the agent for an address. Of the environment, the usual proxy variables (`https_proxy`, `all_proxy`,
/// `no_proxy`, …) and the files of CA certificates count, unless `certificates` names one.
pub(super) fn agent(
    address: &str,
    patience: &Patience,
    certificates: Option<&Path>,
) -> Result<Agent, TransferProblem> {
    // Reading CA certificates takes a while, and who speaks http needs none.
    let roots = match address.starts_with("https:") {
        true => roots(certificates)?,
        false => RootCerts::PlatformVerifier,
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("mkimage/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .proxy(ureq::Proxy::try_from_env())
        .max_idle_connections(16)
        .max_idle_connections_per_host(8)
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.read))
        .timeout_per_read(Some(patience.read))
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::new(), OneLookup::default()))
}

/// Returns the CA certificates of a file, else those that the environment names, else what the system has.
fn roots(named: Option<&Path>) -> Result<RootCerts, TransferProblem> {
    let set = |name: &&str| std::env::var_os(name).filter(|value| !value.is_empty());
    let path = named.map(|path| path.as_os_str().to_owned()).or_else(|| CERTIFICATES.iter().find_map(set));
    let Some(path) = path else { return Ok(RootCerts::PlatformVerifier) };
    let bytes = fs::read_at_most(Path::new(&path), CERTIFICATES_BYTES_MAX)?;
    let certificates: Vec<_> = parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(TransferProblem::Settings {
            problem: format!("{} holds no CA certificate", Path::new(&path).display()),
        }),
        false => Ok(RootCerts::from(certificates)),
    }
}

/// Looks each host up once: the library would at every request, pooled or not, and name servers drop some.
#[derive(Default)]
struct OneLookup {
    known: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
    system: DefaultResolver,
}

impl fmt::Debug for OneLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneLookup")
    }
}

impl Resolver for OneLookup {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let key = format!("{:?} {:?}", uri.scheme(), uri.authority());
        let known = || self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(addresses) = known().get(&key) {
            let mut result = self.empty();
            addresses.iter().for_each(|address| result.push(*address));
            return Ok(result);
        }
        let result = self.system.resolve(uri, config, timeout)?;
        known().insert(key, result.iter().copied().collect());
        Ok(result)
    }
}
