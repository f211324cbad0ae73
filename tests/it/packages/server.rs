//! A small HTTP server on the loopback address that does as it is told, lies included.
#![allow(clippy::disallowed_methods, reason = "the server needs a thread of its own")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What the server does with a request.
#[derive(Clone)]
pub enum Answer {
    /// Sends the bytes with a validator, and honours ranges of what has it.
    Whole(Vec<u8>),
    /// As the first, without a validator.
    Untagged(Vec<u8>),
    /// Sends so many bytes from where it is asked, then closes.
    Pieces(usize, Vec<u8>),
    /// Honours ranges whatever the validator says.
    AnyRange(Vec<u8>),
    /// Sends the bytes, and answers 200 and all of them to a range.
    NoRanges(Vec<u8>),
    /// Announces all the bytes, sends so many, and closes; from the second request on, as the other says.
    CutThen(usize, Vec<u8>, Box<Answer>),
    /// Sends a byte now and then.
    Slow(Vec<u8>),
    /// Sends nothing.
    Silent,
    /// Sends bytes without end, without announcing how many.
    Endless,
    Status(u16),
    Redirect(String),
    /// Answers a range with another one.
    WrongRange(usize, Vec<u8>),
}

pub struct Server {
    pub address: String,
    /// First line and range of every request.
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves paths; everything else is 404.
    pub fn start(answers: impl IntoIterator<Item = (String, Answer)>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let answers: Arc<HashMap<String, Answer>> = Arc::new(answers.into_iter().collect());
        let log = Arc::new(Mutex::new(Vec::new()));
        let server_log = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answers, log) = (answers.clone(), server_log.clone());
                std::thread::spawn(move || serve(stream, &answers, &log));
            }
        });
        Server { address, log }
    }

    pub fn requests(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }
}

fn serve(stream: TcpStream, answers: &HashMap<String, Answer>, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let (mut from, mut wanted) = (None, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                break;
            }
            if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse::<usize>().ok();
            }
            if line.to_ascii_lowercase().starts_with("if-range: ") {
                wanted = line["if-range: ".len()..].trim().to_owned();
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let earlier = {
            let mut log = log.lock().expect("the log");
            let range = from.map(|from| format!(" from {from}")).unwrap_or_default();
            log.push(format!("{path}{range}"));
            log.iter().filter(|line| line.split(' ').next() == Some(&path)).count() - 1
        };
        let answer = answers.get(&path).cloned().unwrap_or(Answer::Status(404));
        if answer_one(&mut stream, answer, (from, &wanted), earlier).is_none() {
            return;
        }
    }
}

/// Names the state of a file.
fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", &mkimage::packages::Sha256::of(bytes).to_string()[..16])
}

/// A range that is asked for, and the state that the file must have.
type Asked<'a> = (Option<usize>, &'a str);

/// Sends what lies behind `from`, or all.
fn send_from(stream: &mut TcpStream, from: Option<usize>, bytes: &[u8], headers: &str) -> Option<()> {
    match from.filter(|from| *from < bytes.len()) {
        Some(from) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            let range = format!("{headers}content-range: bytes {from}-{last}/{all}\r\n");
            send(stream, "206 Partial Content", &range, &bytes[from..], all - from)
        }
        None => send(stream, "200 OK", headers, bytes, bytes.len()),
    }
}

/// Answers; `None` closes the connection.
fn answer_one(
    stream: &mut TcpStream,
    answer: Answer,
    (from, wanted): Asked<'_>,
    earlier: usize,
) -> Option<()> {
    match answer {
        Answer::Whole(bytes) => {
            let from = from.filter(|_| wanted.is_empty() || wanted == tag(&bytes));
            send_from(stream, from, &bytes, &format!("etag: {}\r\n", tag(&bytes)))
        }
        Answer::Pieces(most, bytes) => {
            let (start, all) = (from.unwrap_or_default(), bytes.len());
            let head = match from {
                Some(from) => {
                    format!("HTTP/1.1 206 Part\r\ncontent-range: bytes {from}-{}/{all}\r\n", all - 1)
                }
                None => "HTTP/1.1 200 OK\r\n".to_owned(),
            };
            let length = format!("content-length: {}\r\netag: {}\r\n\r\n", all - start, tag(&bytes));
            stream.write_all((head + &length).as_bytes()).ok()?;
            stream.write_all(&bytes[start..all.min(start + most)]).ok()?;
            (start + most >= all).then_some(())
        }
        Answer::Untagged(bytes) => send_from(stream, from, &bytes, ""),
        Answer::AnyRange(bytes) => send_from(stream, from, &bytes, ""),
        Answer::NoRanges(bytes) => send(stream, "200 OK", "", &bytes, bytes.len()),
        Answer::CutThen(at, bytes, then) if earlier == 0 => {
            let tag = match *then {
                Answer::Untagged(_) => String::new(),
                _ => format!("etag: {}\r\n", tag(&bytes)),
            };
            send(stream, "200 OK", &tag, &bytes[..at], bytes.len());
            None
        }
        Answer::CutThen(_, _, then) => answer_one(stream, *then, (from, wanted), earlier),
        Answer::Slow(bytes) => {
            send(stream, "200 OK", "", &[], bytes.len())?;
            for byte in bytes {
                std::thread::sleep(std::time::Duration::from_millis(50));
                stream.write_all(&[byte]).ok()?;
            }
            Some(())
        }
        Answer::Silent => {
            std::thread::sleep(std::time::Duration::from_secs(600));
            None
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
            while stream.write_all(&[0; 4096]).is_ok() {}
            None
        }
        Answer::Status(status) => send(stream, &format!("{status} So"), "", b"sorry", 5),
        Answer::Redirect(to) => send(stream, "302 Found", &format!("location: {to}\r\n"), b"", 0),
        Answer::WrongRange(shift, bytes) => match from {
            Some(from) => {
                let range =
                    format!("content-range: bytes {}-{}/{}\r\n", from + shift, bytes.len() - 1, bytes.len());
                send(
                    stream,
                    "206 Partial Content",
                    &range,
                    &bytes[from + shift..],
                    bytes.len() - from - shift,
                )
            }
            None => send(stream, "200 OK", "", &bytes, bytes.len()),
        },
    }
}

fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8], announced: usize) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {announced}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}
