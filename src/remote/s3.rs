//! Sites in buckets: S3 and what speaks like it, through `object_store`.
//!
//! Credentials, region and endpoint come from the environment, as the tools of AWS take them (`settings`). The
//! requests go through the same HTTP library as everything else here (`connector`), so that proxies, CA
//! certificates, the rate and Ctrl-C are the same. `object_store` signs, and tries again what failed and may be
//! tried again; a conditional write whose line was cut may not: then the file is looked at, whether it is ours.
//!
//! Two publishers are kept apart by conditional writes alone (`If-None-Match: *`, `If-Match`). Many servers take
//! these headers and do not honour them, or check first and write later: [`Transport::prove_conditional_writes`]
//! tries it out, in `probe`.
//!
//! A file of more than one part can't be created on a condition; it is looked for before, and its name is the
//! digest of its bytes, so that whoever else creates it at once writes the same.

mod connector;
mod probe;
mod settings;
mod spans;

use std::future::Future;
use std::io::Read as _;
use std::ops::Range;
use std::time::Duration;

use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};

use super::error::{RemoteError, Result, TransferProblem};
use super::transport::{Created, Line, Replaced, Sink, SizedRead, Transport, Versioned};

/// A file up to this size is sent whole; larger ones in parts of at least this size.
const PART_BYTES: u64 = 16 << 20;
/// S3 takes 10,000 parts of one file.
const PARTS_MAX: u64 = 9_000;
/// How often a write is tried whose answer did not come, or that met another one under way.
const TRIES: u32 = 5;
/// Before the second try; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(200);

/// Reads and writes a site in a bucket. Shared among threads.
pub struct BucketSite {
    line: Line,
    address: String,
    endpoint: String,
    prefix: String,
    store: AmazonS3,
}

/// What came of one conditional write, as the server said it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Put {
    Done(Option<String>),
    /// The condition did not hold.
    Refused,
    /// Another write was under way; nobody said whether the condition held.
    Busy,
}

impl BucketSite {
    /// Takes a site in a bucket, below a prefix that may be empty. `environment` gives the variables that AWS's
    /// tools read. Nothing is asked yet.
    pub fn new(
        bucket: &str,
        prefix: &str,
        environment: &dyn Fn(&str) -> Option<String>,
        line: &Line,
    ) -> Result<Self> {
        let address = match prefix {
            "" => format!("s3://{bucket}"),
            prefix => format!("s3://{bucket}/{prefix}"),
        };
        let store = store(bucket, environment, line).map_err(|source| RemoteError::Transfer {
            remote: address.clone(),
            path: "settings".to_owned(),
            source,
        })?;
        let (endpoint, prefix) = (settings::endpoint(environment), prefix.to_owned());
        Ok(BucketSite { line: line.clone(), address, endpoint, prefix, store })
    }

    fn path(&self, path: &str) -> Path {
        let full = if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) };
        Path::from(full)
    }

    /// Translates an error. Work that was stopped is that, whatever failed on the way out.
    fn failed(&self, path: &str, error: Error) -> RemoteError {
        if let Err(stopped) = self.line.job.check() {
            return stopped.into();
        }
        let source = match error {
            Error::NotFound { source, .. } if source.to_string().contains("NoSuchBucket") => {
                let problem = "there is no such bucket".to_owned();
                return RemoteError::NotThere { remote: self.address.clone(), expected: "site", problem };
            }
            Error::NotFound { .. } => TransferProblem::Gone,
            Error::PermissionDenied { .. } => TransferProblem::Denied { status: 403 },
            Error::Unauthenticated { .. } => TransferProblem::Denied { status: 401 },
            error => match status(&error.to_string()) {
                None => TransferProblem::Connection(Box::new(error)),
                Some(status @ (408 | 425 | 429 | 500..)) => TransferProblem::Status { status },
                // What the server says of it is all that helps.
                Some(_) => TransferProblem::Settings { problem: format!("the server refused it: {error}") },
            },
        };
        self.problem(path, source)
    }

    fn problem(&self, path: &str, source: TransferProblem) -> RemoteError {
        RemoteError::Transfer { remote: self.address.clone(), path: path.to_owned(), source }
    }

    /// Writes a file once, on a condition.
    fn put(&self, path: &str, mode: PutMode, bytes: Vec<u8>) -> Result<Put> {
        let options = PutOptions::from(mode);
        match run(self.store.put_opts(&self.path(path), PutPayload::from(bytes), options)) {
            Ok(done) => Ok(Put::Done(done.e_tag)),
            Err(Error::Precondition { .. }) => Ok(Put::Refused),
            // The library calls a refusal (412) of a creation so, and any conflict (409); what it came from tells.
            Err(Error::AlreadyExists { source, .. }) => match source.downcast_ref() {
                Some(Error::Precondition { .. } | Error::NotModified { .. }) => Ok(Put::Refused),
                _ => Ok(Put::Busy),
            },
            Err(error) => Err(self.failed(path, error)),
        }
    }

    fn exists(&self, path: &str) -> Result<bool> {
        match run(self.store.head(&self.path(path))) {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(path, error)),
        }
    }

    fn create_whole(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created> {
        let size = body.size_bytes();
        let bytes = self.take(path, body, size)?;
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.put(path, PutMode::Create, bytes.clone()) {
                Ok(Put::Done(_)) => return Ok(Created::New),
                Ok(Put::Refused) => return Ok(Created::There),
                Ok(Put::Busy) if self.exists(path)? => return Ok(Created::There),
                Err(error) if attempt >= TRIES || !may_pass(&error) => return Err(error),
                Ok(Put::Busy) if attempt >= TRIES => return Err(self.busy(path)),
                Ok(Put::Busy) | Err(_) => self.line.rest(pause)?,
            }
            pause *= 2;
        }
        unreachable!("because the last try returns")
    }

    fn create_in_parts(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created> {
        if self.exists(path)? {
            return Ok(Created::There);
        }
        let location = self.path(path);
        let mut upload =
            run(self.store.put_multipart(&location)).map_err(|error| self.failed(path, error))?;
        let sent = self.send_parts(path, body, |part| run(upload.put_part(part)));
        let done = sent.and_then(|()| run(upload.complete()).map_err(|error| self.failed(path, error)));
        match done {
            Ok(_) => Ok(Created::New),
            Err(error) => {
                // Parts that stay behind cost money; a bucket's own rules clear what this can't.
                let _ = run(upload.abort());
                Err(error)
            }
        }
    }

    fn send_parts(
        &self,
        path: &str,
        body: &mut dyn SizedRead,
        mut send: impl FnMut(PutPayload) -> object_store::Result<()>,
    ) -> Result<()> {
        let part_bytes = PART_BYTES.max(body.size_bytes().div_ceil(PARTS_MAX));
        let mut left = body.size_bytes();
        while left > 0 {
            let size = left.min(part_bytes);
            let part = self.take(path, body, size)?;
            send(PutPayload::from(part)).map_err(|error| self.failed(path, error))?;
            left -= size;
        }
        Ok(())
    }

    /// Takes bytes of a body, all that are expected.
    fn take(&self, path: &str, body: &mut dyn SizedRead, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = body.take(size).read_to_end(&mut bytes);
        read.map_err(|error| self.problem(path, TransferProblem::Input(error)))?;
        match bytes.len() as u64 {
            found if found == size => Ok(bytes),
            found => Err(self.problem(path, TransferProblem::Short { found, expected: size })),
        }
    }

    /// Looks, after a write whose outcome nobody told, what became of it. `None` says: nothing yet.
    fn outcome(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Option<Replaced>> {
        let found = self.read(path, bytes.len() as u64).or_else(|error| match error {
            // Larger than ours: not ours.
            RemoteError::Transfer { source: TransferProblem::Long { .. }, .. } => {
                Ok(Some(Versioned { bytes: Vec::new(), version: None }))
            }
            error => Err(error),
        })?;
        Ok(match found {
            Some(found) if found.bytes == bytes => Some(Replaced::Done),
            Some(found) if found.version.is_none() || found.version.as_deref() != expected => {
                Some(Replaced::Moved)
            }
            None if expected.is_some() => Some(Replaced::Moved),
            _ => None,
        })
    }

    fn busy(&self, path: &str) -> RemoteError {
        self.problem(path, TransferProblem::Status { status: 409 })
    }
}

impl Transport for BucketSite {
    fn name(&self) -> String {
        self.address.clone()
    }

    fn place(&self) -> String {
        format!("{} at {}", self.address, self.endpoint)
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Versioned>> {
        let fetched = run(async {
            let answer = self.store.get(&self.path(path)).await?;
            let version = answer.meta.e_tag.clone();
            if answer.meta.size > limit_bytes {
                return Ok(None);
            }
            Ok(Some((answer.bytes().await?, version)))
        });
        match fetched {
            Ok(Some((bytes, version))) => Ok(Some(Versioned { bytes: bytes.into(), version })),
            Ok(None) => Err(self.problem(path, TransferProblem::Long { limit: limit_bytes })),
            Err(error) => match self.failed(path, error) {
                RemoteError::Transfer { source: TransferProblem::Gone, .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    fn read_ranges(&self, path: &str, ranges: &[Range<u64>], sink: &mut Sink<'_>) -> Result<()> {
        for span in spans::of(ranges) {
            let range = Some(GetRange::Bounded(span.clone()));
            let options = GetOptions { range, ..GetOptions::default() };
            let location = self.path(path);
            let fetched = run(async { self.store.get_opts(&location, options).await?.bytes().await });
            let bytes = fetched.map_err(|error| self.failed(path, error))?;
            let (found, expected) = (bytes.len() as u64, span.end - span.start);
            if found != expected {
                return Err(self.problem(path, TransferProblem::Short { found, expected }));
            }
            spans::deliver(&span, &bytes, ranges, sink)?;
        }
        Ok(())
    }

    fn create(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created> {
        body.rewind().map_err(|error| self.problem(path, TransferProblem::Input(error)))?;
        match body.size_bytes() <= PART_BYTES {
            true => self.create_whole(path, body),
            false => self.create_in_parts(path, body),
        }
    }

    fn replace(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Replaced> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let failure = match self.put(path, condition(expected), bytes.to_vec()) {
                Ok(Put::Done(_)) => return Ok(Replaced::Done),
                // Perhaps because of our own first try, whose answer was lost.
                Ok(Put::Refused | Put::Busy) => self.busy(path),
                Err(error) if !may_pass(&error) => return Err(error),
                Err(error) => error,
            };
            if let Some(outcome) = self.outcome(path, expected, bytes)? {
                return Ok(outcome);
            }
            if attempt >= TRIES {
                return Err(failure);
            }
            self.line.rest(pause)?;
            pause *= 2;
        }
        unreachable!("because the last try returns")
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let listed = run(self.store.list_with_delimiter(Some(&self.path(folder))));
        let listed = listed.map_err(|error| self.failed(folder, error))?;
        let names = listed.objects.iter().filter_map(|object| object.location.filename());
        Ok(names.map(str::to_owned).collect())
    }

    fn remove(&self, path: &str) -> Result<()> {
        match run(self.store.delete(&self.path(path))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(path, error)),
        }
    }

    fn prove_conditional_writes(&self) -> Result<()> {
        probe::prove(self)
    }
}

fn store(
    bucket: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    line: &Line,
) -> std::result::Result<AmazonS3, TransferProblem> {
    let builder = settings::builder(bucket, environment)?;
    let connector = connector::Connector::new(&settings::endpoint(environment), line)?;
    let store = builder.with_http_connector(connector).build();
    store.map_err(|error| TransferProblem::Settings { problem: error.to_string() })
}

fn condition(expected: Option<&str>) -> PutMode {
    match expected {
        None => PutMode::Create,
        Some(version) => PutMode::Update(UpdateVersion { e_tag: Some(version.to_owned()), version: None }),
    }
}

/// Tells whether the same request may succeed a moment later, or may have succeeded already.
fn may_pass(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Transfer { source, .. } if source.may_pass())
}

/// Finds the status in what the library says of an answer: it keeps the number to itself.
fn status(said: &str) -> Option<u16> {
    let (_, rest) = said.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Runs a request to its end on this thread. The library needs a runtime for the pauses between its tries; the
/// requests themselves block.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("because a runtime without threads and sockets asks for nothing").block_on(work)
}
