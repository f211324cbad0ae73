//! Web servers of the tests: nginx, and one that does as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::tool;

/// A real nginx that shows a directory.
pub struct Nginx {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

impl Nginx {
    /// Starts nginx for the files of `root`. Without `ranges` it answers every request with the whole file.
    pub fn start(root: &Path, ranges: bool) -> Nginx {
        Nginx::start_with(root, ranges, "")
    }

    /// Starts nginx that speaks TLS, with `leaf.pem` and `leaf.key` of a folder.
    pub fn start_tls(root: &Path, certificates: &Path) -> Nginx {
        let folder = certificates.display();
        let more = format!("ssl_certificate {folder}/leaf.pem; ssl_certificate_key {folder}/leaf.key;");
        Nginx::start_with(root, true, &more)
    }

    fn start_with(root: &Path, ranges: bool, tls: &str) -> Nginx {
        // Another process may take the port in between: then another one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
            let folder = crate::store::folder();
            std::fs::write(
                folder.path().join("nginx.conf"),
                configuration(folder.path(), root, (port, tls), ranges),
            )
            .expect("written");
            let mut command = tool::tool("nginx", ["-p"]);
            command.arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
            command.arg("-e").arg(folder.path().join("early.log"));
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let child = command
                .spawn()
                .unwrap_or_else(|error| panic!("nginx: {error}; `make test` installs what the tests need"));
            let mut nginx = Nginx { child, folder, port };
            if nginx.is_up() {
                return nginx;
            }
        }
        panic!("nginx does not start");
    }

    fn is_up(&mut self) -> bool {
        for _ in 0..500 {
            // It writes down its id when it has the port: before that, somebody else answers there.
            let has_port = self.folder.path().join("pid").exists();
            if has_port && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            if self.child.try_wait().expect("asked").is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// The lines of the access log: `STATUS BYTES RANGE PATH`.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).expect("a log");
        text.lines().map(str::to_owned).collect()
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(folder: &Path, root: &Path, (port, tls): (u16, &str), ranges: bool) -> String {
    let (folder, root) = (folder.display(), root.display());
    let ssl = if tls.is_empty() { "" } else { " ssl" };
    let max_ranges = if ranges { "" } else { "max_ranges 0;" };
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{}}\n\
         http {{\n\
         log_format short '$status $body_bytes_sent $http_range $uri'; access_log {folder}/access.log short;\n\
         client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;\n\
         uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e; sendfile on; {max_ranges}\n\
         server {{ listen 127.0.0.1:{port}{ssl}; {tls} root {root}; }}\n\
         }}\n"
    )
}

/// A request as far as the tests care.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// First and last byte that are asked for.
    pub range: Option<(u64, u64)>,
}

/// What a server says.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// What `Content-Length` says, if it is not the truth; `None` with `endless` leaves it out.
    pub declared: Option<u64>,
    /// The line is cut after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// The body begins again and again.
    pub endless: bool,
    /// One byte at a time, with such a pause.
    pub drip: Option<Duration>,
}

impl Reply {
    pub fn new(status: u16, body: Vec<u8>) -> Reply {
        let headers = Vec::new();
        Reply { status, headers, body, declared: None, cut_after: None, endless: false, drip: None }
    }
}

/// Answers as an honest server of files would.
pub fn honest(root: &Path, request: &Request) -> Reply {
    let Ok(bytes) = std::fs::read(root.join(request.path.trim_start_matches('/'))) else {
        return Reply::new(404, b"not here".to_vec());
    };
    match request.range {
        None => Reply::new(200, bytes),
        Some((first, _)) if first >= bytes.len() as u64 => Reply::new(416, Vec::new()),
        Some((first, last)) => {
            let last = last.min(bytes.len() as u64 - 1);
            let mut reply = Reply::new(206, bytes[first as usize..=last as usize].to_vec());
            reply.headers.push(("Content-Range", format!("bytes {first}-{last}/{}", bytes.len())));
            reply
        }
    }
}

/// A server in this process.
pub struct Server {
    pub port: u16,
    /// Bytes of bodies that were sent.
    pub sent: Arc<AtomicU64>,
}

impl Server {
    /// Serves what `answer` makes of each request. Its threads end with the process.
    #[allow(clippy::disallowed_methods, reason = "a server of a test needs threads that outlive the call")]
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let sent: Arc<AtomicU64> = Arc::default();
        let answer = Arc::new(answer);
        let counted = sent.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counted) = (answer.clone(), counted.clone());
                std::thread::spawn(move || {
                    let _ = serve(stream, &*answer, &counted);
                });
            }
        });
        Server { port, sent }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&Request) -> Reply, sent: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut range = None;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.trim().strip_prefix("range: bytes=") {
                range = value.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
            }
        }
        let request = Request { path, range };
        let reply = answer(&request);
        if !send(&mut stream, &reply, sent)? {
            return Ok(());
        }
    }
}

/// Sends a reply; returns whether the connection serves again.
fn send(stream: &mut TcpStream, reply: &Reply, sent: &AtomicU64) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.endless {
        head.push_str("Connection: close\r\n");
    } else {
        let declared = reply.declared.unwrap_or(reply.body.len() as u64);
        head.push_str(&format!("Content-Length: {declared}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let body = &reply.body[..reply.cut_after.unwrap_or(usize::MAX).min(reply.body.len())];
    loop {
        match reply.drip {
            Some(pause) => {
                for byte in body {
                    stream.write_all(&[*byte])?;
                    sent.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(pause);
                }
            }
            None => {
                stream.write_all(body)?;
                sent.fetch_add(body.len() as u64, Ordering::SeqCst);
            }
        }
        if !reply.endless {
            break;
        }
    }
    stream.flush()?;
    let is_true = reply.declared.is_none_or(|declared| declared == reply.body.len() as u64);
    let is_whole = reply.cut_after.is_none_or(|cut| cut >= reply.body.len());
    if is_true && is_whole {
        return Ok(true);
    }
    // The reader gets what was sent before it sees the end.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 1024]);
    Ok(false)
}

/// Returns the folder of a farm's site, for servers.
pub fn root(farm: &super::Farm) -> PathBuf {
    farm.path("site")
}
