//! The canonical binary forms' alphabet: little-endian integers of fixed width, bytes behind their length.
//!
//! The reader is strict and total: it takes foreign bytes, never panics, and allocates nothing by a number
//! that it read before the bytes that the number promises are there.

/// Says why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {problem}")]
pub struct Malformed {
    pub offset: usize,
    pub problem: String,
}

/// Writes a canonical form.
#[derive(Default)]
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub fn new(magic: &[u8; 8]) -> Self {
        Encoder { bytes: magic.to_vec() }
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Writes bytes behind their length (32 bits). Longer ones don't occur: every caller bounds them.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("because lengths and counts of objects are far below 2^32"));
    }

    /// Writes 0 for nothing, 1 and the value for something.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads a canonical form from its front to its very end.
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
}

pub(super) type Decoded<T> = Result<T, Malformed>;

impl<'a> Decoder<'a> {
    /// Starts behind the magic, which must stand at the front.
    pub fn new(bytes: &'a [u8], magic: &[u8; 8]) -> Decoded<Self> {
        let mut decoder = Decoder { bytes, offset: 0 };
        let found = decoder.raw(8)?;
        if found != magic {
            let shown = |bytes: &[u8]| crate::base::path::escaped(bytes);
            return Err(Malformed {
                offset: 0,
                problem: format!("expected the magic \"{}\", found \"{}\"", shown(magic), shown(found)),
            });
        }
        Ok(decoder)
    }

    pub fn without_magic(bytes: &'a [u8]) -> Self {
        Decoder { bytes, offset: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.offset == self.bytes.len()
    }

    /// Refuses bytes behind the end of the form.
    pub fn end(self) -> Decoded<()> {
        let left = self.bytes.len() - self.offset;
        if left == 0 { Ok(()) } else { self.fail(format!("{left} bytes too many")) }
    }

    pub fn fail<T>(&self, problem: impl Into<String>) -> Decoded<T> {
        Err(Malformed { offset: self.offset, problem: problem.into() })
    }

    pub fn raw(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let left = &self.bytes[self.offset..];
        if left.len() < count {
            return self.fail(format!("{count} bytes expected, {} left", left.len()));
        }
        self.offset += count;
        Ok(&left[..count])
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        Ok(self.raw(N)?.try_into().expect("because that many bytes were taken"))
    }

    pub fn u8(&mut self) -> Decoded<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Decoded<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn digest(&mut self) -> Decoded<[u8; 32]> {
        self.array()
    }

    pub fn bytes(&mut self, limit: usize) -> Decoded<&'a [u8]> {
        let length = self.u32()? as usize;
        if length > limit {
            return self.fail(format!("{length} bytes announced, at most {limit} are possible"));
        }
        self.raw(length)
    }

    pub fn text(&mut self) -> Decoded<String> {
        let bytes = self.bytes(usize::MAX)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.fail("text that is not UTF-8"),
        }
    }

    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Decoded<T>) -> Decoded<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => self.fail(format!("{other} where 0 (absent) or 1 (present) is possible")),
        }
    }

    /// Reads a count and so many items. Memory grows with the bytes that are there.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Decoded<T>) -> Decoded<Vec<T>> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }
}
