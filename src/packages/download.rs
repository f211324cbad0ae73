//! A file that comes over HTTP as a stream, in bounded memory, taken up again where a connection broke.
//!
//! A part is asked for only where the server gave the file a validator (a strong `ETag`, or `Last-Modified`),
//! with `If-Range` (RFC 9110 §13.1.5, §14). An answer of 206 must be exactly the rest of the same file; one of
//! 200 starts at 0, and what was read already is passed over. Either way the reader's caller checks the digest
//! of all that it got: what the server says of ranges and validators is only believed as far as that.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::Response;
use ureq::{Body, BodyReader};

use super::error::{Ending, FetchProblem};
use super::http::{Http, Range, rest};
use crate::base::{Job, Stopwatch};
use crate::web::header;

/// So many bytes count as getting on: the tries begin anew.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Most bytes that are passed over at once.
const PIECE_BYTES: usize = 64 << 10;

/// Reads a file of a server. Errors of reading carry a [`FetchProblem`].
pub(super) struct Download<'a> {
    http: &'a Http,
    job: &'a Job,
    address: String,
    /// Exact size, where it is known.
    expected: Option<u64>,
    limit: u64,
    /// How often a broken connection is made again.
    tries: u32,
    may_resume: bool,
    position: u64,
    validator: Option<String>,
    connection: Option<Connection>,
    /// Tries since the last progress, and where that was.
    failures: u32,
    progress: u64,
    pause: Duration,
    is_done: bool,
    is_resumed: bool,
}

/// One answer that is being read.
struct Connection {
    reader: BodyReader<'static>,
    /// Bytes that were read from an earlier answer.
    skip: u64,
    window: Stopwatch,
    window_bytes: u64,
}

impl<'a> Download<'a> {
    /// Reads a file of a known size; `may_resume` permits to take up where a connection broke.
    pub(super) fn new(
        http: &'a Http,
        address: &str,
        expected: u64,
        may_resume: bool,
        job: &'a Job,
    ) -> Download<'a> {
        let tries = http.patience.tries;
        Download {
            expected: Some(expected),
            tries,
            may_resume,
            ..Download::once(http, address, expected, job)
        }
    }

    /// Reads a file of at most `limit` bytes, in one try.
    pub(super) fn once(http: &'a Http, address: &str, limit: u64, job: &'a Job) -> Download<'a> {
        Download {
            http,
            job,
            address: address.to_owned(),
            expected: None,
            limit,
            tries: 1,
            may_resume: false,
            position: 0,
            validator: None,
            connection: None,
            failures: 0,
            progress: 0,
            pause: http.patience.pause,
            is_done: false,
            is_resumed: false,
        }
    }

    /// Tells whether the bytes come from more than one answer.
    pub(super) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    fn connect(&mut self) -> Result<Connection, FetchProblem> {
        let validator = self.validator.clone().filter(|_| self.may_resume && self.position > 0);
        let range = validator.as_deref().map(|validator| Range { from: self.position, validator });
        let answer = self.http.follow(&self.address, range.as_ref())?;
        let skip = match (answer.status().as_u16(), &range) {
            (200, _) => self.position,
            (206, Some(range)) if is_rest(&answer, range, self.expected) => 0,
            (206 | 416, _) => {
                self.validator = None;
                return Err(FetchProblem::Connection(
                    "the server sent another range than it was asked for".into(),
                ));
            }
            (404 | 410, _) => return Err(FetchProblem::Missing),
            (status, _) => return Err(FetchProblem::Status(status)),
        };
        let start = self.position - skip;
        if let (Some(length), Some(expected)) = (answer.body().content_length(), self.expected)
            && length.saturating_add(start) != expected
        {
            return Err(FetchProblem::Length { declared: length.saturating_add(start), expected });
        }
        self.is_resumed |= self.position > 0;
        if skip == self.position {
            self.validator = validator_of(&answer);
        }
        let reader = answer.into_body().into_reader();
        Ok(Connection { reader, skip, window: Stopwatch::start(), window_bytes: 0 })
    }

    /// Reads a piece from the connection at hand; `None` where another one is needed.
    fn piece(&mut self, out: &mut [u8]) -> Result<Option<usize>, FetchProblem> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let read = connection.read(out, self.http.patience.window, self.http.patience.window_bytes)?;
        let Some(read) = read else {
            self.connection = Some(connection);
            return Ok(None);
        };
        if read == 0 {
            return match self.expected {
                Some(expected) if self.position < expected => {
                    Err(FetchProblem::Size { found: self.position, expected })
                }
                _ => Ok(Some(0)),
            };
        }
        if self.position + read as u64 > self.limit {
            return Err(FetchProblem::TooLarge { limit: self.limit });
        }
        self.position += read as u64;
        self.connection = Some(connection);
        Ok(Some(read))
    }

    /// Waits before another try, or gives up.
    fn recover(&mut self, problem: FetchProblem) -> Result<(), FetchProblem> {
        if self.position >= self.progress + PROGRESS_BYTES {
            self.progress = self.position;
            (self.failures, self.pause) = (0, self.http.patience.pause);
        }
        self.failures += 1;
        if problem.ending() == Ending::Final || self.failures >= self.tries {
            return Err(problem);
        }
        rest(self.pause, self.job)?;
        self.pause *= 2;
        Ok(())
    }
}

impl Read for Download<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.is_done && !out.is_empty() {
            self.job.check().map_err(|cancelled| io::Error::other(FetchProblem::Cancelled(cancelled)))?;
            match self.piece(out) {
                Ok(Some(read)) => {
                    self.is_done = read == 0;
                    return Ok(read);
                }
                Ok(None) => {}
                Err(problem) => self.recover(problem).map_err(io::Error::other)?,
            }
        }
        Ok(0)
    }
}

impl Connection {
    /// Reads new bytes; `None` where all that came was read from an earlier answer already.
    fn read(
        &mut self,
        out: &mut [u8],
        window: Duration,
        window_bytes: u64,
    ) -> Result<Option<usize>, FetchProblem> {
        let most = match self.skip {
            0 => out.len(),
            skip => out.len().min(PIECE_BYTES).min(usize::try_from(skip).unwrap_or(PIECE_BYTES)),
        };
        let read = match self.reader.read(&mut out[..most]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(FetchProblem::Connection(Box::new(error))),
        };
        self.window_bytes += read as u64;
        if self.window.elapsed() >= window {
            if self.window_bytes < window_bytes && read > 0 {
                return Err(FetchProblem::Slow { bytes: self.window_bytes, seconds: window.as_secs() });
            }
            (self.window, self.window_bytes) = (Stopwatch::start(), 0);
        }
        if self.skip > 0 && read > 0 {
            self.skip -= read as u64;
            return Ok(None);
        }
        Ok(Some(read))
    }
}

/// Returns what names this state of a file: a strong `ETag`, else the time of its last change.
fn validator_of(answer: &Response<Body>) -> Option<String> {
    let tag = header(answer, "etag").filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| header(answer, "last-modified")).map(str::to_owned)
}

/// Tells whether an answer says that it is all that lies behind `from`, of the same state of the file.
fn is_rest(answer: &Response<Body>, range: &Range<'_>, expected: Option<u64>) -> bool {
    let Some(expected) = expected else { return false };
    let whole = format!("bytes {}-{}/{expected}", range.from, expected.saturating_sub(1));
    let is_same = validator_of(answer).is_none_or(|validator| {
        validator == range.validator || validator.starts_with('"') != range.validator.starts_with('"')
    });
    header(answer, "content-range") == Some(&*whole) && is_same
}
