//! Pooled connections: an agent for each way to a host (straight, through a proxy, through a tunnel), which
//! share one table of host names.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::error::{FetchProblem, PackagesError};
use super::proxy::{AbsoluteForm, split_credentials};
use super::settings::Settings;
use crate::base::{base64, fs};

/// Largest file of CA certificates that is read, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;

/// Holds the agents of one run. Shared among threads.
pub(super) struct Agents {
    settings: Settings,
    plain: Agent,
    /// Made when the first `https:` address is asked: reading CA certificates takes a while.
    secure: OnceLock<Agent>,
    /// By scheme and the proxy's address.
    through: Mutex<HashMap<(String, String), Arc<Way>>>,
    lookups: OneLookup,
}

/// A way to a host: an agent, and the credentials that a proxy wants.
#[derive(Clone)]
pub(super) struct Way {
    pub agent: Agent,
    pub credentials: Option<String>,
}

impl Agents {
    /// Makes agents. Addresses of proxies are checked; nothing is asked yet.
    pub(super) fn new(settings: &Settings) -> Result<Agents, PackagesError> {
        let lookups = OneLookup::default();
        let plain = agent(config(settings, RootCerts::PlatformVerifier, None), lookups.clone());
        let settings = settings.clone();
        let agents = Agents { settings, plain, secure: OnceLock::new(), through: Mutex::default(), lookups };
        let proxies = &agents.settings.proxies;
        let of_hosts = proxies.hosts.iter().filter_map(|(key, proxy)| Some((&*key.0, proxy.as_deref()?)));
        let all = [("http", &proxies.http), ("https", &proxies.https)];
        for (scheme, proxy) in
            all.into_iter().filter_map(|(scheme, proxy)| Some((scheme, proxy.as_deref()?))).chain(of_hosts)
        {
            check_proxy(scheme, proxy)?;
        }
        Ok(agents)
    }

    /// Returns the way to an address.
    pub(super) fn way(&self, address: &str) -> Result<Way, FetchProblem> {
        let scheme = scheme(address);
        let host = address.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
        match self.settings.proxies.of(scheme, &host.unwrap_or_default()) {
            Some(proxy) => self.through(scheme, proxy),
            None if scheme == "https" => Ok(Way { agent: self.secure()?, credentials: None }),
            None => Ok(Way { agent: self.plain.clone(), credentials: None }),
        }
    }

    fn secure(&self) -> Result<Agent, FetchProblem> {
        if let Some(agent) = self.secure.get() {
            return Ok(agent.clone());
        }
        let made = agent(config(&self.settings, self.roots()?, None), self.lookups.clone());
        Ok(self.secure.get_or_init(|| made).clone())
    }

    fn through(&self, scheme: &str, proxy: &str) -> Result<Way, FetchProblem> {
        let mut through = self.through.lock().expect("because no thread panics while it makes an agent");
        let key = (scheme.to_owned(), proxy.to_owned());
        if let Some(way) = through.get(&key) {
            return Ok((**way).clone());
        }
        let way = match scheme {
            "https" => self.tunnel(proxy)?,
            _ => self.absolute(proxy)?,
        };
        through.insert(key, Arc::new(way.clone()));
        Ok(way)
    }

    /// Makes an agent that sends `http:` requests to a proxy, and the credentials that it wants.
    fn absolute(&self, proxy: &str) -> Result<Way, FetchProblem> {
        let (address, credentials) = split_credentials(proxy);
        let uri: Uri = address.parse().map_err(|error| FetchProblem::Connection(Box::new(error)))?;
        let lookups = OneLookup { instead: Some(uri), ..self.lookups.clone() };
        let config = config(&self.settings, RootCerts::PlatformVerifier, None);
        let agent = Agent::with_parts(config, AbsoluteForm::default(), lookups);
        let basic = |credentials: String| format!("Basic {}", base64::encode(credentials.as_bytes()));
        Ok(Way { agent, credentials: credentials.map(basic) })
    }

    /// Makes an agent that reaches `https:` addresses through a tunnel.
    fn tunnel(&self, proxy: &str) -> Result<Way, FetchProblem> {
        let opened = ureq::Proxy::new(proxy).map_err(|error| FetchProblem::Connection(Box::new(error)))?;
        let config = config(&self.settings, self.roots()?, Some(opened));
        Ok(Way { agent: agent(config, self.lookups.clone()), credentials: None })
    }

    /// Returns the CA certificates that the settings name, else what the system has.
    fn roots(&self) -> Result<RootCerts, FetchProblem> {
        let Some(path) = &self.settings.certificates else { return Ok(RootCerts::PlatformVerifier) };
        let bytes = fs::read_at_most(path, CERTIFICATES_BYTES_MAX)?;
        let certificates: Vec<_> = parse_pem(&bytes)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        match certificates.is_empty() {
            true => Err(FetchProblem::Certificates { path: path.clone() }),
            false => Ok(RootCerts::from(certificates)),
        }
    }
}

fn agent(config: ureq::config::Config, lookups: OneLookup) -> Agent {
    Agent::with_parts(config, DefaultConnector::new(), lookups)
}

fn config(settings: &Settings, roots: RootCerts, proxy: Option<ureq::Proxy>) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("mkimage/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .proxy(proxy)
        .max_idle_connections(32)
        .max_idle_connections_per_host(settings.connections)
        .timeout_connect(Some(settings.patience.connect))
        .timeout_recv_response(Some(settings.patience.read))
        .timeout_per_read(Some(settings.patience.read))
        .build()
}

fn check_proxy(scheme: &str, proxy: &str) -> Result<(), PackagesError> {
    let address = split_credentials(proxy).0;
    let wrong = |problem: String| Err(PackagesError::Proxy { address: address.clone(), problem });
    if scheme == "https" {
        return ureq::Proxy::new(proxy).map(|_| ()).or_else(|error| wrong(error.to_string()));
    }
    match address.parse::<Uri>() {
        Err(_) => wrong("it can't be read".to_owned()),
        Ok(uri) if uri.scheme_str() != Some("http") || uri.host().is_none() => {
            wrong("it must start with http://".to_owned())
        }
        Ok(_) => Ok(()),
    }
}

/// Returns the scheme of an address, without `://`.
pub(super) fn scheme(address: &str) -> &str {
    address.split_once("://").map_or("", |split| split.0)
}

/// Looks each host up once: the library would at every request, pooled or not, and name servers drop some.
/// Cloning shares the table.
#[derive(Debug, Default, Clone)]
struct OneLookup {
    /// The host to reach in place of every other.
    instead: Option<Uri>,
    known: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
    system: Arc<DefaultResolver>,
}

impl Resolver for OneLookup {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = self.instead.as_ref().unwrap_or(uri);
        let key = format!("{:?} {:?}", uri.scheme(), uri.authority());
        let mut known = self.known.lock().expect("because no thread panics while it looks a host up");
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
