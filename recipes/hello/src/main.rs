//! A small HTTP service, with nothing but the standard library.
//!
//! `GET /` greets, `GET /health` says that it serves. The environment sets `PORT` (8080 where it is not
//! set) and `GREETING`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Longest request head, in bytes.
const HEAD_BYTES_MAX: u64 = 8192;
/// A client that says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the service says of itself.
struct Service {
    greeting: String,
    host: String,
    started_by: u32,
}

fn main() -> io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let service = Arc::new(Service {
        greeting: std::env::var("GREETING").unwrap_or_else(|_| "Hello, world!".to_owned()),
        host: host_name(),
        started_by: user_id(),
    });
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    println!("hello: serving on port {port} as user {}", service.started_by);
    loop {
        // A client may be gone before it is accepted; that is its affair.
        let Ok((stream, _)) = listener.accept() else { continue };
        let service = service.clone();
        std::thread::spawn(move || service.answer(stream));
    }
}

impl Service {
    /// Answers one request. Failing clients are left alone.
    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let path = read_path(&stream)?;
        let (status, kind, body) = match path.as_deref() {
            Some("/") => ("200 OK", "text/html", self.page()),
            Some("/health") => ("200 OK", "text/plain", "healthy\n".to_owned()),
            Some(_) => ("404 Not Found", "text/plain", "no such page\n".to_owned()),
            None => ("400 Bad Request", "text/plain", "only GET is understood\n".to_owned()),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
    }

    fn page(&self) -> String {
        let (greeting, host, user) = (escape(&self.greeting), escape(&self.host), self.started_by);
        format!(
            "<!doctype html>\n<title>{greeting}</title>\n<h1>{greeting}</h1>\n\
             <p>This is <b>{host}</b>. I run as user {user}.</p>\n"
        )
    }
}

/// Reads the head of a request and returns the path of a GET, without its query.
fn read_path(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut lines = BufReader::new(stream.take(HEAD_BYTES_MAX));
    let mut request = String::new();
    lines.read_line(&mut request)?;
    let mut header = String::new();
    while lines.read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    Ok(target.map(|target| target.split('?').next().unwrap_or(target).to_owned()))
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "a machine without a name".to_owned() } else { name.trim().to_owned() }
}

/// Returns the user that this process runs as.
fn user_id() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(0, |process| process.uid())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
