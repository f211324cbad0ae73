//! Numbers of the table: LEB128 in their shortest form, read strictly.

use crate::base::Digest;

#[derive(Default)]
pub(super) struct Output {
    pub bytes: Vec<u8>,
}

impl Output {
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn digest(&mut self, digest: &Digest) {
        self.bytes.extend_from_slice(digest.as_bytes());
    }
}

/// Reads from the front; memory of the callers grows with the bytes that are there.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Input { bytes }
    }

    pub fn number(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.bytes.split_first().ok_or("it ends inside a number")?;
            self.bytes = rest;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 || byte == 0 && shift > 0 {
                return Err("a number is not in its shortest form".to_owned());
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }

    /// Reads a number that is at most `limit`.
    pub fn below(&mut self, limit: u64) -> Result<u64, String> {
        self.between(0, limit)
    }

    pub fn between(&mut self, least: u64, most: u64) -> Result<u64, String> {
        let value = self.number()?;
        if value < least || value > most {
            return Err(format!("{value} where {least} to {most} are possible"));
        }
        Ok(value)
    }

    /// Reads how many items follow: each takes a byte at least.
    pub fn count(&mut self) -> Result<usize, String> {
        let left = self.bytes.len() as u64;
        Ok(self.below(left)? as usize)
    }

    pub fn digest(&mut self) -> Result<Digest, String> {
        let (digest, rest) = self.bytes.split_first_chunk::<32>().ok_or("it ends inside a digest")?;
        self.bytes = rest;
        Ok(Digest(*digest))
    }

    /// Returns what was not read.
    pub fn rest(self) -> &'a [u8] {
        self.bytes
    }

    pub fn end(self) -> Result<(), String> {
        if self.bytes.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", self.bytes.len())) }
    }
}
