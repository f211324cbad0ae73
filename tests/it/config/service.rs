//! A small HTTP service on the loopback address, which the machine sees as 10.0.2.2: it plays a cloud's metadata, or a
//! collector of logs.
#![allow(clippy::disallowed_methods, reason = "the service needs a thread of its own")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request, as far as anybody here looks at it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

pub struct Service {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Service {
    /// Answers each request with a status and a body; status 0 hangs up without a word.
    pub fn start(answer: impl Fn(&Request, usize) -> (u16, Vec<u8>) + Send + 'static) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                let count = seen.lock().expect("the requests").len();
                let (status, body) = answer(&request, count);
                seen.lock().expect("the requests").push(request);
                if status != 0 {
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
                }
            }
        });
        Service { port, requests }
    }

    /// Returns its address as the machine sees it.
    pub fn address(&self) -> String {
        format!("http://10.0.2.2:{}/", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the requests").clone()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

/// Plays the instance metadata service, version 2: nothing without a token.
pub fn metadata_service(user_data: &str) -> Service {
    let user_data = user_data.to_owned();
    Service::start(move |request, _| {
        if (request.method.as_str(), request.path.as_str()) == ("PUT", "/latest/api/token") {
            let wanted = request.header("x-aws-ec2-metadata-token-ttl-seconds").is_some();
            return if wanted { (200, b"AQAEAtoken==".to_vec()) } else { (400, Vec::new()) };
        }
        if request.header("x-aws-ec2-metadata-token") != Some("AQAEAtoken==") {
            return (401, Vec::new());
        }
        match request.path.as_str() {
            "/latest/user-data" => (200, user_data.clone().into_bytes()),
            "/latest/meta-data/instance-id" => (200, b"i-0123456789abcdef0".to_vec()),
            "/latest/meta-data/tags/instance" => {
                (200, b"Name\nmkimage.env.TAGGED\nmkimage.env.GREETING\nmkimage.env.LD_PRELOAD".to_vec())
            }
            "/latest/meta-data/tags/instance/mkimage.env.TAGGED" => (200, b"by a tag".to_vec()),
            "/latest/meta-data/tags/instance/mkimage.env.GREETING" => (200, b"from a tag".to_vec()),
            "/latest/meta-data/tags/instance/mkimage.env.LD_PRELOAD" => (200, b"/tmp/evil.so".to_vec()),
            _ => (404, b"<html>no such page".to_vec()),
        }
    })
}
