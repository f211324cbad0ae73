//! The few things that a site must be able to do, whatever it lies on.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::error::Result;
use crate::base::{Job, Stopwatch};

/// Reads and writes the files of a site. Paths are relative, of letters, digits, `.`, `_`, `-`, with `/`
/// between components; none is empty, `.` or `..`. Used by several threads at once.
pub trait Transport: Send + Sync {
    /// Returns what the site is called in messages: its address.
    fn name(&self) -> String;

    /// Returns where the site really lies: what [`Transport::prove_conditional_writes`] has proven something of.
    fn place(&self) -> String {
        self.name()
    }

    /// Reads a small file whole, as it is now, past every cache; `None` where there is none. More than
    /// `limit_bytes` are an error before they are in memory.
    fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Versioned>>;

    /// Reads parts of a file that never changes. The ranges ascend and don't overlap; `sink` gets the number
    /// of the range and its bytes in pieces, in order, each byte once, whatever has to be asked again. Ranges
    /// that lie close are asked for together. A file that is missing or too short is an error.
    fn read_ranges(&self, path: &str, ranges: &[Range<u64>], sink: &mut Sink<'_>) -> Result<()>;

    /// Creates a file, whole and durably or not at all. Never replaces one.
    fn create(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created>;

    /// Replaces a file if it still is the version that was read; `None` expects that there is none. Durable
    /// when it returns. Where a line was cut, it looks whether its bytes are there before it answers.
    fn replace(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Replaced>;

    /// Lists the names of the files of a folder; none where there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes a file, durably; one that is not there is no error.
    fn remove(&self, path: &str) -> Result<()>;

    /// Returns how many calls of [`Transport::read_ranges`] at once are of use.
    fn connections(&self) -> usize {
        CONNECTIONS
    }

    /// Fails unless two writers that replace a file at once can't both succeed: tried out, not believed.
    fn prove_conditional_writes(&self) -> Result<()>;
}

/// Calls of [`Transport::read_ranges`] at once, where nothing speaks for fewer.
pub(super) const CONNECTIONS: usize = 4;

/// Takes the number of a range and the next of its bytes.
pub type Sink<'a> = dyn FnMut(usize, &[u8]) -> Result<()> + 'a;

/// A small file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    pub bytes: Vec<u8>,
    /// Names this state of the file to [`Transport::replace`]. `None` where the far end can't be written.
    pub version: Option<String>,
}

/// Bytes that are sent, again from the start where a line was cut.
pub trait SizedRead: Read + Send {
    fn size_bytes(&self) -> u64;
    fn rewind(&mut self) -> io::Result<()>;
}

/// A file that is sent whole.
pub struct FileBody {
    file: File,
    size_bytes: u64,
}

impl FileBody {
    /// Takes a file; its length is measured now.
    pub fn new(mut file: File) -> io::Result<Self> {
        let size_bytes = file.metadata()?.len();
        Seek::rewind(&mut file)?;
        Ok(FileBody { file, size_bytes })
    }
}

impl Read for FileBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl SizedRead for FileBody {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn rewind(&mut self) -> io::Result<()> {
        Seek::rewind(&mut self.file)
    }
}

impl<T: AsRef<[u8]> + Send> SizedRead for io::Cursor<T> {
    fn size_bytes(&self) -> u64 {
        self.get_ref().as_ref().len() as u64
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.set_position(0);
        Ok(())
    }
}

/// What came of [`Transport::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    /// A file of this name was there; it is as it was.
    There,
}

/// What came of [`Transport::replace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// The file is no longer the version that was expected; it is as it was.
    Moved,
}

/// What all transports of one command share: the job, what went over the wire, how fast it may.
/// Cloning shares everything.
#[derive(Clone)]
pub struct Line {
    pub job: Job,
    /// File with the CA certificates that servers are held against. None: those of the environment or the system.
    certificates: Option<Arc<Path>>,
    shared: Arc<Shared>,
}

struct Shared {
    received: AtomicU64,
    sent: AtomicU64,
    requests: AtomicU64,
    /// Bytes a second, both ways together.
    rate: Option<u64>,
    started: Stopwatch,
}

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub requests: u64,
}

/// Longest pause between two looks at whether the work was stopped.
const NAP: Duration = Duration::from_millis(50);

impl Line {
    /// Makes a line that carries at most `rate` bytes a second, where given.
    pub fn new(job: &Job, rate: Option<u64>) -> Self {
        let shared = Shared {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            rate,
            started: Stopwatch::start(),
        };
        Line { job: job.clone(), certificates: None, shared: Arc::new(shared) }
    }

    /// Lets the CA certificates of a file vouch for servers, and no others.
    pub fn trusting(self, certificates: Option<PathBuf>) -> Self {
        Line { certificates: certificates.map(Arc::from), ..self }
    }

    /// Returns the file of CA certificates that was named.
    pub fn certificates(&self) -> Option<&Path> {
        self.certificates.as_deref()
    }

    /// Counts bytes of a body that came, and waits where they came too fast. Fails when the work was stopped.
    pub fn received(&self, bytes: u64) -> Result<()> {
        self.shared.received.fetch_add(bytes, Ordering::Relaxed);
        self.keep_rate()
    }

    /// Counts bytes of a body that are about to be sent, and waits where they go too fast.
    pub fn sent(&self, bytes: u64) -> Result<()> {
        self.shared.sent.fetch_add(bytes, Ordering::Relaxed);
        self.keep_rate()
    }

    /// Counts a request. Fails when the work was stopped.
    pub fn request(&self) -> Result<()> {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        Ok(self.job.check()?)
    }

    /// Returns how many bytes a second it carries, where that is limited.
    pub fn rate(&self) -> Option<u64> {
        self.shared.rate
    }

    /// Returns what went over the wire so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            received_bytes: self.shared.received.load(Ordering::Relaxed),
            sent_bytes: self.shared.sent.load(Ordering::Relaxed),
            requests: self.shared.requests.load(Ordering::Relaxed),
        }
    }

    /// Waits, unless the work is stopped.
    pub fn rest(&self, pause: Duration) -> Result<()> {
        let watch = Stopwatch::start();
        self.job.check()?;
        while let Some(left) = pause.checked_sub(watch.elapsed()).filter(|left| !left.is_zero()) {
            std::thread::sleep(left.min(NAP));
            self.job.check()?;
        }
        Ok(())
    }

    fn keep_rate(&self) -> Result<()> {
        let Some(rate) = self.shared.rate else { return Ok(self.job.check()?) };
        let traffic = self.traffic();
        let due = (traffic.received_bytes + traffic.sent_bytes) as f64 / rate.max(1) as f64;
        self.rest(Duration::from_secs_f64(due).saturating_sub(self.shared.started.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_rate_and_stops_with_its_job() {
        let job = Job::quiet(1);
        let line = Line::new(&job, Some(100_000));
        let watch = Stopwatch::start();
        for _ in 0..20 {
            line.received(1000).expect("received");
        }
        assert!(watch.elapsed() >= Duration::from_millis(150), "20 kB at 100 kB/s take 0.2 s");
        assert_eq!(line.clone().traffic(), Traffic { received_bytes: 20_000, sent_bytes: 0, requests: 0 });
        let flag = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let stopped = Job::new(job.workers.clone(), Arc::new(crate::base::job::Silent), flag);
        assert!(Line::new(&stopped, None).request().is_err());
    }
}
