//! What an input may cost.

/// Bounds what foreign input may make us hold or do. The defaults fit every real root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most entries of an archive or host directory; directories that are only implied count.
    pub entries: u64,
    /// Most bytes of an archive after decompression, headers included.
    pub bytes: u64,
    /// Longest path, in bytes. More than 4095 is never possible.
    pub path_bytes: usize,
    /// Longest component of a path, in bytes. More than 255 is never possible.
    pub component_bytes: usize,
    /// Most components of a path.
    pub depth: usize,
    /// Longest target of a symlink or hard link, in bytes.
    pub link_bytes: usize,
    /// Longest value of an extended attribute, in bytes.
    pub xattr_bytes: usize,
    /// Most bytes of all attributes of one inode, names and values.
    pub inode_xattr_bytes: usize,
    /// Longest extended header (PAX records, GNU long name), in bytes.
    pub extended_header_bytes: u64,
    /// Most bytes of names, link targets and attributes of all entries: what a tree costs in memory.
    pub metadata_bytes: u64,
    /// Largest window of a zstd frame, as a power of two.
    pub zstd_window_log: u32,
    /// Largest dictionary of an xz block, in bytes.
    pub xz_dictionary_bytes: u64,
    /// Threads that decode the blocks of an xz stream side by side; 1 for none beside the reader.
    pub xz_threads: u32,
    /// Most bytes that these threads may hold together. Where it does not suffice, fewer work.
    pub xz_threads_bytes: u64,
    /// Most members of an `ar` archive.
    pub ar_members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            entries: 2_000_000,
            bytes: 64 << 30,
            path_bytes: 4095,
            component_bytes: 255,
            depth: 64,
            link_bytes: 4095,
            xattr_bytes: 64 << 10,
            inode_xattr_bytes: 1 << 20,
            extended_header_bytes: 1 << 20,
            metadata_bytes: 256 << 20,
            zstd_window_log: 27,
            xz_dictionary_bytes: 64 << 20,
            xz_threads: 1,
            xz_threads_bytes: 160 << 20,
            ar_members: 64,
        }
    }
}
