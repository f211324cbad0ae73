//! Carries `object_store`'s requests over our own HTTP library. A request blocks its thread: whoever wants several
//! at once asks from several threads.

use std::fmt;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use ureq::http::Request;
use ureq::http::header::CONTENT_LENGTH;
use ureq::{Agent, SendBody};

use super::super::agent::agent;
use super::super::error::{RemoteError, TransferProblem};
use super::super::transport::Line;
use crate::base::Stopwatch;
use crate::web::Patience;

/// For the head of an answer, and between two pieces of its body: S3 may take a while to put the parts of a file
/// together.
const ANSWER_TIME: Duration = Duration::from_secs(60);
const PIECE_BYTES: usize = 64 << 10;

/// Makes clients that share their connections.
pub(super) struct Connector {
    service: Service,
}

#[derive(Clone)]
struct Service {
    agent: Agent,
    line: Line,
}

impl Connector {
    /// Makes a connector for addresses of the endpoint's scheme.
    pub fn new(endpoint: &str, line: &Line) -> Result<Self, TransferProblem> {
        let patience = Patience { read: ANSWER_TIME, ..Patience::default() };
        let agent = agent(endpoint, &patience, None)?;
        Ok(Connector { service: Service { agent, line: line.clone() } })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.service.clone()))
    }
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.line.request().map_err(stopped)?;
        let (mut head, body) = request.into_parts();
        let sends = matches!(head.method.as_str(), "PUT" | "POST");
        let answer = if sends {
            // Stated, so that the body is not sent in chunks, which S3 does not take.
            head.headers.insert(CONTENT_LENGTH, body.content_length().into());
            let mut body = Sent { body, piece: Bytes::new(), line: self.line.clone() };
            self.agent.run(Request::from_parts(head, SendBody::from_reader(&mut body)))
        } else {
            self.agent.run(Request::from_parts(head, ()))
        };
        let (head, body) = answer.map_err(failed)?.into_parts();
        let reader: Box<dyn Read + Send> = Box::new(body.into_reader());
        let received =
            Received { reader: Mutex::new(reader), line: self.line.clone(), window: Window::default() };
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(received)))
    }
}

/// The body of a request, counted as it goes.
struct Sent {
    body: HttpRequestBody,
    piece: Bytes,
    line: Line,
}

impl Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let mut context = Context::from_waker(Waker::noop());
            match Pin::new(&mut self.body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => self.piece = frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(error))) => return Err(io::Error::other(error)),
                // All of it is in memory: it never pends.
                Poll::Ready(None) | Poll::Pending => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len()).min(PIECE_BYTES);
        self.line.sent(length as u64).map_err(io::Error::other)?;
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// The body of an answer, counted as it comes.
struct Received {
    /// Nobody waits for the lock: it is there because bodies must be shareable between threads.
    reader: Mutex<Box<dyn Read + Send>>,
    line: Line,
    window: Window,
}

/// What came while the server was waited for: one that sends a byte now and then is left. Time that our own rate
/// takes does not count.
#[derive(Default)]
struct Window {
    waited: Duration,
    bytes: u64,
}

impl Window {
    /// Counts bytes; fails at the end of a window in which too few came.
    fn count(&mut self, waited: Duration, bytes: usize) -> Result<(), HttpError> {
        let least = Patience::default();
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < least.window {
            return Ok(());
        }
        let seen = std::mem::take(self);
        if seen.bytes >= least.window_bytes {
            return Ok(());
        }
        let slow = TransferProblem::Slow { bytes: seen.bytes, seconds: seen.waited.as_secs() };
        Err(HttpError::new(HttpErrorKind::Interrupted, slow))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        let reader = this.reader.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut piece = vec![0; PIECE_BYTES];
        let watch = Stopwatch::start();
        let read = reader.read(&mut piece).map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error));
        Poll::Ready(match read {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                let counted = this.window.count(watch.elapsed(), length);
                let counted = counted.and_then(|()| this.line.received(length as u64).map_err(stopped));
                Some(counted.map(|()| Frame::data(piece.into())))
            }
            Err(error) => Some(Err(error)),
        })
    }
}

/// The work was stopped: nothing is tried again.
fn stopped(error: RemoteError) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, error)
}

/// Says what may be tried again: what was surely not sent, always; what may have been, where it does no harm.
fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        ureq::Error::Io(_) | ureq::Error::Protocol(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
