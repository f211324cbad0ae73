//! Objects as they come out of a foreign repository: bounded by what was announced, hashed while they pass.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::error::{OstreeError, Result};
use super::library::Repository;
use super::name::{Checksum, ObjectKind, ObjectName};
use super::object::METADATA_BYTES_MAX;
use super::variant::Malformed;

/// One object on its way in. What was read of it is worth nothing before [`Incoming::finish`] says so.
pub(super) struct Incoming<'a> {
    repository: &'a mut Repository,
    object: ObjectName,
    /// Bytes that may still come.
    left: u64,
    hasher: Sha256,
    piece: Vec<u8>,
    taken: usize,
    is_at_end: bool,
    failure: Option<OstreeError>,
}

impl<'a> Incoming<'a> {
    /// Asks for an object; more than `limit` bytes of it are not taken.
    pub fn of(repository: &'a mut Repository, object: ObjectName, limit: u64) -> Result<Self> {
        let Some(bytes) = repository.load(object)? else {
            return Err(OstreeError::Missing { object, repository: repository.path().to_owned() });
        };
        if bytes > limit {
            let problem = format!("it has {bytes} bytes, and at most {limit} are taken");
            return Err(OstreeError::Damaged { object, problem });
        }
        Ok(Incoming {
            repository,
            object,
            left: bytes,
            hasher: Sha256::new(),
            piece: Vec::new(),
            taken: 0,
            is_at_end: false,
            failure: None,
        })
    }

    /// Takes exactly so many bytes; their number was bounded before.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            if !self.fill()? {
                let problem = format!("it ends after {} bytes of {count}", bytes.len());
                return Err(OstreeError::Damaged { object: self.object, problem });
            }
            let length = (count - bytes.len()).min(self.piece.len() - self.taken);
            bytes.extend_from_slice(&self.piece[self.taken..self.taken + length]);
            self.taken += length;
        }
        Ok(bytes)
    }

    /// Ends the object: nothing must be left of it, and its bytes must be those that its name says.
    pub fn finish(mut self) -> Result<()> {
        if self.fill()? {
            let problem = "more bytes stand behind its end".to_owned();
            return Err(OstreeError::Damaged { object: self.object, problem });
        }
        let found = Checksum(self.hasher.finalize().into());
        if found != self.object.checksum {
            let problem = format!("its bytes have the checksum {found}");
            return Err(OstreeError::Damaged { object: self.object, problem });
        }
        Ok(())
    }

    /// Returns what went wrong while somebody else read.
    pub fn failure(&mut self) -> Option<OstreeError> {
        self.failure.take()
    }

    /// Makes sure that there is something to take; returns whether there is.
    fn fill(&mut self) -> Result<bool> {
        if self.taken < self.piece.len() {
            return Ok(true);
        }
        if self.is_at_end {
            return Ok(false);
        }
        self.taken = 0;
        self.repository.piece(self.object, &mut self.piece)?;
        self.is_at_end = self.piece.is_empty();
        let Some(left) = self.left.checked_sub(self.piece.len() as u64) else {
            let problem = "it has more bytes than it announced".to_owned();
            return Err(OstreeError::Damaged { object: self.object, problem });
        };
        if self.is_at_end && left > 0 {
            let problem = format!("it has {left} bytes fewer than it announced");
            return Err(OstreeError::Damaged { object: self.object, problem });
        }
        self.left = left;
        self.hasher.update(&self.piece);
        Ok(!self.is_at_end)
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.fill() {
            Ok(true) => {
                let length = out.len().min(self.piece.len() - self.taken);
                out[..length].copy_from_slice(&self.piece[self.taken..self.taken + length]);
                self.taken += length;
                Ok(length)
            }
            Ok(false) => Ok(0),
            Err(error) => {
                self.failure = Some(error);
                Err(io::Error::other("the object can't be read on"))
            }
        }
    }
}

/// Reads a whole object of metadata, checks it against its name, and parses it.
pub(super) fn metadata<T>(
    repository: &mut Repository,
    kind: ObjectKind,
    checksum: Checksum,
    parse: impl FnOnce(&[u8]) -> std::result::Result<T, Malformed>,
) -> Result<T> {
    let object = ObjectName { kind, checksum };
    let mut incoming = Incoming::of(repository, object, METADATA_BYTES_MAX)?;
    let bytes = incoming.exactly(incoming.left as usize)?;
    incoming.finish()?;
    parse(&bytes).map_err(|source| OstreeError::Malformed { object, source })
}
