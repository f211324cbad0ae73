//! What goes over the two pipes.
//!
//! ```text
//! child ──▶ parent   kind u8, length u32, so many bytes
//!           W  what the kernel could not do, a JSON list of texts: once, before any foreign byte was read
//!           P  a part of an answer, as the verb has it
//!           V  the verb's value, JSON; the last frame
//!           E  what the verb could not do, JSON (Said); the last frame
//! parent ──▶ child   length u32, so many bytes: a question to the verb, at most 4096 with the length
//! ```
//!
//! Integers are little-endian. Both ends are the same program, so that nothing of it is kept or versioned.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

pub(super) const WARNINGS: u8 = b'W';
pub(super) const PART: u8 = b'P';
pub(super) const VALUE: u8 = b'V';
pub(super) const ERROR: u8 = b'E';
pub(super) const HEAD_BYTES: usize = 5;

/// Longest question: what a pipe takes at once, so that a child that does not listen blocks nobody.
pub const QUESTION_BYTES_MAX: usize = 4096 - 4;

/// The child's end: hears questions and sends parts of answers.
#[derive(Debug, Default)]
pub struct Channel(());

impl Channel {
    /// Sends a part of an answer.
    pub fn send(&mut self, part: &[u8]) -> io::Result<()> {
        self.frame(PART, part)
    }

    pub(super) fn frame(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut head = [kind, 0, 0, 0, 0];
        head[1..].copy_from_slice(&length.to_le_bytes());
        Pipe(rustix::stdio::stdout()).write_all(&head)?;
        Pipe(rustix::stdio::stdout()).write_all(bytes)
    }

    /// Waits for the next question; `None` when nobody asks any more.
    pub fn hear(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match Pipe(rustix::stdio::stdin()).read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > QUESTION_BYTES_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let mut question = vec![0; length];
        Pipe(rustix::stdio::stdin()).read_exact(&mut question)?;
        Ok(Some(question))
    }
}

/// Standard input or output without a buffer between.
struct Pipe(BorrowedFd<'static>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        rustix::io::read(self.0, buffer).map_err(Errno::into)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustix::io::write(self.0, bytes).map_err(Errno::into)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
