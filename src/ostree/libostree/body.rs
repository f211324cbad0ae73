//! The bytes of an object on their way from standard input into libostree.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ostree::gio;

/// Gives so many bytes of standard input, and no more, to a library that may stop reading earlier.
#[derive(Clone)]
pub struct Body {
    left: Arc<AtomicU64>,
}

impl Body {
    pub fn of(bytes: u64) -> Self {
        Body { left: Arc::new(AtomicU64::new(bytes)) }
    }

    /// Returns the body as libostree reads it.
    pub fn stream(&self) -> gio::ReadInputStream {
        gio::ReadInputStream::new(self.clone())
    }

    /// Takes what nobody wanted, so that the next message comes next.
    pub fn drain(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = io::stdin().lock().read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left.store(left - read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
