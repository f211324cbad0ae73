//! Servers that speak S3 and don't keep its promises.
#![allow(clippy::disallowed_methods, reason = "a server needs threads of its own")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Nothing: each condition is looked at and acted on in one step.
    Sound,
    IgnoresConditions,
    IgnoresIfMatch,
    /// Looks at the condition first and writes later, as file servers do.
    LooksFirst,
    /// Looks first, for replacements only.
    LooksFirstAtMatches,
    NamesNoVersions,
    /// Takes the first so many writes of `index`, and cuts the line instead of an answer.
    LosesAnswers(u32),
    /// Answers the first so many writes with a conflict, without looking.
    Busy(u32),
    /// Cuts the first so many answers to GET in the middle.
    CutsBodies(u32),
    /// Denies everything.
    Denies,
    /// Answers everything with a status.
    Says(u16),
}

/// A server on a port of this machine. It stays until the test process ends.
pub struct Hostile {
    pub address: String,
    files: Arc<Mutex<BTreeMap<String, (Vec<u8>, u64)>>>,
}

#[derive(Clone)]
struct Shared {
    manners: Manners,
    files: Arc<Mutex<BTreeMap<String, (Vec<u8>, u64)>>>,
    odd: Arc<AtomicU32>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Hostile {
    pub fn start(manners: Manners) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let files = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let shared = Shared { manners, files: files.clone(), odd: Arc::default() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(&stream));
            }
        });
        Hostile { address, files }
    }

    /// Returns the files that are there.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.lock().expect("unbroken");
        files.iter().map(|(path, (bytes, _))| (path.clone(), bytes.clone())).collect()
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader) {
            let Some(answer) = self.answer(&request) else { return };
            let mut stream = stream;
            if stream.write_all(&answer).is_err() {
                return;
            }
            if self.manners == Manners::Denies || answer.len() < declared(&answer) {
                return;
            }
        }
    }

    /// Counts down what is to go wrong.
    fn goes_wrong(&self, times: u32) -> bool {
        self.odd.fetch_add(1, Ordering::SeqCst) < times
    }

    fn answer(&self, request: &Request) -> Option<Vec<u8>> {
        match request.method.as_str() {
            _ if self.manners == Manners::Denies => {
                Some(status(403, "<Error><Code>AccessDenied</Code></Error>"))
            }
            _ if matches!(self.manners, Manners::Says(_)) => {
                let Manners::Says(code) = self.manners else { return None };
                Some(status(code, "<Error><Code>Odd</Code></Error>"))
            }
            "PUT" => match self.manners {
                Manners::Busy(times) if self.goes_wrong(times) => {
                    Some(status(409, "<Error><Code>ConditionalRequestConflict</Code></Error>"))
                }
                Manners::LosesAnswers(times) => {
                    let answer = self.put(request);
                    (!request.path.ends_with("/index") || !self.goes_wrong(times)).then_some(answer)
                }
                _ => Some(self.put(request)),
            },
            "GET" | "HEAD" => Some(self.get(request)),
            "DELETE" => {
                self.files.lock().expect("unbroken").remove(&request.path);
                Some(status(204, ""))
            }
            _ => Some(status(501, "")),
        }
    }

    fn put(&self, request: &Request) -> Vec<u8> {
        let looks_first = match self.manners {
            Manners::LooksFirst => true,
            Manners::LooksFirstAtMatches => request.headers.contains_key("if-match"),
            _ => false,
        };
        if looks_first {
            if !self.holds(request, &self.files.lock().expect("unbroken")) {
                return status(412, "<Error><Code>PreconditionFailed</Code></Error>");
            }
            // Long enough for two requests to meet on a machine with much to do.
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut files = self.files.lock().expect("unbroken");
        if !looks_first && !self.holds(request, &files) {
            return status(412, "<Error><Code>PreconditionFailed</Code></Error>");
        }
        let version = files.values().map(|(_, version)| *version).max().unwrap_or(0) + 1;
        files.insert(request.path.clone(), (request.body.clone(), version));
        head(200, &self.name(version), 0)
    }

    fn holds(&self, request: &Request, files: &BTreeMap<String, (Vec<u8>, u64)>) -> bool {
        let there = files.get(&request.path);
        let matches = request.headers.get("if-match").is_none_or(|expected| {
            self.manners == Manners::IgnoresIfMatch
                || there.is_some_and(|(_, version)| *expected == format!("\"{version}\""))
        });
        let missing = !request.headers.contains_key("if-none-match") || there.is_none();
        self.manners == Manners::IgnoresConditions || (matches && missing)
    }

    fn name(&self, version: u64) -> String {
        match self.manners {
            Manners::NamesNoVersions => String::new(),
            _ => format!("ETag: \"{version}\"\r\n"),
        }
    }

    fn get(&self, request: &Request) -> Vec<u8> {
        let files = self.files.lock().expect("unbroken");
        let Some((bytes, version)) = files.get(&request.path) else {
            return status(404, "<Error><Code>NoSuchKey</Code></Error>");
        };
        let range = request.headers.get("range").and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()? + 1))
        });
        let (start, end) = range.map_or((0, bytes.len()), |(start, end)| (start, end.min(bytes.len())));
        let more = match range {
            Some(_) => format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, bytes.len()),
            None => String::new(),
        };
        let code = if range.is_some() { 206 } else { 200 };
        let mut answer = head(code, &format!("{}{more}", self.name(*version)), end - start);
        if request.method == "GET" {
            let cut = match self.manners {
                Manners::CutsBodies(times) if self.goes_wrong(times) => (end - start) / 2,
                _ => end - start,
            };
            answer.extend_from_slice(&bytes[start..start + cut]);
        }
        answer
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body })
}

fn head(code: u16, more: &str, length: usize) -> Vec<u8> {
    let date = "Last-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n";
    format!("HTTP/1.1 {code} X\r\n{date}{more}Content-Length: {length}\r\n\r\n").into_bytes()
}

fn status(code: u16, body: &str) -> Vec<u8> {
    let mut answer = head(code, "", body.len());
    answer.extend_from_slice(body.as_bytes());
    answer
}

/// Returns how long an answer says that it is.
fn declared(answer: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n").expect("a head");
    let length = head.rsplit("Content-Length: ").next().and_then(|length| length.parse().ok()).unwrap_or(0);
    let is_head_only = head.len() + 4 == answer.len();
    head.len() + 4 + if is_head_only { 0 } else { length }
}
