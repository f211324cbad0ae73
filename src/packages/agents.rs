//! Pooled connections: an agent for each way to a host (straight, through a proxy, through a tunnel), which
//! share one table of host names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::RootCerts;
use ureq::unversioned::transport::DefaultConnector;

use super::error::{FetchProblem, PackagesError};
use super::proxy::{AbsoluteForm, split_credentials};
use super::settings::Settings;
use crate::base::base64;
use crate::web::{Lookups, certificates, configuration, scheme};

/// Holds the agents of one run. Shared among threads.
pub(super) struct Agents {
    settings: Settings,
    plain: Agent,
    /// Made when the first `https:` address is asked: reading CA certificates takes a while.
    secure: OnceLock<Agent>,
    /// By scheme and the proxy's address.
    through: Mutex<HashMap<(String, String), Arc<Way>>>,
    lookups: Lookups,
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
        let lookups = Lookups::default();
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
        let lookups = self.lookups.instead(uri);
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
        Ok(certificates(self.settings.certificates.as_deref())?)
    }
}

fn agent(config: Config, lookups: Lookups) -> Agent {
    Agent::with_parts(config, DefaultConnector::new(), lookups)
}

fn config(settings: &Settings, roots: RootCerts, proxy: Option<ureq::Proxy>) -> Config {
    configuration(&settings.patience, roots, proxy, settings.connections)
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
