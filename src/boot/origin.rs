//! Where an image came from, carried by the image itself: the UKI's section `.origin`.
//!
//! ```text
//! origin = "MKIORIG" 01                        changing any of this is a format break: name a version 2
//!          commit id[32]                       of the encoding in `.mkimage`
//!          boot    bytes                       the encoding of the commit's boot tree (`store/directory`)
//!          stub    bytes                       the headers of the UEFI stub, as they were before sections came
//!          recipe  count u32, bytes*           the texts, in the order of the commit
//!          lock    u8 (0 or 1), bytes          the lock of the packages
//! bytes  = length u32, so many bytes
//! ```
//!
//! Integers are little-endian. Nothing in it is new: the commit names all of it by digest. With it, whoever
//! holds an image and nothing else can tell each byte of the UKI from the commit, and build the image again.
//! Nothing is compressed: another version of a compressor would make other bytes of the same commit.

use super::error::BootError;

const MAGIC: &[u8; 8] = b"MKIORIG\x01";
/// Recipe texts that an image carries at most.
const TEXTS_MAX: usize = 4096;

/// What an image says of where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The id of the commit whose encoding stands in `.mkimage`.
    pub commit: [u8; 32],
    /// The encoding of the commit's boot tree, which names kernel, initrd, stub and loader by digest.
    pub boot_tree: Vec<u8>,
    /// The stub's headers: time stamp, checksum and sizes change when sections are appended.
    pub stub_headers: Vec<u8>,
    /// The recipe texts, in the order of the commit.
    pub recipe: Vec<Vec<u8>>,
    pub lock: Option<Vec<u8>>,
}

impl Origin {
    /// Writes the section.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.commit);
        put(&mut out, &self.boot_tree);
        put(&mut out, &self.stub_headers);
        out.extend_from_slice(&length(self.recipe.len()));
        self.recipe.iter().for_each(|text| put(&mut out, text));
        out.push(u8::from(self.lock.is_some()));
        self.lock.iter().for_each(|lock| put(&mut out, lock));
        out
    }

    /// Reads a section, and nothing else. Takes as much memory as the section.
    pub fn decode(bytes: &[u8]) -> Result<Self, BootError> {
        let mut input = Input { bytes, at: 0 };
        if input.take(MAGIC.len())? != MAGIC {
            return Err(fault(0, "it does not begin with \"MKIORIG\" and version 1"));
        }
        let commit = input.take(32)?.try_into().expect("because 32 bytes were taken");
        let (boot_tree, stub_headers) = (input.bytes()?, input.bytes()?);
        let count = input.number()?;
        if count > TEXTS_MAX {
            return Err(fault(input.at, &format!("{count} recipe texts, more than {TEXTS_MAX}")));
        }
        let recipe = (0..count).map(|_| input.bytes()).collect::<Result<_, _>>()?;
        let lock = match input.take(1)? {
            [0] => None,
            [1] => Some(input.bytes()?),
            _ => return Err(fault(input.at, "whether a lock follows is said by 0 or 1")),
        };
        if input.at != bytes.len() {
            return Err(fault(input.at, "bytes stand behind its end"));
        }
        Ok(Origin { commit, boot_tree, stub_headers, recipe, lock })
    }
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("because no text of an image has 4 GiB").to_le_bytes()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes.len()));
    out.extend_from_slice(bytes);
}

fn fault(offset: usize, problem: &str) -> BootError {
    BootError::Origin { offset, problem: problem.to_owned() }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BootError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        let taken = taken.ok_or_else(|| fault(self.at, "it is cut off"))?;
        self.at += count;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, BootError> {
        let bytes = self.take(4)?.try_into().expect("because four bytes were taken");
        Ok(u32::from_le_bytes(bytes) as usize)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, BootError> {
        let count = self.number()?;
        self.take(count).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            commit: [7; 32],
            boot_tree: b"tree".to_vec(),
            stub_headers: b"MZ".to_vec(),
            recipe: vec![b"image".to_vec(), Vec::new()],
            lock: Some(b"lock".to_vec()),
        }
    }

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let bytes = origin().encode();
        assert_eq!(Origin::decode(&bytes).expect("reads"), origin());
        let without = Origin { lock: None, ..origin() };
        assert_eq!(Origin::decode(&without.encode()).expect("reads"), without);
        for end in 0..bytes.len() {
            assert!(Origin::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        assert!(Origin::decode(&[&bytes[..], b"x"].concat()).is_err());
    }

    #[test]
    fn counts_of_strangers_allocate_nothing() {
        let mut bytes = Origin { lock: None, ..Origin::default() }.encode();
        let at = bytes.len() - 5;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Origin::decode(&bytes).is_err());
        bytes[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Origin::decode(&bytes).is_err());
    }
}
