//! Bytes over HTTP: bounded bodies, redirects, patience with limits. How a body is read and taken up again
//! where it broke is in [`super::download`].

use std::io::Read;
use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::agents::{Agents, scheme};
use super::download::Download;
use super::error::{Ending, FetchProblem, PackagesError};
use super::settings::Settings;
use crate::base::{Job, Stopwatch};

/// Says how long to wait for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer, and between two pieces of its body.
    pub read: Duration,
    /// A body must bring at least [`Self::window_bytes`] in each such window.
    pub window: Duration,
    pub window_bytes: u64,
    /// How often one address is tried without getting on, at least 1.
    pub tries: u32,
    /// Before the second try; doubled before each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(30),
            window: Duration::from_secs(60),
            window_bytes: 60 << 10,
            tries: 4,
            pause: Duration::from_millis(300),
        }
    }
}

/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Longest pause between two looks at whether the work was stopped.
const NAP: Duration = Duration::from_millis(50);

/// Speaks HTTP. Shared among threads.
pub(super) struct Http {
    agents: Agents,
    pub(super) patience: Patience,
}

/// Asks for a part of a file, if it is still the file that a validator names.
pub(super) struct Range<'a> {
    pub from: u64,
    pub validator: &'a str,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Http, PackagesError> {
        Ok(Http { agents: Agents::new(settings)?, patience: settings.patience })
    }

    /// Gets a whole body of at most `limit` bytes whose size and digest nobody knows. A connection that breaks
    /// is tried again from the start.
    pub(super) fn get(&self, address: &str, limit: u64, job: &Job) -> Result<Vec<u8>, FetchProblem> {
        let (mut pause, mut attempt) = (self.patience.pause, 1);
        loop {
            let mut body = Vec::new();
            let read = Download::once(self, address, limit, job).read_to_end(&mut body);
            match read.map_err(FetchProblem::of_reading) {
                Ok(_) => return Ok(body),
                Err(problem) if problem.ending() == Ending::Final || attempt >= self.patience.tries => {
                    return Err(problem);
                }
                Err(_) => rest(pause, job)?,
            }
            pause *= 2;
            attempt += 1;
        }
    }

    /// Asks, and follows redirects within the same scheme.
    pub(super) fn follow(
        &self,
        address: &str,
        range: Option<&Range<'_>>,
    ) -> Result<Response<Body>, FetchProblem> {
        let mut at = address.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.ask(&at, range)?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let to = header(&answer, "location").unwrap_or_default().to_owned();
            let next = redirected(&at, &to);
            if scheme(&next) != scheme(&at) {
                return Err(FetchProblem::Redirect { to, problem: "to another scheme" });
            }
            at = next;
        }
        Err(FetchProblem::Redirect { to: at, problem: "more than 5 redirects" })
    }

    fn ask(&self, address: &str, range: Option<&Range<'_>>) -> Result<Response<Body>, FetchProblem> {
        let way = self.agents.way(address)?;
        let mut request = way.agent.get(address);
        if let Some(Range { from, validator }) = range {
            request = request.header("range", format!("bytes={from}-")).header("if-range", *validator);
        }
        if let Some(credentials) = way.credentials {
            request = request.header("proxy-authorization", credentials);
        }
        request.call().map_err(|error| FetchProblem::Connection(Box::new(error)))
    }
}

/// Returns a header's value, if it is text.
pub(super) fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Waits, unless the work is stopped.
pub(super) fn rest(pause: Duration, job: &Job) -> Result<(), FetchProblem> {
    let watch = Stopwatch::start();
    while let Some(left) = pause.checked_sub(watch.elapsed()).filter(|left| !left.is_zero()) {
        job.check()?;
        std::thread::sleep(left.min(NAP));
    }
    Ok(())
}

/// Resolves a `Location` against the address that was asked (RFC 3986 §5.2, without dot segments).
fn redirected(at: &str, to: &str) -> String {
    let Some((scheme, rest)) = at.split_once("://") else { return to.to_owned() };
    let authority = rest.split('/').next().unwrap_or(rest);
    if to.contains("://") {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let folder = at.rfind('/').map_or(at, |cut| &at[..cut]);
        format!("{folder}/{to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_against_what_was_asked() {
        let at = "http://a:1/b/c";
        for (to, whole) in [
            ("/x", "http://a:1/x"),
            ("x", "http://a:1/b/x"),
            ("//h/x", "http://h/x"),
            ("https://h/", "https://h/"),
        ] {
            assert_eq!(redirected(at, to), whole);
        }
    }
}
