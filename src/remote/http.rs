//! A site behind a web server: plain GETs of files, whole or by ranges (RFC 9110 §14), taken up again where a
//! line was cut.
//!
//! What the server says of lengths, ranges and validators is believed only as far as it is needed to place bytes;
//! every frame is held against its digest afterwards. A server that knows no ranges serves as well: then the
//! file is read from its start, once.

use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body, BodyReader};

use super::agent::agent;
use super::error::{RemoteError, Result, TransferProblem};
use super::transport::{Created, Line, Replaced, Sink, SizedRead, Transport, Versioned};
use crate::base::Stopwatch;
use crate::web::{Patience, follow, header};

/// Ranges with no more than this between them are asked for together: a request costs about as much.
const GAP_BYTES: u64 = 48 << 10;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 128 << 10;
/// So many bytes count as getting on: the tries begin anew.
const PROGRESS_BYTES: u64 = 64 << 10;

type Fetched<T> = std::result::Result<T, Stop>;

/// Why an answer ended early: because of the line, or because whoever takes the bytes said so.
enum Stop {
    Problem(TransferProblem),
    Caller(RemoteError),
}

/// Reads a site over HTTP. Shared among threads.
pub struct HttpSite {
    base: String,
    agent: Agent,
    patience: Patience,
    line: Line,
    /// An answer to a range was the whole file.
    knows_no_ranges: AtomicBool,
}

/// Neighbouring ranges that one request asks for.
struct Run {
    start: u64,
    end: u64,
    /// Numbers of the ranges in it.
    ranges: Range<usize>,
}

/// How far a run came.
struct Progress {
    position: u64,
    validator: Option<String>,
    failures: u32,
    counted_at: u64,
    pause: Duration,
}

impl HttpSite {
    /// Takes the address of a site, without a slash at its end. Nothing is asked yet.
    pub fn new(base: &str, line: Line, patience: Patience) -> Result<Self> {
        let agent = agent(base, &patience, line.certificates()).map_err(|source| {
            let (remote, path) = (base.to_owned(), "settings".to_owned());
            RemoteError::Transfer { remote, path, source }
        })?;
        let base = base.to_owned();
        Ok(HttpSite { base, agent, patience, line, knows_no_ranges: AtomicBool::new(false) })
    }

    fn problem(&self, path: &str, source: TransferProblem) -> RemoteError {
        RemoteError::Transfer { remote: self.base.clone(), path: path.to_owned(), source }
    }

    fn outcome<T>(&self, path: &str, fetched: Fetched<T>) -> Result<T> {
        fetched.map_err(|stop| match stop {
            Stop::Problem(problem) => self.problem(path, problem),
            Stop::Caller(error) => error,
        })
    }

    /// Asks, and follows redirects within the same scheme.
    fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Fetched<Response<Body>> {
        let ask = |at: &str| {
            self.line.request().map_err(Stop::Caller)?;
            let mut request = self.agent.get(at);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.call().map_err(connection)
        };
        let refuse = |to, problem| Stop::Problem(TransferProblem::Redirect { to, problem });
        follow(&format!("{}/{path}", self.base), ask, refuse)
    }

    fn read_once(&self, path: &str, limit: u64) -> Fetched<Option<Vec<u8>>> {
        let answer = self.ask(path, &[("cache-control", "no-cache"), ("pragma", "no-cache")])?;
        match answer.status().as_u16() {
            200 => {}
            404 | 410 => return Ok(None),
            status => return Err(refusal(status).into()),
        }
        plain(&answer)?;
        let declared = answer.body().content_length();
        if declared.is_some_and(|declared| declared > limit) {
            return Err(TransferProblem::Long { limit }.into());
        }
        let mut bytes = Vec::new();
        let mut stream = Stream::new(answer, &self.patience, &self.line);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = stream.read(&mut piece)?;
            if length == 0 {
                break;
            }
            if bytes.len() as u64 + length as u64 > limit {
                return Err(TransferProblem::Long { limit }.into());
            }
            bytes.extend_from_slice(&piece[..length]);
        }
        match declared {
            Some(expected) if expected != bytes.len() as u64 => {
                Err(TransferProblem::Short { found: bytes.len() as u64, expected }.into())
            }
            _ => Ok(Some(bytes)),
        }
    }

    /// Returns the ranges from `first` on that the next request is for.
    fn run(&self, ranges: &[Range<u64>], first: usize) -> Run {
        let mut run = Run { start: ranges[first].start, end: ranges[first].end, ranges: first..first + 1 };
        let all = self.knows_no_ranges.load(Ordering::Relaxed);
        for range in &ranges[first + 1..] {
            if !all && range.start.saturating_sub(run.end) > GAP_BYTES {
                break;
            }
            run.end = run.end.max(range.end);
            run.ranges.end += 1;
        }
        run
    }

    fn fetch_run(&self, path: &str, run: &Run, ranges: &[Range<u64>], sink: &mut Sink<'_>) -> Fetched<()> {
        let pause = self.patience.pause;
        let mut progress =
            Progress { position: run.start, validator: None, failures: 0, counted_at: run.start, pause };
        let mut feed = Feed { ranges, current: run.ranges.start, sink };
        while progress.position < run.end {
            match self.fetch_on(path, run, &mut progress, &mut feed) {
                Err(Stop::Problem(problem)) => self.recover(problem, &mut progress)?,
                done => return done,
            }
        }
        Ok(())
    }

    /// Fetches on from where a run stands.
    fn fetch_on(
        &self,
        path: &str,
        run: &Run,
        progress: &mut Progress,
        feed: &mut Feed<'_, '_>,
    ) -> Fetched<()> {
        let range = format!("bytes={}-{}", progress.position, run.end - 1);
        let mut headers = vec![("range", range.as_str())];
        let validator = progress.validator.clone();
        headers.extend(validator.as_deref().map(|validator| ("if-range", validator)));
        let answer = self.ask(path, &headers)?;
        plain(&answer)?;
        let tag = header(&answer, "etag").filter(|tag| !tag.starts_with("W/")).map(str::to_owned);
        let mut at = match answer.status().as_u16() {
            206 => {
                part_of(&answer, progress.position, run.end)?;
                progress.position
            }
            200 if validator.is_some() && tag != validator => return Err(TransferProblem::Changed.into()),
            200 => {
                self.knows_no_ranges.store(true, Ordering::Relaxed);
                0
            }
            404 | 410 => return Err(TransferProblem::Gone.into()),
            416 => {
                let (found, expected) = (progress.position, run.end);
                return Err(TransferProblem::Short { found, expected }.into());
            }
            status => return Err(refusal(status).into()),
        };
        progress.validator = tag;
        let mut stream = Stream::new(answer, &self.patience, &self.line);
        let mut piece = vec![0; PIECE_BYTES];
        while at < run.end {
            let most = (run.end - at).min(PIECE_BYTES as u64) as usize;
            let length = stream.read(&mut piece[..most])?;
            if length == 0 {
                return Err(TransferProblem::Short { found: at, expected: run.end }.into());
            }
            // What lies before the position was taken already, or nobody asked for it.
            let skip = progress.position.saturating_sub(at).min(length as u64) as usize;
            feed.take(at + skip as u64, &piece[skip..length])?;
            at += length as u64;
            progress.position = progress.position.max(at);
        }
        stream.finish();
        Ok(())
    }

    /// Waits before another try, or gives up.
    fn recover(&self, problem: TransferProblem, progress: &mut Progress) -> Fetched<()> {
        if progress.position >= progress.counted_at + PROGRESS_BYTES {
            (progress.failures, progress.counted_at) = (0, progress.position);
            progress.pause = self.patience.pause;
        }
        progress.failures += 1;
        if !problem.may_pass() || progress.failures >= self.patience.tries {
            return Err(problem.into());
        }
        self.line.rest(progress.pause).map_err(Stop::Caller)?;
        progress.pause *= 2;
        Ok(())
    }
}

impl Transport for HttpSite {
    fn name(&self) -> String {
        self.base.clone()
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Versioned>> {
        let mut pause = self.patience.pause;
        for attempt in 1.. {
            match self.read_once(path, limit_bytes) {
                Err(Stop::Problem(problem)) if problem.may_pass() && attempt < self.patience.tries => {
                    self.line.rest(pause)?;
                    pause *= 2;
                }
                read => {
                    let bytes = self.outcome(path, read)?;
                    return Ok(bytes.map(|bytes| Versioned { bytes, version: None }));
                }
            }
        }
        unreachable!("because the last try returns")
    }

    fn read_ranges(&self, path: &str, ranges: &[Range<u64>], sink: &mut Sink<'_>) -> Result<()> {
        let mut next = 0;
        while next < ranges.len() {
            let run = self.run(ranges, next);
            let fetched = self.fetch_run(path, &run, ranges, sink);
            self.outcome(path, fetched)?;
            next = run.ranges.end;
        }
        Ok(())
    }

    fn connections(&self) -> usize {
        if self.knows_no_ranges.load(Ordering::Relaxed) { 1 } else { super::transport::CONNECTIONS }
    }

    fn create(&self, _: &str, _: &mut dyn SizedRead) -> Result<Created> {
        Err(RemoteError::ReadOnly { remote: self.name() })
    }

    fn replace(&self, _: &str, _: Option<&str>, _: &[u8]) -> Result<Replaced> {
        Err(RemoteError::ReadOnly { remote: self.name() })
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        Err(RemoteError::ReadOnly { remote: self.name() })
    }

    fn remove(&self, _: &str) -> Result<()> {
        Err(RemoteError::ReadOnly { remote: self.name() })
    }

    fn prove_conditional_writes(&self) -> Result<()> {
        Err(RemoteError::ReadOnly { remote: self.name() })
    }
}

/// Hands bytes of a file to whoever asked for parts of it.
struct Feed<'a, 'b> {
    ranges: &'a [Range<u64>],
    current: usize,
    sink: &'a mut Sink<'b>,
}

impl Feed<'_, '_> {
    /// Takes bytes that lie at `at`, behind all that were taken before.
    fn take(&mut self, at: u64, bytes: &[u8]) -> Fetched<()> {
        let end = at + bytes.len() as u64;
        while let Some(range) = self.ranges.get(self.current) {
            let (from, to) = (range.start.max(at), range.end.min(end));
            if from < to {
                let part = &bytes[(from - at) as usize..(to - at) as usize];
                (self.sink)(self.current, part).map_err(Stop::Caller)?;
            }
            if range.end > end {
                break;
            }
            self.current += 1;
        }
        Ok(())
    }
}

/// The body of an answer, which must not come too slowly.
struct Stream<'a> {
    reader: BodyReader<'static>,
    patience: &'a Patience,
    line: &'a Line,
    window: Stopwatch,
    window_bytes: u64,
}

impl<'a> Stream<'a> {
    fn new(answer: Response<Body>, patience: &'a Patience, line: &'a Line) -> Self {
        let reader = answer.into_body().into_reader();
        Stream { reader, patience, line, window: Stopwatch::start(), window_bytes: 0 }
    }

    fn read(&mut self, out: &mut [u8]) -> Fetched<usize> {
        let read = loop {
            match self.reader.read(out) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read.map_err(|error| TransferProblem::Connection(Box::new(error)))?,
            }
        };
        self.window_bytes += read as u64;
        if self.window.elapsed() >= self.patience.window {
            if self.window_bytes < self.least() && read > 0 {
                let (bytes, seconds) = (self.window_bytes, self.patience.window.as_secs());
                return Err(TransferProblem::Slow { bytes, seconds }.into());
            }
            (self.window, self.window_bytes) = (Stopwatch::start(), 0);
        }
        self.line.received(read as u64).map_err(Stop::Caller)?;
        Ok(read)
    }

    /// Returns the bytes that a window must bring: who is slowed down by us is not too slow.
    fn least(&self) -> u64 {
        let share = |rate: u64| rate / 16 * self.patience.window.as_secs();
        self.patience.window_bytes.min(self.line.rate().map_or(u64::MAX, share))
    }

    /// Reads the end of the body, so that the connection can serve again. An answer that goes on is dropped.
    fn finish(mut self) {
        let _ = self.reader.read(&mut [0; 1]);
    }
}

impl From<TransferProblem> for Stop {
    fn from(problem: TransferProblem) -> Self {
        Stop::Problem(problem)
    }
}

fn connection(error: ureq::Error) -> Stop {
    Stop::Problem(TransferProblem::Connection(Box::new(error)))
}

fn refusal(status: u16) -> TransferProblem {
    match status {
        401 | 403 | 407 => TransferProblem::Denied { status },
        status => TransferProblem::Status { status },
    }
}

/// Refuses a body that was packed on the way: bytes are asked for as they lie there.
fn plain(answer: &Response<Body>) -> Fetched<()> {
    match header(answer, "content-encoding") {
        None | Some("identity" | "") => Ok(()),
        Some(found) => {
            let (found, expected) = (found.chars().take(100).collect(), "identity".to_owned());
            Err(TransferProblem::Header { header: "Content-Encoding", found, expected }.into())
        }
    }
}

/// Refuses an answer that is not exactly the part that was asked for.
fn part_of(answer: &Response<Body>, start: u64, end: u64) -> Fetched<()> {
    let found = header(answer, "content-range").unwrap_or_default();
    let expected = format!("bytes {start}-{}/", end - 1);
    let total = found.strip_prefix(&*expected);
    if total.is_some_and(|total| total == "*" || total.parse::<u64>().is_ok_and(|total| total >= end)) {
        return Ok(());
    }
    // A file that is shorter is answered with what there is of it.
    let is_short = found.rsplit_once('/').and_then(|split| split.1.parse::<u64>().ok());
    if let Some(found) = is_short.filter(|total| *total < end) {
        return Err(TransferProblem::Short { found, expected: end }.into());
    }
    let found = found.chars().take(100).collect();
    Err(TransferProblem::Header { header: "Content-Range", found, expected }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_reach_the_ranges_that_they_lie_in() {
        let ranges = [2..4, 4..4, 6..9, 20..22];
        let mut got: Vec<Vec<u8>> = vec![Vec::new(); ranges.len()];
        let mut sink = |number: usize, bytes: &[u8]| {
            got[number].extend_from_slice(bytes);
            Ok(())
        };
        let mut feed = Feed { ranges: &ranges, current: 0, sink: &mut sink };
        let all: Vec<u8> = (0..30).collect();
        for (at, end) in [(0, 3), (3, 7), (7, 8), (8, 21), (21, 30)] {
            assert!(feed.take(at, &all[at as usize..end]).is_ok());
        }
        assert_eq!(got, [&[2, 3][..], &[], &[6, 7, 8], &[20, 21]]);
    }
}
