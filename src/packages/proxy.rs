//! Proxies: which one serves a host, and how a plain HTTP request goes through one.
//!
//! `https:` addresses go through a tunnel (CONNECT, RFC 9110 §9.3.6), which the HTTP library does.
//! `http:` addresses go as requests in absolute form (RFC 9112 §3.2.2), as apt and curl send them: proxies
//! for packages cache these, and refuse tunnels to port 80.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

/// Says which proxies to use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    /// For `http:` addresses, such as `http://proxy.invalid:3128`.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// For single hosts, by scheme and host in lower case: apt's `Acquire::http::Proxy::HOST`; `None` reaches
    /// the host without one.
    pub hosts: BTreeMap<(String, String), Option<String>>,
    /// Hosts that are reached without one: names that match themselves and what ends in `.NAME`, addresses and
    /// networks (`10.0.0.0/8`); `*` is all.
    pub bypass: Vec<String>,
}

/// What apt's configuration writes for "no proxy".
const DIRECT: [&str; 2] = ["direct", "false"];

impl Proxies {
    /// Takes what apt's configuration says (as [`super::apt_conf`] reads it; for `https` what it says of `http`,
    /// where it says nothing else), and where that is silent the variables `http_proxy`, `https_proxy`,
    /// `all_proxy` and `no_proxy` (upper case too, where lower case is not set).
    pub fn of_machine(
        values: &BTreeMap<String, String>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Proxies {
        let variable = |name: &str| {
            environment(name)
                .or_else(|| environment(&name.to_ascii_uppercase()))
                .filter(|value| !value.is_empty())
        };
        let of_apt = |scheme: &str| values.get(&format!("acquire::{scheme}::proxy")).filter(is_said).cloned();
        let proxy = |scheme: &str| {
            let set = of_apt(scheme).or_else(|| of_apt("http"));
            let set = set.or_else(|| variable(&format!("{scheme}_proxy"))).or_else(|| variable("all_proxy"));
            set.and_then(used)
        };
        let bypass = variable("no_proxy").unwrap_or_default();
        let bypass = bypass.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        let (http, https, bypass) = (proxy("http"), proxy("https"), bypass.collect());
        Proxies { http, https, hosts: hosts(values), bypass }
    }

    /// Returns the proxy through which a host is reached; `None` where it is reached without one.
    pub fn of(&self, scheme: &str, host: &str) -> Option<&str> {
        let key = (scheme.to_owned(), host.to_ascii_lowercase());
        match self.hosts.get(&key) {
            Some(proxy) => proxy.as_deref(),
            None if self.bypasses(host) => None,
            None if scheme == "https" => self.https.as_deref(),
            None => self.http.as_deref(),
        }
    }

    /// Tells whether a host is reached without a proxy.
    fn bypasses(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        self.bypass.iter().any(|name| {
            let suffix = name.trim_start_matches("*.").trim_start_matches('.');
            let behind =
                host.len().checked_sub(suffix.len()).and_then(|cut| host.get(cut..).map(|end| (cut, end)));
            name == "*"
                || address.is_some_and(|address| is_in_network(address, name))
                || behind.is_some_and(|(cut, end)| {
                    end.eq_ignore_ascii_case(suffix) && (cut == 0 || host.as_bytes()[cut - 1] == b'.')
                })
        })
    }
}

fn is_said(value: &&String) -> bool {
    !value.is_empty()
}

fn used(proxy: String) -> Option<String> {
    (!DIRECT.contains(&&*proxy.to_ascii_lowercase())).then_some(proxy)
}

/// Reads what apt's configuration says of single hosts.
fn hosts(values: &BTreeMap<String, String>) -> BTreeMap<(String, String), Option<String>> {
    let mut hosts = BTreeMap::new();
    for (of, schemes) in [("http", &["http", "https"][..]), ("https", &["https"][..])] {
        let prefix = format!("acquire::{of}::proxy::");
        for (key, value) in values.iter().filter(|(_, value)| is_said(value)) {
            let Some(host) = key.strip_prefix(&prefix) else { continue };
            for scheme in schemes {
                hosts.insert(((*scheme).to_owned(), host.to_owned()), used(value.clone()));
            }
        }
    }
    hosts
}

/// Tells whether an address lies in a network such as `10.0.0.0/8`.
fn is_in_network(address: IpAddr, network: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, base) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => {
            (a.to_bits() ^ b.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Splits `http://user:password@host:port/` into `http://host:port` and `user:password`.
pub(super) fn split_credentials(address: &str) -> (String, Option<String>) {
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((credentials, host)) => (format!("{scheme}://{host}"), Some(credentials.to_owned())),
        None => (format!("{scheme}://{authority}"), None),
    }
}

/// Connects to a proxy, which the resolver gives in place of every host, and sends requests in absolute
/// form.
#[derive(Debug, Default)]
pub(super) struct AbsoluteForm {
    tcp: TcpConnector,
}

impl Connector<()> for AbsoluteForm {
    type Out = AbsoluteFormTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let authority = details.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let prefix = format!("http://{authority}");
        let connected = Connector::<()>::connect(&self.tcp, details, None)?;
        Ok(connected.map(|inner| AbsoluteFormTransport { inner: Box::new(inner), prefix }))
    }
}

/// Puts scheme and host in front of the path of each request.
#[derive(Debug)]
pub(super) struct AbsoluteFormTransport {
    inner: Box<dyn Transport>,
    prefix: String,
}

impl Transport for AbsoluteFormTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        const METHOD: usize = b"GET ".len();
        let prefix = self.prefix.as_bytes();
        let output = self.inner.buffers().output();
        if !output[..amount].starts_with(b"GET /") {
            return self.inner.transmit_output(amount, timeout);
        }
        if amount + prefix.len() > output.len() {
            return Err(Error::BadUri("too long for a proxy".to_owned()));
        }
        output.copy_within(METHOD..amount, METHOD + prefix.len());
        output[METHOD..METHOD + prefix.len()].copy_from_slice(prefix);
        self.inner.transmit_output(amount + prefix.len(), timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::super::apt_conf;
    use super::*;

    #[test]
    fn hosts_bypass_by_whole_labels_and_by_network() {
        let bypass = [".corp.invalid", "localhost", "10.1.0.0/16", "fd00::/8"].map(str::to_owned).to_vec();
        let proxies = Proxies { http: Some("http://p:1".into()), bypass, ..Proxies::default() };
        for (host, bypasses) in [
            ("a.corp.invalid", true),
            ("corp.invalid", true),
            ("acorp.invalid", false),
            ("LOCALHOST", true),
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("[fd00::1]", true),
            ("é", false),
        ] {
            assert_eq!(proxies.of("http", host).is_none(), bypasses, "{host}");
        }
        let all = Proxies { bypass: vec!["*".into()], ..proxies };
        assert_eq!(all.of("http", "x"), None);
    }

    #[test]
    fn the_environment_fills_what_apt_leaves_open() {
        let machine = |conf: &str, variable: &'static str| {
            let environment = |name: &str| (name == variable).then(|| "http://p.invalid:1".to_owned());
            Proxies::of_machine(&apt_conf::parse(conf), &environment)
        };
        let proxies = machine("Acquire::https::Proxy \"DIRECT\";", "ALL_PROXY");
        assert_eq!((proxies.https.clone(), proxies.http.as_deref()), (None, Some("http://p.invalid:1")));
        let proxies = machine("Acquire::http::Proxy \"http://a.invalid:2\";", "https_proxy");
        assert_eq!(proxies.of("https", "h"), Some("http://a.invalid:2"), "as for http, unless it says more");
        let conf = "Acquire::http { Proxy \"http://a:2\"; Proxy::Inside.invalid \"DIRECT\"; Proxy::b \"http://b:3\"; };";
        let proxies = machine(conf, "http_proxy");
        assert_eq!(proxies.of("http", "inside.invalid"), None);
        assert_eq!(proxies.of("https", "B"), Some("http://b:3"));
    }

    #[test]
    fn credentials_are_cut_off() {
        assert_eq!(split_credentials("http://u:p@h:1/"), ("http://h:1".into(), Some("u:p".into())));
        assert_eq!(split_credentials("h:1"), ("http://h:1".into(), None));
    }
}
