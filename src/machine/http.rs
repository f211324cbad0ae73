//! One HTTP request, to see whether a forwarded port serves.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection must be kept to count as served.
const KEEPS_FOR: Duration = Duration::from_millis(700);

/// An answer: the status and the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Asks for a path on a port of the loopback address (HTTP/1.0: the answer ends with the connection).
pub fn get(port: u16, path: &str) -> std::io::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| Error::other("the answer is no HTTP"))
}

/// Tells whether somebody behind a port of the loopback address keeps a connection for a moment, or speaks.
pub fn is_served(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, CONNECT_WITHIN) else { return false };
    if stream.set_read_timeout(Some(KEEPS_FOR)).is_err() {
        return false;
    }
    match stream.read(&mut [0]) {
        Ok(length) => length > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(&bytes[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: bytes[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_that_is_kept_or_speaks() {
        use std::net::TcpListener;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(is_served(port), "it is kept in the backlog");
        drop(listener);
        assert!(!is_served(port));
    }

    #[test]
    fn only_http_answers_count() {
        let answer = parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello\r\n\r\n").expect("an answer");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello\r\n\r\n"[..]));
        for wrong in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n"] {
            assert_eq!(parse(wrong), None);
        }
    }
}
