//! Proxies: which one serves a host, and how a plain HTTP request goes through one.
//!
//! `https:` addresses go through a tunnel (CONNECT, RFC 9110 §9.3.6), which the HTTP library does.
//! `http:` addresses go as requests in absolute form (RFC 9112 §3.2.2), as apt and curl send them: proxies
//! for packages cache these, and refuse tunnels to port 80.

use std::path::Path;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

use super::apt_conf;

/// Says which proxies to use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    /// For `http:` addresses, such as `http://proxy.invalid:3128`.
    pub http: Option<String>,
    /// For `https:` addresses.
    pub https: Option<String>,
    /// Hosts that are reached without one: names that match themselves and what ends in `.NAME`; `*` is all.
    pub bypass: Vec<String>,
}

impl Proxies {
    /// Reads apt's configuration, and where that is silent the variables `http_proxy`, `https_proxy`,
    /// `all_proxy` and `no_proxy` (upper case too, where lower case is not set).
    pub fn of_machine(apt: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Proxies {
        let values = apt_conf::read(apt);
        let variable = |name: &str| {
            environment(name)
                .or_else(|| environment(&name.to_ascii_uppercase()))
                .filter(|value| !value.is_empty())
        };
        let proxy = |scheme: &str| {
            let set =
                values.get(&format!("acquire::{scheme}::proxy")).cloned().filter(|value| !value.is_empty());
            let set = set.or_else(|| variable(&format!("{scheme}_proxy"))).or_else(|| variable("all_proxy"));
            set.filter(|value| !["direct", "false"].contains(&&*value.to_ascii_lowercase()))
        };
        let bypass = variable("no_proxy").unwrap_or_default();
        let bypass = bypass.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        Proxies { http: proxy("http"), https: proxy("https"), bypass: bypass.collect() }
    }

    /// Tells whether a host is reached without a proxy.
    pub fn bypasses(&self, host: &str) -> bool {
        self.bypass.iter().any(|name| {
            let name = name.trim_start_matches("*.").trim_start_matches('.');
            let behind =
                host.len().checked_sub(name.len()).and_then(|cut| host.get(cut..).map(|end| (cut, end)));
            name == "*"
                || behind.is_some_and(|(cut, end)| {
                    end.eq_ignore_ascii_case(name) && (cut == 0 || host.as_bytes()[cut - 1] == b'.')
                })
        })
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

/// Encodes bytes as base64 (RFC 4648 §4): the form of Basic credentials.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = LETTERS[(group >> (18 - 6 * index)) as usize & 63] as char;
            text.push(if index <= chunk.len() { letter } else { '=' });
        }
    }
    text
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
    use super::*;

    #[test]
    fn hosts_bypass_by_whole_labels() {
        let proxies =
            Proxies { bypass: vec![".corp.invalid".into(), "localhost".into()], ..Proxies::default() };
        for (host, bypasses) in [
            ("a.corp.invalid", true),
            ("corp.invalid", true),
            ("acorp.invalid", false),
            ("LOCALHOST", true),
            ("é", false),
        ] {
            assert_eq!(proxies.bypasses(host), bypasses, "{host}");
        }
        assert!(Proxies { bypass: vec!["*".into()], ..Proxies::default() }.bypasses("x"));
    }

    #[test]
    fn the_environment_fills_what_apt_leaves_open() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("apt.conf"), "Acquire::http::Proxy \"DIRECT\";").expect("written");
        let environment = |name: &str| (name == "ALL_PROXY").then(|| "http://p.invalid:1".to_owned());
        let proxies = Proxies::of_machine(folder.path(), &environment);
        assert_eq!((proxies.http, proxies.https.as_deref()), (None, Some("http://p.invalid:1")));
    }

    #[test]
    fn credentials_are_cut_off_and_encoded() {
        assert_eq!(split_credentials("http://u:p@h:1/"), ("http://h:1".into(), Some("u:p".into())));
        assert_eq!(split_credentials("h:1"), ("http://h:1".into(), None));
        assert_eq!([base64(b"u:p"), base64(b"ab"), base64(b"a")], ["dTpw", "YWI=", "YQ=="]);
    }
}
