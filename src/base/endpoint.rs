//! Addresses of services that are spoken to in plain text: `http://HOST[:PORT][/PATH]` and `tcp://HOST:PORT`.

use std::fmt;
use std::str::FromStr;

const TEXT_MAX_BYTES: usize = 1024;
const HOST_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;
const HTTP_PORT: u16 = 80;

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Tcp,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub scheme: Scheme,
    /// An IPv4 address or a name of letters, digits, dots and dashes.
    pub host: String,
    pub port: u16,
    /// Begins with a slash; empty for TCP.
    pub path: String,
}

/// Says that a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected http://HOST[:PORT][/PATH] or tcp://HOST:PORT, without a user and without TLS")]
pub struct NoEndpoint;

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        parse(text).ok_or(NoEndpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme == Scheme::Http { "http" } else { "tcp" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

fn parse(text: &str) -> Option<Endpoint> {
    if text.len() > TEXT_MAX_BYTES {
        return None;
    }
    let (scheme, rest) = match text.strip_prefix("http://") {
        Some(rest) => (Scheme::Http, rest),
        None => (Scheme::Tcp, text.strip_prefix("tcp://")?),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        Some((host, digits)) => (host, number(digits)?),
        None if scheme == Scheme::Http => (authority, HTTP_PORT),
        None => return None,
    };
    let path = match (scheme, path) {
        (Scheme::Tcp, "") => "",
        (Scheme::Http, "") => "/",
        (Scheme::Http, path) if path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') => path,
        _ => return None,
    };
    is_host(host).then(|| Endpoint { scheme, host: host.to_owned(), port, path: path.to_owned() })
}

fn number(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&port| plain && port != 0)
}

fn is_host(host: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| (1..=LABEL_MAX_BYTES).contains(&label.len()) && label.bytes().all(letter);
    host.len() <= HOST_MAX_BYTES && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_put_together() {
        for (text, whole, host, port, path) in [
            ("http://10.0.2.2:8080/a?b=c", "http://10.0.2.2:8080/a?b=c", "10.0.2.2", 8080, "/a?b=c"),
            ("http://logs.example", "http://logs.example:80/", "logs.example", 80, "/"),
            ("tcp://logs-1:6514", "tcp://logs-1:6514", "logs-1", 6514, ""),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.path.as_str()), (host, port, path));
            assert_eq!(endpoint.to_string(), whole);
            assert_eq!(whole.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_we_can_not_speak_to_is_no_address() {
        let long = format!("http://{}/", "a".repeat(254));
        for text in [
            "",
            "logs:6514",
            "https://logs/",
            "udp://logs:514",
            "tcp://logs",
            "tcp://logs:0",
            "tcp://logs:+1",
            "tcp://logs:65536",
            "tcp://logs:1/",
            "tcp://:1",
            "tcp://a..b:1",
            "http://user@host/",
            "http://[::1]/",
            "http://host/a b",
            "http://host/a#b",
            "http://host/\r\nX: y",
            "http://h\u{f6}st/",
            &long,
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(NoEndpoint), "{text}");
        }
    }
}
