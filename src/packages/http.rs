//! Bytes over HTTP: pooled connections, one look-up a host, bounded bodies, patience with limits.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use super::error::{Ending, FetchProblem, PackagesError};
use super::proxy::{AbsoluteForm, Proxies, base64, split_credentials};
use super::request::Settings;
use crate::base::{Job, Stopwatch};

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
    /// How often one address is tried, at least 1.
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

/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Most bytes that are reserved before they come.
const RESERVED_BYTES_MAX: u64 = 64 << 20;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 << 10;

/// Speaks HTTP. Shared among threads.
pub(super) struct Http {
    direct: Agent,
    http_proxy: Option<(Agent, Option<String>)>,
    https_proxy: Option<Agent>,
    proxies: Proxies,
    patience: Patience,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Http, PackagesError> {
        let direct = Agent::with_parts(config(settings, None), DefaultConnector::new(), OneLookup::default());
        let http_proxy =
            settings.proxies.http.as_deref().map(|proxy| through_proxy(settings, proxy)).transpose()?;
        let https_proxy =
            settings.proxies.https.as_deref().map(|proxy| tunnel(settings, proxy)).transpose()?;
        let (proxies, patience) = (settings.proxies.clone(), settings.patience);
        Ok(Http { direct, http_proxy, https_proxy, proxies, patience })
    }

    /// Gets a whole body of at most `limit` bytes, or of exactly `expected` bytes. Connections that break are
    /// taken up again where they broke, if the server can, else from the start.
    pub(super) fn get(
        &self,
        address: &str,
        expected: Option<u64>,
        limit: u64,
        job: &Job,
    ) -> Result<Vec<u8>, FetchProblem> {
        let limit = expected.map_or(limit, |expected| expected.min(limit));
        let mut body = Vec::new();
        let mut pause = self.patience.pause;
        for attempt in 1.. {
            job.check()?;
            let answer = self.attempt(address, &mut body, expected, limit, job);
            match answer {
                Ok(()) => break,
                Err(problem) if problem.ending() == Ending::Final || attempt >= self.patience.tries => {
                    return Err(problem);
                }
                Err(_) => std::thread::sleep(pause),
            }
            pause *= 2;
        }
        Ok(body)
    }

    /// Asks once, for what `body` lacks.
    fn attempt(
        &self,
        address: &str,
        body: &mut Vec<u8>,
        expected: Option<u64>,
        limit: u64,
        job: &Job,
    ) -> Result<(), FetchProblem> {
        let from = if expected.is_some() { body.len() as u64 } else { 0 };
        let answer = self.follow(address, from)?;
        match answer.status().as_u16() {
            200 => body.clear(),
            206 if from > 0 && is_rest(&answer, from, expected) => {}
            206 | 416 => {
                body.clear();
                return Err(connection("the server sent another range than it was asked for"));
            }
            404 | 410 => return Err(FetchProblem::Missing),
            status => return Err(FetchProblem::Status(status)),
        }
        if let (Some(declared), Some(expected)) = (answer.body().content_length(), expected)
            && declared + body.len() as u64 != expected
        {
            return Err(FetchProblem::Length { declared: declared + body.len() as u64, expected });
        }
        body.reserve(expected.map_or(0, |expected| expected.min(RESERVED_BYTES_MAX) as usize));
        self.receive(answer.into_body(), body, limit, job)?;
        match expected {
            Some(expected) if (body.len() as u64) < expected => {
                Err(FetchProblem::Size { found: body.len() as u64, expected })
            }
            _ => Ok(()),
        }
    }

    fn receive(&self, answer: Body, body: &mut Vec<u8>, limit: u64, job: &Job) -> Result<(), FetchProblem> {
        let mut reader = answer.into_reader();
        let mut piece = vec![0; PIECE_BYTES];
        let (mut window, mut window_bytes) = (Stopwatch::start(), 0);
        loop {
            job.check()?;
            let read = match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FetchProblem::Connection(Box::new(error))),
            };
            if body.len() as u64 + read as u64 > limit {
                return Err(FetchProblem::TooLarge { limit });
            }
            body.extend_from_slice(&piece[..read]);
            window_bytes += read as u64;
            if window.elapsed() >= self.patience.window {
                if window_bytes < self.patience.window_bytes {
                    let seconds = self.patience.window.as_secs();
                    return Err(FetchProblem::Slow { bytes: window_bytes, seconds });
                }
                (window, window_bytes) = (Stopwatch::start(), 0);
            }
        }
    }

    /// Asks, and follows redirects within the same scheme.
    fn follow(&self, address: &str, from: u64) -> Result<ureq::http::Response<Body>, FetchProblem> {
        let mut at = address.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(&at, from)?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let to = answer
                .headers()
                .get("location")
                .and_then(|to| to.to_str().ok())
                .unwrap_or_default()
                .to_owned();
            let next = redirected(&at, &to);
            if scheme(&next) != scheme(&at) {
                return Err(FetchProblem::Redirect { to, problem: "to another scheme" });
            }
            at = next;
        }
        Err(FetchProblem::Redirect { to: at, problem: "more than 5 redirects" })
    }

    fn ask(&self, address: &str, from: u64) -> Result<ureq::http::Response<Body>, FetchProblem> {
        let (agent, credentials) = self.agent(address);
        let mut request = agent.get(address);
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some(credentials) = credentials {
            request = request.header("proxy-authorization", credentials);
        }
        request.call().map_err(|error| FetchProblem::Connection(Box::new(error)))
    }

    fn agent(&self, address: &str) -> (&Agent, Option<&str>) {
        let is_secure = scheme(address) == "https";
        let host =
            address.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
        match (&self.http_proxy, &self.https_proxy) {
            _ if self.proxies.bypasses(&host) => (&self.direct, None),
            (_, Some(agent)) if is_secure => (agent, None),
            (Some((agent, credentials)), _) if !is_secure => (agent, credentials.as_deref()),
            _ => (&self.direct, None),
        }
    }
}

fn config(settings: &Settings, proxy: Option<ureq::Proxy>) -> ureq::config::Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .accept_encoding("identity")
        .user_agent(concat!("mkimage/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .proxy(proxy)
        .max_idle_connections(32)
        .max_idle_connections_per_host(settings.connections)
        .timeout_connect(Some(settings.patience.connect))
        .timeout_recv_response(Some(settings.patience.read))
        .timeout_per_read(Some(settings.patience.read))
        .build()
}

/// Makes an agent that sends `http:` requests to a proxy, and the credentials that it wants.
fn through_proxy(settings: &Settings, proxy: &str) -> Result<(Agent, Option<String>), PackagesError> {
    let (address, credentials) = split_credentials(proxy);
    let wrong =
        |problem: &str| PackagesError::Proxy { address: address.clone(), problem: problem.to_owned() };
    let uri: Uri = address.parse().map_err(|_| wrong("it can't be read"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(wrong("it must start with http://"));
    }
    let resolver = OneLookup { instead: Some(uri), ..OneLookup::default() };
    let agent = Agent::with_parts(config(settings, None), AbsoluteForm::default(), resolver);
    Ok((agent, credentials.map(|credentials| format!("Basic {}", base64(credentials.as_bytes())))))
}

/// Makes an agent that reaches `https:` addresses through a tunnel.
fn tunnel(settings: &Settings, proxy: &str) -> Result<Agent, PackagesError> {
    let opened = ureq::Proxy::new(proxy).map_err(|error| PackagesError::Proxy {
        address: split_credentials(proxy).0,
        problem: error.to_string(),
    })?;
    Ok(Agent::with_parts(config(settings, Some(opened)), DefaultConnector::new(), OneLookup::default()))
}

/// Looks each host up once: the library would at every request, pooled or not, and name servers drop some.
#[derive(Debug, Default)]
struct OneLookup {
    /// The host to reach in place of every other.
    instead: Option<Uri>,
    known: Mutex<HashMap<String, Vec<SocketAddr>>>,
    system: DefaultResolver,
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

fn connection(problem: &'static str) -> FetchProblem {
    FetchProblem::Connection(problem.into())
}

/// Tells whether an answer says that it is all that lies behind `from`.
fn is_rest(answer: &ureq::http::Response<Body>, from: u64, expected: Option<u64>) -> bool {
    let Some(expected) = expected else { return false };
    let last = expected.saturating_sub(1);
    let range = answer.headers().get("content-range").and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range == format!("bytes {from}-{last}/{expected}"))
}

fn scheme(address: &str) -> &str {
    address.split_once("://").map_or("", |split| split.0)
}

/// Resolves a `Location` against the address that was asked (RFC 3986 §5.2, without dot segments).
fn redirected(at: &str, to: &str) -> String {
    let Some((scheme, rest)) = at.split_once("://") else { return to.to_owned() };
    let authority = rest.split('/').next().unwrap_or(rest);
    if to.contains("://") {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let folder = at.rfind('/').map_or(at, |cut| &at[..cut]);
        format!("{folder}/{to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_against_what_was_asked() {
        let at = "http://a:1/b/c";
        for (to, whole) in [
            ("/x", "http://a:1/x"),
            ("x", "http://a:1/b/x"),
            ("//h/x", "http://h/x"),
            ("https://h/", "https://h/"),
        ] {
            assert_eq!(redirected(at, to), whole);
        }
    }
}
