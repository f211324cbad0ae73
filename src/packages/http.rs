//! Bytes over HTTP: bounded bodies, redirects, patience with limits. How a body is read and taken up again
//! where it broke is in [`super::download`].

use std::io::Read;
use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::agents::Agents;
use super::download::Download;
use super::error::{Ending, FetchProblem, PackagesError};
use super::settings::Settings;
use crate::base::{Job, Stopwatch};
use crate::web::{Patience, follow};

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
        let refuse = |to, problem| FetchProblem::Redirect { to, problem };
        follow(address, |at| self.ask(at, range), refuse)
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

/// Waits, unless the work is stopped.
pub(super) fn rest(pause: Duration, job: &Job) -> Result<(), FetchProblem> {
    let watch = Stopwatch::start();
    while let Some(left) = pause.checked_sub(watch.elapsed()).filter(|left| !left.is_zero()) {
        job.check()?;
        std::thread::sleep(left.min(NAP));
    }
    Ok(())
}
