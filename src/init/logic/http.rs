//! The little of HTTP/1.1 that health checks, metadata services and log collectors need (RFC 9112): one request a
//! connection, answers of a known length, in chunks, or to the end.

/// Longest head of an answer, in bytes.
const HEAD_MAX_BYTES: usize = 16 << 10;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Writes the request of a health check. `path` begins with a slash and has no white space.
pub fn request(path: &str) -> String {
    head("GET", "localhost", path, &[])
}

/// Writes a request without a body, or the head of one with a body. Nothing in it may have line ends.
pub fn head(method: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: mkimage-init\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("Connection: close\r\n\r\n");
    text
}

/// Tells whether an answer that begins so is a sign of health: status 200 to 399.
/// `None`: the status line isn't complete yet.
pub fn is_healthy(answer: &[u8]) -> Option<bool> {
    status(answer).map(|status| status.is_some_and(|status| (200..400).contains(&status)))
}

/// Returns the status of an answer that begins so: `Some(None)` where it is none of HTTP/1.
/// `None`: the status line isn't complete yet.
pub fn status(answer: &[u8]) -> Option<Option<u16>> {
    const STATUS_END: usize = "HTTP/1.1 200".len();
    let line = answer.get(..STATUS_END)?;
    let status = std::str::from_utf8(&line[9..]).ok().and_then(|status| status.parse::<u16>().ok());
    let version = line.starts_with(b"HTTP/1.") && line[8] == b' ';
    Some(status.filter(|_| version))
}

/// What has come of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// More must come.
    Partial,
    Whole {
        status: u16,
        body: Vec<u8>,
    },
    /// It is no answer, or it is cut short.
    Broken,
}

/// Reads an answer as far as it has come; `ended` says that no more comes.
pub fn answer(bytes: &[u8], ended: bool) -> Answer {
    let unfinished = if ended { Answer::Broken } else { Answer::Partial };
    let Some(end) = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
        return if bytes.len() > HEAD_MAX_BYTES { Answer::Broken } else { unfinished };
    };
    let Some(Some(status)) = status(bytes) else { return Answer::Broken };
    let body = &bytes[end + HEAD_END.len()..];
    let whole = |body: &[u8]| Answer::Whole { status, body: body.to_vec() };
    let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return Answer::Broken };
    if header(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return match unchunk(body) {
            Some(Some(body)) => Answer::Whole { status, body },
            Some(None) => unfinished,
            None => Answer::Broken,
        };
    }
    match header(head, "content-length").map(str::parse::<usize>) {
        Some(Ok(length)) if body.len() >= length => whole(&body[..length]),
        Some(Ok(_)) => unfinished,
        Some(Err(_)) => Answer::Broken,
        None if ended || status == 204 || status == 304 => whole(body),
        None => Answer::Partial,
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Puts chunks together (RFC 9112 §7.1). `None`: they are none; `Some(None)`: more must come.
fn unchunk(mut rest: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else {
            return (rest.len() < 64).then_some(None);
        };
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let digits = line.split(';').next()?.trim();
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| plain)?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(Some(body));
        }
        let Some((chunk, behind)) = rest.split_at_checked(size) else { return Some(None) };
        match behind {
            [b'\r', b'\n', behind @ ..] => rest = behind,
            [] | [b'\r'] => return Some(None),
            _ => return None,
        }
        body.extend_from_slice(chunk);
    }
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
        let put = head("PUT", "10.0.0.1:80", "/t", &[("X-Ttl", "60")]);
        assert!(put.contains("\r\nHost: 10.0.0.1:80\r\n") && put.contains("\r\nX-Ttl: 60\r\n"), "{put}");
    }

    fn whole(status: u16, body: &[u8]) -> Answer {
        Answer::Whole { status, body: body.to_vec() }
    }

    #[test]
    fn answers_are_whole_by_length_by_chunks_or_at_the_end() {
        let length = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello, and more";
        let chunks =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        let open = b"HTTP/1.0 404 No\r\nServer: x\r\n\r\nnothing";
        assert_eq!(answer(length, false), whole(200, b"hello"));
        assert_eq!(answer(chunks, false), whole(200, b"hello"));
        assert_eq!(answer(open, false), Answer::Partial);
        assert_eq!(answer(open, true), whole(404, b"nothing"));
        for bytes in [&length[..length.len() - 11], &chunks[..chunks.len() - 5]] {
            for cut in 0..bytes.len() {
                assert_eq!(answer(&bytes[..cut], false), Answer::Partial, "{cut}");
                assert_eq!(answer(&bytes[..cut], true), Answer::Broken, "{cut}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_broken() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n",
        ] {
            assert_eq!(answer(bytes, false), Answer::Broken, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(answer(&[b'x'; HEAD_MAX_BYTES + 1], false), Answer::Broken);
    }
}
