//! Numbers, byte order and checksum of the format. Changing a constant here is a format break.

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Blocks of a group: as many as one bitmap block has bits.
pub const GROUP_BLOCKS: u64 = 32768;
/// Groups whose bitmaps and inode tables lie together (`flex_bg`).
pub const FLEX_GROUPS: u32 = 16;
/// Most inodes of a group: as many as one bitmap block has bits.
pub const GROUP_INODES_MAX: u64 = 32768;
pub const INODE_BYTES: usize = 256;
pub const INODES_PER_BLOCK: u64 = (BLOCK / INODE_BYTES) as u64;
/// Where the extended attributes of an inode begin: 128 bytes, and 32 of the extra fields.
pub const INODE_EXTRA_END: usize = 160;
pub const DESCRIPTOR_BYTES: usize = 64;
pub const DESCRIPTORS_PER_BLOCK: u64 = (BLOCK / DESCRIPTOR_BYTES) as u64;

pub const ROOT_INODE: u32 = 2;
pub const RESIZE_INODE: u32 = 7;
pub const JOURNAL_INODE: u32 = 8;
/// First inode that is not reserved: `lost+found`.
pub const FIRST_INODE: u32 = 11;

/// Most names of one file, and most subdirectories (and 2) that a link count tells.
pub const LINKS_MAX: u32 = 65_000;
/// Longest file: logical block numbers have 32 bits, and the last is no block.
pub const FILE_BYTES_MAX: u64 = (u32::MAX as u64) * BLOCK as u64;
/// Largest filesystem that is written: 2^32 blocks.
pub const FILESYSTEM_BYTES_MAX: u64 = 1 << 44;
/// First and last second that an inode's 34-bit time can say.
pub const EPOCH_MIN: i64 = -(1 << 31);
pub const EPOCH_MAX: i64 = 3 * (1 << 32) + (1 << 31) - 1;
pub const LABEL_BYTES_MAX: usize = 16;

/// Longest extent, in blocks; longer ones mean "allocated, not written".
pub const EXTENT_BLOCKS_MAX: u64 = 32768;
pub const EXTENT_MAGIC: u16 = 0xf30a;
/// Entries of an extent node in an inode, and in a block.
pub const EXTENTS_INLINE: usize = 4;
pub const EXTENTS_PER_BLOCK: usize = (BLOCK - 16) / 12;

pub const SUPER_MAGIC: u16 = 0xef53;
pub const XATTR_MAGIC: u32 = 0xea02_0000;

pub const COMPAT_HAS_JOURNAL: u32 = 0x4;
pub const COMPAT_EXT_ATTR: u32 = 0x8;
pub const COMPAT_RESIZE_INODE: u32 = 0x10;
pub const COMPAT_DIR_INDEX: u32 = 0x20;
pub const INCOMPAT_FILETYPE: u32 = 0x2;
pub const INCOMPAT_RECOVER: u32 = 0x4;
pub const INCOMPAT_EXTENTS: u32 = 0x40;
pub const INCOMPAT_64BIT: u32 = 0x80;
pub const INCOMPAT_FLEX_BG: u32 = 0x200;
pub const RO_SPARSE_SUPER: u32 = 0x1;
pub const RO_LARGE_FILE: u32 = 0x2;
pub const RO_HUGE_FILE: u32 = 0x8;
pub const RO_DIR_NLINK: u32 = 0x20;
pub const RO_EXTRA_ISIZE: u32 = 0x40;
pub const RO_METADATA_CSUM: u32 = 0x400;

pub const GROUP_INODE_UNINIT: u16 = 0x1;
pub const GROUP_BLOCK_UNINIT: u16 = 0x2;
pub const GROUP_TABLE_ZEROED: u16 = 0x4;

pub const INODE_INDEX: u32 = 0x1000;
pub const INODE_EXTENTS: u32 = 0x8_0000;

pub const MODE_FIFO: u16 = 0o010_000;
pub const MODE_CHARACTER: u16 = 0o020_000;
pub const MODE_DIRECTORY: u16 = 0o040_000;
pub const MODE_BLOCK: u16 = 0o060_000;
pub const MODE_REGULAR: u16 = 0o100_000;
pub const MODE_SYMLINK: u16 = 0o120_000;
pub const MODE_SOCKET: u16 = 0o140_000;

pub fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Puts the low half of a value at one place and the high half at another.
pub fn put_split(bytes: &mut [u8], low: usize, high: usize, value: u64) {
    put32(bytes, low, value as u32);
    put32(bytes, high, (value >> 32) as u32);
}

pub fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Continues a CRC-32C as ext4 counts it: no inversion at the ends.
pub fn crc(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// Returns the seed of every checksum of a filesystem.
pub fn filesystem_seed(uuid: &[u8; 16]) -> u32 {
    crc(!0, uuid)
}

/// Returns the seed of the checksums that belong to an inode. Our generation numbers are 0.
pub fn inode_seed(filesystem: u32, number: u32, generation: u32) -> u32 {
    crc(crc(filesystem, &number.to_le_bytes()), &generation.to_le_bytes())
}

/// Tells whether a group holds a copy of the superblock (`sparse_super`): 0, 1, powers of 3, 5, 7.
pub fn has_super(group: u32) -> bool {
    let power = |base: u32| {
        let mut power = u64::from(base);
        while power < u64::from(group) {
            power *= u64::from(base);
        }
        power == u64::from(group)
    };
    group <= 1 || power(3) || power(5) || power(7)
}

/// Splits seconds into the 32 bits of the old field and the epoch bits of the extra field.
pub fn encode_time(seconds: i64) -> (u32, u32) {
    let low = seconds as i32;
    (low as u32, ((seconds - i64::from(low)) >> 32) as u32 & 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_the_superblock_stand_in_the_sparse_groups() {
        let groups: Vec<u32> = (0..130).filter(|&group| has_super(group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn times_use_34_bits() {
        assert_eq!(encode_time(0), (0, 0));
        assert_eq!(encode_time(-1), (u32::MAX, 0));
        assert_eq!(encode_time(EPOCH_MIN), (0x8000_0000, 0));
        assert_eq!(encode_time(1 << 31), (0x8000_0000, 1));
        assert_eq!(encode_time(EPOCH_MAX), (0x7fff_ffff, 3));
    }
}
