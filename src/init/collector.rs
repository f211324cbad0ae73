//! The way to the collector: a name, a connection, lines; over again when it breaks. Nothing here waits: a step
//! does what can be done now.
//!
//! Syslog over TCP acknowledges nothing. A connection over which nothing is acknowledged by the peer's kernel for
//! ten seconds is broken; what was sent over a broken one in the last twenty seconds is sent again. HTTP answers:
//! what was not answered with success is sent again.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mkimage::base::{Endpoint, Scheme};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::logic::dns;
use crate::logic::http::{self, Answer};
use crate::logic::ring::Ring;
use crate::logic::syslog::{Head, Identity, frame, json};
use crate::network::{RESOLV_CONF, random};
use crate::report::{now, say};

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const NAME_PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);
/// How long the peer may acknowledge nothing, in milliseconds.
const SILENCE_MAX: u32 = 10_000;
/// What was sent no longer ago than this may be lost when a connection breaks. More than [`SILENCE_MAX`].
const IN_DOUBT: Duration = Duration::from_secs(20);
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A connection that held so long was a good one.
const STEADY_AFTER: Duration = Duration::from_secs(5);
const SYSLOG_PIECE_BYTES: usize = 32 << 10;
const HTTP_PIECE_BYTES: usize = 256 << 10;
const ANSWER_MAX_BYTES: usize = 64 << 10;
const NAME_PORT: u16 = 53;
const WARNING: u8 = 4;

/// Where lines are delivered.
pub struct Collector {
    endpoint: Endpoint,
    identity: Identity,
    state: State,
    delay: Duration,
    /// Names and servers are asked in turn, one an attempt.
    attempts: usize,
    /// The console knows that lines wait.
    told: bool,
}

enum State {
    Waiting { until: Duration },
    Naming { socket: UdpSocket, question: Vec<u8>, until: Duration },
    Connecting { stream: TcpStream, until: Duration },
    Talking(Talk),
}

/// A connection, and the piece that is under way.
struct Talk {
    stream: TcpStream,
    since: Duration,
    out: Vec<u8>,
    written: usize,
    /// Numbers of the lines in the piece.
    from: u64,
    to: u64,
    /// Missing lines that it speaks of.
    missing: u64,
    answer: Vec<u8>,
    until: Duration,
    closing: bool,
}

/// How a step went.
enum Step {
    /// Try again at once.
    Forward,
    /// Nothing to do now.
    Rest,
    Broken(String),
}

impl Collector {
    pub fn new(endpoint: Endpoint, identity: Identity) -> Collector {
        let state = State::Waiting { until: Duration::ZERO };
        Collector { endpoint, identity, state, delay: FIRST_DELAY, attempts: 0, told: false }
    }

    /// Does what can be done now.
    pub fn step(&mut self, ring: &mut Ring) {
        loop {
            match self.advance(ring) {
                Step::Forward => {}
                Step::Rest => return,
                Step::Broken(why) => self.fail(ring, &why),
            }
        }
    }

    /// Says what to wait for: a file, and a time.
    pub fn wants(&self, ring: &Ring) -> (Option<(BorrowedFd<'_>, PollFlags)>, Option<Duration>) {
        match &self.state {
            State::Waiting { until } => (None, (ring.collector.next < ring.end()).then_some(*until)),
            State::Naming { socket, until, .. } => (Some((socket.as_fd(), PollFlags::IN)), Some(*until)),
            State::Connecting { stream, until } => (Some((stream.as_fd(), PollFlags::OUT)), Some(*until)),
            State::Talking(talk) => {
                let writes = talk.written < talk.out.len();
                let flags = if writes { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                (Some((talk.stream.as_fd(), flags)), (self.is_http() || writes).then_some(talk.until))
            }
        }
    }

    /// Ends the connection once everything was handed over; true when the peer has got it, or nothing is there
    /// to wait for.
    pub fn finish(&mut self, ring: &Ring) -> bool {
        let all = ring.collector.next >= ring.end() && ring.collector.dropped == 0;
        match &mut self.state {
            State::Talking(talk) if all && talk.written == talk.out.len() => {
                if !talk.closing {
                    talk.closing = true;
                    let _ = talk.stream.shutdown(Shutdown::Write);
                }
                false
            }
            State::Waiting { .. } => all,
            _ => false,
        }
    }

    fn is_http(&self) -> bool {
        self.endpoint.scheme == Scheme::Http
    }

    fn advance(&mut self, ring: &mut Ring) -> Step {
        let http = self.is_http();
        let next = match &mut self.state {
            State::Waiting { until } if now() < *until || ring.collector.next >= ring.end() => {
                return Step::Rest;
            }
            State::Waiting { .. } => self.begin(),
            State::Naming { socket, question, until } => match hear(socket, question) {
                Some(addresses) => match addresses.first() {
                    Some(&address) => open(address, self.endpoint.port),
                    None => Err("its name is not known".to_owned()),
                },
                None if now() < *until => return Step::Rest,
                None => Err("no name server answers".to_owned()),
            },
            State::Connecting { stream, until } => {
                if !is_ready(stream.as_fd()) {
                    return if now() < *until {
                        Step::Rest
                    } else {
                        Step::Broken("no connection".to_owned())
                    };
                }
                match sockopt::socket_error(&*stream) {
                    Ok(Ok(())) => stream.try_clone().map(talk).map_err(|error| error.to_string()),
                    Ok(Err(error)) | Err(error) => Err(error.to_string()),
                }
            }
            State::Talking(_) if http => return self.post(ring),
            State::Talking(_) => return self.stream(ring),
        };
        match next {
            Ok(state) => {
                self.state = state;
                Step::Forward
            }
            Err(why) => Step::Broken(why),
        }
    }

    /// Begins with the name, or with the connection where there is no name.
    fn begin(&mut self) -> Result<State, String> {
        if let Ok(address) = self.endpoint.host.parse() {
            return open(address, self.endpoint.port);
        }
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let (names, servers) = (dns::names(&self.endpoint.host, &text), dns::servers(&text));
        if servers.is_empty() {
            return Err("no name server is known".to_owned());
        }
        self.attempts += 1;
        let name = &names[self.attempts % names.len()];
        let server = servers[self.attempts / names.len() % servers.len()];
        let question = dns::question(random() as u16, name);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect((server, NAME_PORT))?;
            socket.send(&question)?;
            Ok(socket)
        });
        let socket = socket.map_err(|error| error.to_string())?;
        Ok(State::Naming { socket, question, until: now() + NAME_PATIENCE })
    }

    /// Syslog: piece after piece over one connection.
    fn stream(&mut self, ring: &mut Ring) -> Step {
        let State::Talking(talk) = &mut self.state else { return Step::Rest };
        match talk.stream.read(&mut [0; 512]) {
            Ok(0) if talk.closing => {
                self.state = State::Waiting { until: Duration::MAX };
                return Step::Rest;
            }
            Ok(0) => return Step::Broken("the collector closed the connection".to_owned()),
            Ok(_) => return Step::Forward,
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Step::Broken(error.to_string()),
        }
        if talk.written < talk.out.len() {
            return talk.write();
        }
        if talk.closing || ring.collector.next >= ring.end() {
            return Step::Rest;
        }
        if self.told {
            self.told = false;
            say!("log: {} takes lines again", self.endpoint);
        }
        if now() >= talk.since + STEADY_AFTER {
            self.delay = FIRST_DELAY;
        }
        talk.take(ring, &self.identity, SYSLOG_PIECE_BYTES, frame);
        ring.sent(talk.from, talk.to, now());
        ring.collector.dropped -= talk.missing;
        Step::Forward
    }

    /// HTTP: one piece a connection, delivered when the answer says so.
    fn post(&mut self, ring: &mut Ring) -> Step {
        let State::Talking(talk) = &mut self.state else { return Step::Rest };
        if talk.out.is_empty() {
            talk.take(ring, &self.identity, HTTP_PIECE_BYTES, json);
            let length = talk.out.len().to_string();
            let headers = [("Content-Type", "application/x-ndjson"), ("Content-Length", length.as_str())];
            let host = format!("{}:{}", self.endpoint.host, self.endpoint.port);
            let mut request = http::head("POST", &host, &self.endpoint.path, &headers).into_bytes();
            request.append(&mut talk.out);
            talk.out = request;
        }
        if talk.written < talk.out.len()
            && let step @ (Step::Forward | Step::Broken(_)) = talk.write()
        {
            return step;
        }
        let mut piece = [0; 1024];
        let ended = match talk.stream.read(&mut piece) {
            Ok(length) => {
                talk.answer.extend_from_slice(&piece[..length]);
                length == 0
            }
            Err(error) if is_temporary(&error) && now() < talk.until => return Step::Rest,
            Err(error) if is_temporary(&error) => return Step::Broken("it does not answer".to_owned()),
            Err(error) => return Step::Broken(error.to_string()),
        };
        match http::answer(&talk.answer, ended) {
            Answer::Whole { status: 200..=299, .. } => {
                ring.confirm(talk.from, talk.to);
                ring.collector.dropped = ring.collector.dropped.saturating_sub(talk.missing);
                if std::mem::take(&mut self.told) {
                    say!("log: {} takes lines again", self.endpoint);
                }
                self.delay = FIRST_DELAY;
                self.state = State::Waiting { until: now() };
                Step::Forward
            }
            Answer::Whole { status, .. } => Step::Broken(format!("it answers with status {status}")),
            Answer::Partial if talk.answer.len() <= ANSWER_MAX_BYTES => Step::Forward,
            _ => Step::Broken("its answer is none".to_owned()),
        }
    }

    /// Goes back to what may not have arrived, and waits a while.
    fn fail(&mut self, ring: &mut Ring, why: &str) {
        if let State::Talking(talk) = &self.state
            && !self.is_http()
        {
            let whole = talk.written == talk.out.len();
            ring.rewind(now().saturating_sub(IN_DOUBT), if whole { talk.to } else { talk.from });
            ring.collector.dropped += if whole { 0 } else { talk.missing };
        }
        if !std::mem::replace(&mut self.told, true) {
            say!("log: {}: {why}: lines wait", self.endpoint);
        }
        self.state = State::Waiting { until: now() + self.delay };
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
    }
}

impl Talk {
    fn write(&mut self) -> Step {
        match self.stream.write(&self.out[self.written..]) {
            Ok(length) => {
                self.written += length;
                self.until = now() + ANSWER_PATIENCE;
                Step::Forward
            }
            Err(error) if !is_temporary(&error) => Step::Broken(error.to_string()),
            Err(_) if now() >= self.until => Step::Broken("it takes nothing".to_owned()),
            Err(_) => Step::Rest,
        }
    }

    /// Makes the next piece of lines.
    fn take(
        &mut self,
        ring: &Ring,
        identity: &Identity,
        most_bytes: usize,
        write: fn(&mut Vec<u8>, &Identity, Head, &str),
    ) {
        (self.from, self.to) = (ring.collector.next, ring.collector.next);
        (self.written, self.missing) = (0, ring.collector.dropped);
        self.until = now() + ANSWER_PATIENCE;
        self.out.clear();
        if self.missing > 0 {
            let text = format!("mkimage: {} lines are missing here: the buffer was full", self.missing);
            let time = mkimage::base::clock::unix_nanoseconds();
            write(&mut self.out, identity, Head { time, severity: WARNING, number: None }, &text);
        }
        while let Some(record) = ring.get(self.to).filter(|_| self.out.len() < most_bytes) {
            let head = Head { time: record.time, severity: record.severity, number: Some(self.to) };
            write(&mut self.out, identity, head, &record.text);
            self.to += 1;
        }
    }
}

fn talk(stream: TcpStream) -> State {
    State::Talking(Talk {
        stream,
        since: now(),
        out: Vec::new(),
        written: 0,
        from: 0,
        to: 0,
        missing: 0,
        answer: Vec::new(),
        until: now() + ANSWER_PATIENCE,
        closing: false,
    })
}

/// Begins a connection.
fn open(address: Ipv4Addr, port: u16) -> Result<State, String> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let begun = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).and_then(|socket| {
        sockopt::set_tcp_user_timeout(&socket, SILENCE_MAX)?;
        match connect(&socket, &SocketAddrV4::new(address, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    });
    match begun {
        Ok(socket) => Ok(State::Connecting { stream: socket.into(), until: now() + CONNECT_PATIENCE }),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the addresses that a name server tells; `None`: nothing was heard yet.
fn hear(socket: &UdpSocket, question: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let mut message = [0; 1500];
    loop {
        let length = socket.recv(&mut message).ok()?;
        if let Some(addresses) = dns::answer(&message[..length], question) {
            return Some(addresses);
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

fn is_temporary(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
