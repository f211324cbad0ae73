//! What stands at an offset of a filesystem, by name: for whoever has to say where two of them differ.

use super::error::Result;
use super::walk::{Ext4Kind, Ext4Listing};
use super::{Ext4Reader, map};
use crate::base::Job;
use crate::disk::ext4::format::*;
use crate::disk::field::{Field, Form, field_at};

/// What stands somewhere in a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext4Place {
    /// `superblock`, `descriptor of group 3`, `inode 12`, `directory`, `file` …
    pub what: String,
    pub field: Option<Field>,
    /// Position in the listing of what it belongs to.
    pub entry: Option<usize>,
    /// Place in the file or directory, where it is of one.
    pub at: Option<u64>,
    /// Where the field begins, in bytes of the filesystem, and how long it is.
    pub offset: u64,
    pub bytes: u64,
}

/// A run of blocks and whose it is.
struct Run {
    physical: u64,
    count: u64,
    logical: u64,
    entry: usize,
    what: &'static str,
}

/// Names of everything in a filesystem.
pub struct Ext4Names {
    blocks: u64,
    descriptor_blocks: u64,
    inodes_per_group: u32,
    tables: Vec<u64>,
    bitmaps: Vec<(u64, u64)>,
    /// Ascending by place.
    runs: Vec<Run>,
    /// Inode and position of its first name, ascending.
    entries: Vec<(u32, usize)>,
}

impl Ext4Reader<'_> {
    /// Gathers the names of everything that stands in the filesystem: a few words for each extent.
    pub fn names(&self, listing: &Ext4Listing, job: &Job) -> Result<Ext4Names> {
        let mut entries: Vec<(u32, usize)> =
            listing.entries.iter().enumerate().map(|(at, entry)| (entry.inode, at)).collect();
        entries.sort_unstable();
        entries.dedup_by_key(|pair| pair.0);
        let mut runs = Vec::new();
        for &(number, position) in &entries {
            job.check()?;
            let inode = self.inode(number)?;
            if inode.attribute_block != 0 {
                let physical = inode.attribute_block;
                let what = "attribute block";
                runs.push(Run { physical, count: 1, logical: 0, entry: position, what });
            }
            let what = match listing.entries[position].kind {
                Ext4Kind::Directory => "directory",
                Ext4Kind::File(_) => "file",
                Ext4Kind::Symlink(_) if inode.flags & INODE_EXTENTS != 0 => "symlink",
                _ => continue,
            };
            for extent in map::read(self, &inode)?.into_extents() {
                let (physical, count) = (extent.physical, extent.length.into());
                runs.push(Run { physical, count, logical: extent.logical.into(), entry: position, what });
            }
        }
        runs.sort_by_key(|run| run.physical);
        let bitmaps = self.bitmaps()?;
        Ok(Ext4Names {
            blocks: self.facts.blocks.0,
            descriptor_blocks: (self.tables.len() as u64).div_ceil(DESCRIPTORS_PER_BLOCK),
            inodes_per_group: self.inodes_per_group,
            tables: self.tables.clone(),
            bitmaps,
            runs,
            entries,
        })
    }

    /// Returns where each group's bitmaps stand: of blocks, of inodes.
    fn bitmaps(&self) -> Result<Vec<(u64, u64)>> {
        let mut bytes = vec![0; self.tables.len() * DESCRIPTOR_BYTES];
        self.read_bytes(BLOCK as u64, &mut bytes)?;
        let split =
            |bytes: &[u8], low, high| u64::from(get32(bytes, low)) | u64::from(get32(bytes, high)) << 32;
        let places = bytes.chunks_exact(DESCRIPTOR_BYTES);
        Ok(places.map(|bytes| (split(bytes, 0x00, 0x20), split(bytes, 0x04, 0x24))).collect())
    }
}

impl Ext4Names {
    /// Names what stands at an offset of the filesystem.
    pub fn name(&self, offset: u64) -> Ext4Place {
        let block = offset / BLOCK as u64;
        let inside = (offset % BLOCK as u64) as usize;
        let start = block * BLOCK as u64;
        let place = |what: String| Ext4Place {
            what,
            field: None,
            entry: None,
            at: None,
            offset: start,
            bytes: BLOCK as u64,
        };
        let group = (block / GROUP_BLOCKS) as u32;
        let in_group = block % GROUP_BLOCKS;
        if block >= self.blocks {
            return place("behind the filesystem".to_owned());
        }
        if has_super(group) && in_group == 0 {
            let from = if group == 0 { 1024 } else { 0 };
            let which =
                if group == 0 { "superblock".to_owned() } else { format!("superblock of group {group}") };
            return match inside.checked_sub(from).filter(|at| *at < 1024) {
                Some(at) => with_field(place(which), SUPERBLOCK, at, start + from as u64),
                None => place(format!("around the {which}")),
            };
        }
        if has_super(group) && in_group <= self.descriptor_blocks {
            let number = (in_group - 1) * DESCRIPTORS_PER_BLOCK + (inside / DESCRIPTOR_BYTES) as u64;
            let copy = if group == 0 { String::new() } else { format!(" (copy in group {group})") };
            let at = inside % DESCRIPTOR_BYTES;
            let what = format!("descriptor of group {number}{copy}");
            return with_field(place(what), DESCRIPTOR, at, offset - at as u64);
        }
        if let Some(at) = self.bitmaps.iter().position(|pair| pair.0 == block) {
            return place(format!("block bitmap of group {at}"));
        }
        if let Some(at) = self.bitmaps.iter().position(|pair| pair.1 == block) {
            return place(format!("inode bitmap of group {at}"));
        }
        if let Some(inode) = self.inode_at(offset) {
            let at = inside % INODE_BYTES;
            let named = with_field(place(format!("inode {inode}")), INODE, at, offset - at as u64);
            return Ext4Place { entry: self.entry(inode), ..named };
        }
        self.run(block).map_or_else(
            || place(format!("block {block} (an extent tree, the journal, or unused)")),
            |run| Ext4Place {
                what: run.what.to_owned(),
                entry: Some(run.entry),
                at: Some((run.logical + block - run.physical) * BLOCK as u64 + inside as u64),
                ..place(String::new())
            },
        )
    }

    fn run(&self, block: u64) -> Option<&Run> {
        let behind = self.runs.partition_point(|run| run.physical <= block);
        let run = &self.runs[behind.checked_sub(1)?];
        (block < run.physical + run.count).then_some(run)
    }

    fn inode_at(&self, offset: u64) -> Option<u32> {
        let bytes = u64::from(self.inodes_per_group) * INODE_BYTES as u64;
        let group = self.tables.iter().position(|table| {
            let start = table * BLOCK as u64;
            (start..start + bytes).contains(&offset)
        })?;
        let position = (offset - self.tables[group] * BLOCK as u64) / INODE_BYTES as u64;
        Some((group as u64 * u64::from(self.inodes_per_group) + position + 1) as u32)
    }

    fn entry(&self, inode: u32) -> Option<usize> {
        let at = self.entries.binary_search_by_key(&inode, |pair| pair.0).ok()?;
        Some(self.entries[at].1)
    }
}

fn with_field(place: Ext4Place, fields: &'static [Field], at: usize, start: u64) -> Ext4Place {
    match field_at(fields, at) {
        Some(field) => Ext4Place {
            field: Some(field),
            offset: start + field.offset as u64,
            bytes: field.bytes as u64,
            ..place
        },
        None => Ext4Place { offset: start + at as u64, bytes: 1, ..place },
    }
}

const fn number(offset: usize, bytes: usize, name: &'static str) -> Field {
    Field { offset, bytes, name, form: Form::Number, derived: false }
}

const fn sum(offset: usize, bytes: usize, name: &'static str) -> Field {
    Field { offset, bytes, name, form: Form::Hex, derived: true }
}

const fn raw(offset: usize, bytes: usize, name: &'static str) -> Field {
    Field { offset, bytes, name, form: Form::Hex, derived: false }
}

const fn text(offset: usize, bytes: usize, name: &'static str) -> Field {
    Field { offset, bytes, name, form: Form::Text, derived: false }
}

/// The superblock (kernel documentation, `filesystems/ext4/super`).
const SUPERBLOCK: &[Field] = &[
    number(0x00, 4, "inodes_count"),
    number(0x04, 4, "blocks_count_lo"),
    number(0x08, 4, "r_blocks_count_lo"),
    number(0x0c, 4, "free_blocks_count_lo"),
    number(0x10, 4, "free_inodes_count"),
    number(0x14, 4, "first_data_block"),
    number(0x18, 4, "log_block_size"),
    number(0x1c, 4, "log_cluster_size"),
    number(0x20, 4, "blocks_per_group"),
    number(0x24, 4, "clusters_per_group"),
    number(0x28, 4, "inodes_per_group"),
    number(0x2c, 4, "mtime"),
    number(0x30, 4, "wtime"),
    number(0x34, 2, "mnt_count"),
    number(0x36, 2, "max_mnt_count"),
    raw(0x38, 2, "magic"),
    number(0x3a, 2, "state"),
    number(0x3c, 2, "errors"),
    number(0x3e, 2, "minor_rev_level"),
    number(0x40, 4, "lastcheck"),
    number(0x44, 4, "checkinterval"),
    number(0x48, 4, "creator_os"),
    number(0x4c, 4, "rev_level"),
    number(0x50, 2, "def_resuid"),
    number(0x52, 2, "def_resgid"),
    number(0x54, 4, "first_ino"),
    number(0x58, 2, "inode_size"),
    number(0x5a, 2, "block_group_nr"),
    raw(0x5c, 4, "feature_compat"),
    raw(0x60, 4, "feature_incompat"),
    raw(0x64, 4, "feature_ro_compat"),
    raw(0x68, 16, "uuid"),
    text(0x78, 16, "volume_name"),
    text(0x88, 64, "last_mounted"),
    number(0xcc, 1, "prealloc_blocks"),
    number(0xce, 2, "reserved_gdt_blocks"),
    raw(0xd0, 16, "journal_uuid"),
    number(0xe0, 4, "journal_inum"),
    raw(0xec, 16, "hash_seed"),
    number(0xfc, 1, "def_hash_version"),
    number(0xfd, 1, "jnl_backup_type"),
    number(0xfe, 2, "desc_size"),
    raw(0x100, 4, "default_mount_opts"),
    number(0x108, 4, "mkfs_time"),
    raw(0x10c, 68, "jnl_blocks"),
    number(0x150, 4, "blocks_count_hi"),
    number(0x154, 4, "r_blocks_count_hi"),
    number(0x158, 4, "free_blocks_count_hi"),
    number(0x15c, 2, "min_extra_isize"),
    number(0x15e, 2, "want_extra_isize"),
    raw(0x160, 4, "flags"),
    number(0x174, 1, "log_groups_per_flex"),
    number(0x175, 1, "checksum_type"),
    number(0x178, 8, "kbytes_written"),
    sum(0x3fc, 4, "checksum"),
];

/// A group descriptor (the same, `filesystems/ext4/group_descr`).
const DESCRIPTOR: &[Field] = &[
    number(0x00, 4, "block_bitmap_lo"),
    number(0x04, 4, "inode_bitmap_lo"),
    number(0x08, 4, "inode_table_lo"),
    number(0x0c, 2, "free_blocks_count_lo"),
    number(0x0e, 2, "free_inodes_count_lo"),
    number(0x10, 2, "used_dirs_count_lo"),
    raw(0x12, 2, "flags"),
    sum(0x18, 2, "block_bitmap_csum_lo"),
    sum(0x1a, 2, "inode_bitmap_csum_lo"),
    number(0x1c, 2, "itable_unused_lo"),
    sum(0x1e, 2, "checksum"),
    number(0x20, 4, "block_bitmap_hi"),
    number(0x24, 4, "inode_bitmap_hi"),
    number(0x28, 4, "inode_table_hi"),
    sum(0x38, 2, "block_bitmap_csum_hi"),
    sum(0x3a, 2, "inode_bitmap_csum_hi"),
];

/// An inode (the same, `filesystems/ext4/inodes`).
const INODE: &[Field] = &[
    Field { offset: 0x00, bytes: 2, name: "mode", form: Form::Octal, derived: false },
    number(0x02, 2, "uid"),
    number(0x04, 4, "size_lo"),
    number(0x08, 4, "atime"),
    number(0x0c, 4, "ctime"),
    number(0x10, 4, "mtime"),
    number(0x14, 4, "dtime"),
    number(0x18, 2, "gid"),
    number(0x1a, 2, "links_count"),
    number(0x1c, 4, "blocks_lo"),
    raw(0x20, 4, "flags"),
    number(0x24, 4, "version"),
    raw(0x28, 60, "block"),
    number(0x64, 4, "generation"),
    number(0x68, 4, "file_acl_lo"),
    number(0x6c, 4, "size_high"),
    number(0x74, 2, "blocks_high"),
    number(0x76, 2, "file_acl_high"),
    number(0x78, 2, "uid_high"),
    number(0x7a, 2, "gid_high"),
    sum(0x7c, 2, "checksum_lo"),
    number(0x80, 2, "extra_isize"),
    sum(0x82, 2, "checksum_hi"),
    number(0x84, 4, "ctime_extra"),
    number(0x88, 4, "mtime_extra"),
    number(0x8c, 4, "atime_extra"),
    number(0x90, 4, "crtime"),
    number(0x94, 4, "crtime_extra"),
    raw(0xa0, 96, "extended attributes"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_ascend_and_do_not_overlap() {
        for (fields, size) in [(SUPERBLOCK, 1024), (DESCRIPTOR, DESCRIPTOR_BYTES), (INODE, INODE_BYTES)] {
            let ends = fields.iter().map(|field| field.offset + field.bytes);
            let starts = fields.iter().skip(1).map(|field| field.offset).chain([size]);
            assert!(ends.zip(starts).all(|(end, start)| end <= start));
        }
    }
}
