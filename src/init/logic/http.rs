//! The little of HTTP/1.1 that a health check needs (RFC 9112).

/// Writes the request of a health check. `path` begins with a slash and has no white space.
pub fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: mkimage-init\r\nConnection: close\r\n\r\n")
}

/// Tells whether an answer that begins so is a sign of health: status 200 to 399.
/// `None`: the status line isn't complete yet.
pub fn is_healthy(answer: &[u8]) -> Option<bool> {
    const STATUS_END: usize = "HTTP/1.1 200".len();
    let line = answer.get(..STATUS_END)?;
    let status = std::str::from_utf8(&line[9..]).ok().and_then(|status| status.parse::<u16>().ok());
    let version = line.starts_with(b"HTTP/1.") && line[8] == b' ';
    Some(version && status.is_some_and(|status| (200..400).contains(&status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_and_three_hundreds_are_healthy() {
        for (answer, healthy) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Some(true)),
            (b"HTTP/1.0 204", Some(true)),
            (b"HTTP/1.1 399 ", Some(true)),
            (b"HTTP/1.1 400 ", Some(false)),
            (b"HTTP/1.1 503 Busy", Some(false)),
            (b"HTTP/1.1 199 ", Some(false)),
            (b"SSH-2.0-OpenSSH", Some(false)),
            (b"HTTP/2 200 OK", Some(false)),
            (b"HTTP/1.1\xff200", Some(false)),
            (b"HTTP/1.1 20", None),
            (b"", None),
        ] {
            assert_eq!(is_healthy(answer), healthy, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn the_request_closes_its_connection() {
        assert!(request("/health?a=b").starts_with("GET /health?a=b HTTP/1.1\r\nHost: localhost\r\n"));
        assert!(request("/").ends_with("Connection: close\r\n\r\n"));
    }
}
