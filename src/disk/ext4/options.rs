use super::error::Ext4Error;
use super::format::*;
use crate::base::Bytes;

/// What a filesystem has beside its files. All of it reaches its bytes.
#[derive(Clone, Debug)]
pub struct Ext4Options {
    /// Bytes of the UUID in the order in which it is printed.
    pub uuid: [u8; 16],
    /// Seed of the hash of names in large directories. All zero means the standard one.
    pub hash_seed: [u8; 16],
    /// At most 16 bytes, no NUL; may be empty.
    pub label: Vec<u8>,
    /// Every time stamp: seconds since 1970, from -2^31 to 3·2^32 + 2^31 - 1.
    pub epoch_seconds: i64,
    /// Where everything stands.
    pub placement: Ext4Placement,
    /// Length of the filesystem, rounded down to whole blocks; `None` for as small as can be. With stable places
    /// it is the greatest length.
    pub size: Option<Bytes>,
    /// Whether it has a journal, and inodes to spare, so that it can be mounted for writing.
    pub journal: bool,
    /// Whether the kernel must be able to grow it while it is mounted.
    pub growable: bool,
}

/// Decides where inodes and blocks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ext4Placement {
    /// One behind the other, in tree order: as small as can be, and all moves that is behind a change.
    Dense,
    /// Each where a hash of its path says: a change moves little else. The filesystem is larger than its content
    /// by half and more, which are holes. What fits only densely is placed so, and whatever has a journal or grows.
    Stable,
}

impl Ext4Options {
    pub(super) fn check(&self) -> Result<(), Ext4Error> {
        if self.label.len() > LABEL_BYTES_MAX || self.label.contains(&0) {
            return Err(Ext4Error::Label { label: self.label.clone(), limit: LABEL_BYTES_MAX });
        }
        if !(EPOCH_MIN..=EPOCH_MAX).contains(&self.epoch_seconds) {
            let seconds = self.epoch_seconds;
            return Err(Ext4Error::Epoch { seconds, first: EPOCH_MIN, last: EPOCH_MAX });
        }
        match self.size {
            Some(size) if size.0 > FILESYSTEM_BYTES_MAX => {
                Err(Ext4Error::FilesystemTooLarge { size, limit: Bytes(FILESYSTEM_BYTES_MAX) })
            }
            _ => Ok(()),
        }
    }
}
