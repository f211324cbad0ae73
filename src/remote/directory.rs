//! A site in a directory: what a web server shows, written by people who may reach the disk.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::error::{RemoteError, Result, TransferProblem};
use super::transport::{Created, Line, Replaced, Sink, SizedRead, Transport, Versioned};
use crate::base::{Digest, FileError, publish};
use crate::store::Media;

/// Bytes that are read or written at once.
const PIECE_BYTES: usize = 256 << 10;
/// Largest file that is replaced.
const REPLACED_BYTES_MAX: u64 = 64 << 20;
/// What files begin with until they have their name.
const TEMPORARY: &str = ".tmp-";
/// Time between two looks at the lock.
const WAIT: Duration = Duration::from_millis(2);

/// Reads and writes a site's files. Writers exclude each other by a kernel lock on `.lock`; a file gets its name
/// when it is whole and durable.
pub struct DirectorySite {
    root: PathBuf,
    media: Media,
    line: Line,
}

impl DirectorySite {
    /// Takes a directory; it is made at the first write.
    pub fn new(root: impl Into<PathBuf>, line: Line) -> Self {
        DirectorySite { root: root.into(), media: Media::default(), line }
    }

    /// Takes a directory whose changes are made through `media`: for tests.
    pub fn with_media(root: impl Into<PathBuf>, media: Media, line: Line) -> Self {
        DirectorySite { root: root.into(), media, line }
    }

    fn open(&self, path: &str) -> Result<Option<File>> {
        let at = self.root.join(path);
        let flags = OFlags::NOFOLLOW.bits() as i32;
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags);
        match options.open(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => Ok(Some(file.map_err(FileError::at("open", &at))?)),
        }
    }

    fn problem(&self, path: &str, source: TransferProblem) -> RemoteError {
        RemoteError::Transfer { remote: self.name(), path: path.to_owned(), source }
    }

    /// Makes the directory and those between it and a file, each durably.
    fn create_parents(&self, path: &Path) -> Result<()> {
        let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        let mut missing: Vec<&Path> = above.take_while(|above| !above.is_dir()).collect();
        missing.reverse();
        for directory in missing {
            self.media.create_directory(directory)?;
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.media.sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    /// Makes the way to the site durable, before its first index: whoever made the directories may have died before
    /// they were. Directories above the one around it are others' business where they can't be opened.
    fn sync_way(&self) -> Result<()> {
        let mut above = self.root.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
        self.media.sync_directory(above.next().unwrap_or(Path::new(".")))?;
        above.for_each(|above| drop(self.media.sync_directory(above)));
        Ok(())
    }

    /// Writes bytes to a file of its own beside `at`, durably, and gives it the name by `publish`.
    fn write<T>(
        &self,
        at: &Path,
        body: &mut dyn Read,
        publish: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        let parent = at.parent().expect("because it lies in the site");
        let temporary = parent.join(format!("{TEMPORARY}{}", publish::unique()));
        let file = self.media.create_file(&temporary, 0o644)?;
        let done = self.fill(&file, &temporary, body).and_then(|()| publish(&temporary));
        if done.is_err() {
            let _ = self.media.remove_file(&temporary);
        }
        self.media.sync_directory(parent)?;
        done
    }

    fn fill(&self, file: &File, path: &Path, body: &mut dyn Read) -> Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let length = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.problem("its new file", TransferProblem::Input(error))),
            };
            self.line.sent(length as u64)?;
            self.media.write_at(file, path, at, &buffer[..length])?;
            at += length as u64;
        }
        Ok(self.media.sync(file, path)?)
    }

    /// Waits for the lock of the site's writers, and removes what dead ones left.
    fn lock(&self, folder: &Path) -> Result<File> {
        let path = self.root.join(".lock");
        self.create_parents(&path)?;
        let file = self.media.open_or_create(&path)?;
        loop {
            match rustix::io::retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => self.line.rest(WAIT)?,
                Err(error) => return Err(FileError::at("lock", &path)(error.into()).into()),
            }
        }
        for name in crate::base::fs::list(folder).unwrap_or_default() {
            if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                self.media.remove_file(&folder.join(name))?;
            }
        }
        Ok(file)
    }
}

impl Transport for DirectorySite {
    fn name(&self) -> String {
        format!("dir:{}", self.root.display())
    }

    fn read(&self, path: &str, limit_bytes: u64) -> Result<Option<Versioned>> {
        self.line.request()?;
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(FileError::at("read", &self.root.join(path)))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(self.problem(path, TransferProblem::Long { limit: limit_bytes }));
        }
        self.line.received(bytes.len() as u64)?;
        let version = Some(Digest::of(&bytes).to_string());
        Ok(Some(Versioned { bytes, version }))
    }

    fn read_ranges(&self, path: &str, ranges: &[Range<u64>], sink: &mut Sink<'_>) -> Result<()> {
        self.line.request()?;
        let file = self.open(path)?.ok_or_else(|| self.problem(path, TransferProblem::Gone))?;
        let mut buffer = vec![0; PIECE_BYTES];
        for (number, range) in ranges.iter().enumerate() {
            let mut at = range.start;
            while at < range.end {
                let piece = (range.end - at).min(buffer.len() as u64) as usize;
                let read = file.read_at(&mut buffer[..piece], at);
                match read.map_err(FileError::at("read", &self.root.join(path)))? {
                    0 => {
                        let (found, expected) = (at, range.end);
                        return Err(self.problem(path, TransferProblem::Short { found, expected }));
                    }
                    length => {
                        self.line.received(length as u64)?;
                        sink(number, &buffer[..length])?;
                        at += length as u64;
                    }
                }
            }
        }
        Ok(())
    }

    fn create(&self, path: &str, body: &mut dyn SizedRead) -> Result<Created> {
        self.line.request()?;
        let at = self.root.join(path);
        let parent = at.parent().expect("because it lies in the site");
        self.create_parents(&at)?;
        let _alone = self.lock(parent)?;
        if at.symlink_metadata().is_ok() {
            // Its writer may have died before the name was durable.
            self.media.sync_directory(parent)?;
            return Ok(Created::There);
        }
        body.rewind().map_err(|error| self.problem(path, TransferProblem::Input(error)))?;
        let is_new = self.write(&at, body, |temporary| Ok(self.media.rename_new(temporary, &at)?))?;
        Ok(if is_new { Created::New } else { Created::There })
    }

    fn replace(&self, path: &str, expected: Option<&str>, bytes: &[u8]) -> Result<Replaced> {
        let at = self.root.join(path);
        self.create_parents(&at)?;
        let _alone = self.lock(at.parent().expect("because it lies in the site"))?;
        let found = self.read(path, REPLACED_BYTES_MAX)?.and_then(|found| found.version);
        if found.as_deref() != expected {
            return Ok(Replaced::Moved);
        }
        if expected.is_none() {
            self.sync_way()?;
        }
        self.write(&at, &mut &*bytes, |temporary| Ok(self.media.rename(temporary, &at)?))?;
        Ok(Replaced::Done)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.line.request()?;
        let names = match crate::base::fs::list(&self.root.join(folder)) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            names => names?,
        };
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.line.request()?;
        let at = self.root.join(path);
        let parent = at.parent().expect("because it lies in the site");
        let _alone = self.lock(parent)?;
        self.media.remove_file(&at)?;
        Ok(self.media.sync_directory(parent)?)
    }

    /// Kernel locks keep writers apart: there is nothing to try.
    fn prove_conditional_writes(&self) -> Result<()> {
        Ok(())
    }
}
