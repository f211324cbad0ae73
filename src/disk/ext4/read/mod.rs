//! Reads a filesystem of the kind that we write, also after Linux has written to it: strict, and bounded
//! by what is on the device, whatever the bytes say.

mod entries;
mod error;
mod inode;
mod map;
mod names;
mod superblock;
mod walk;
mod xattrs;

use std::collections::HashMap;

use super::extents::Extent as Ext4Extent;
use super::format::*;
use crate::base::Job;
use crate::disk::device::BlockDevice;
use crate::tree::{Content, DataMap, Directory};
use inode::Inode;
use map::Mapping;

pub use error::Ext4ReadError;
use error::{Result, damaged};
pub use names::{Ext4Names, Ext4Place};
pub use superblock::Ext4Facts;
pub use walk::{Ext4Entry, Ext4Kind, Ext4Listing};

/// An open filesystem.
pub struct Ext4Reader<'a> {
    device: &'a dyn BlockDevice,
    facts: Ext4Facts,
    seed: u32,
    inodes_per_group: u32,
    /// First block of each group's inode table.
    tables: Vec<u64>,
    /// Whether checksums must be right. Only tests that look behind the checksums say no.
    checks_sums: bool,
}

impl<'a> Ext4Reader<'a> {
    /// Opens the filesystem at the start of a device. Checks superblock and group descriptors.
    pub fn open(device: &'a dyn BlockDevice) -> Result<Self> {
        Self::open_with(device, true)
    }

    fn open_with(device: &'a dyn BlockDevice, checks_sums: bool) -> Result<Self> {
        let superblock = superblock::read(device, checks_sums)?;
        let tables = superblock.read_tables(device, checks_sums)?;
        Ok(Ext4Reader {
            device,
            seed: filesystem_seed(&superblock.facts.uuid),
            inodes_per_group: superblock.inodes_per_group,
            facts: superblock.facts,
            tables,
            checks_sums,
        })
    }

    /// Returns what the superblock says.
    pub fn facts(&self) -> &Ext4Facts {
        &self.facts
    }

    /// Lists every entry, in tree order, the root first. Checks every directory block, inode, extent
    /// tree and attribute block on the way.
    pub fn walk(&self, job: &Job) -> Result<Ext4Listing> {
        walk::walk(self, job)
    }

    /// Fills a buffer with a file's bytes from `offset` on; what lies behind its end is an error.
    pub fn read_at(&self, entry: &Ext4Entry, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read_inode_at(entry.inode, offset, buffer)
    }

    /// Does what [`Ext4Reader::read_at`] does for a file that is known by its inode.
    pub fn read_inode_at(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let inode = self.inode(number)?;
        let mapping = self.mapping(&inode)?;
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > inode.size) {
            let problem = format!("{} bytes at {offset} pass its end at {}", buffer.len(), inode.size);
            return damaged("inode", number, problem);
        }
        self.read_mapped(&mapping, offset, buffer)
    }

    /// Returns where the blocks of a file stand, ascending by their place in the file. What lies between them
    /// is zero.
    pub fn extents(&self, entry: &Ext4Entry) -> Result<Vec<Ext4Extent>> {
        Ok(self.mapping(&self.inode(entry.inode)?)?.into_extents())
    }

    /// Reads the whole filesystem as a tree, each content hashed in pieces, with no content kept.
    /// Names of one file become hard links to the first of them.
    pub fn tree(&self, job: &Job) -> Result<Directory> {
        self.survey(job, &|_, _, _| {})
    }

    /// Does what [`Ext4Reader::tree`] does, and shows one entry of every file, its content, and which of its
    /// blocks hold data. Files come in no order, from many threads.
    pub fn survey(
        &self,
        job: &Job,
        see: &(dyn Fn(&Ext4Entry, Content, DataMap) + Sync),
    ) -> Result<Directory> {
        let (listing, read) = self.hashed(job, see)?;
        let contents: HashMap<u32, _> = read.into_iter().collect::<Result<_>>()?;
        Ok(listing.into_tree(&contents))
    }

    /// Does what [`Ext4Reader::survey`] does, past files that can't be read: they are not shown, and there is no tree
    /// then, but why the first of them can't be.
    pub fn salvage(
        &self,
        job: &Job,
        see: &(dyn Fn(&Ext4Entry, Content, DataMap) + Sync),
    ) -> Result<std::result::Result<Directory, Ext4ReadError>> {
        let (listing, read) = self.hashed(job, see)?;
        job.check()?;
        let contents: Result<HashMap<u32, _>> = read.into_iter().collect();
        Ok(contents.map(|contents| listing.into_tree(&contents)))
    }

    /// Lists the entries, and hashes what each file holds.
    fn hashed(
        &self,
        job: &Job,
        see: &(dyn Fn(&Ext4Entry, Content, DataMap) + Sync),
    ) -> Result<(Ext4Listing, Vec<Result<(u32, Content)>>)> {
        let listing = self.walk(job)?;
        let hashed = job.workers.map(listing.files(), |(inode, entry)| {
            let (content, map) = self.content(entry, job)?;
            see(entry, content, map);
            Ok((inode, content))
        });
        Ok((listing, hashed))
    }

    fn content(&self, entry: &Ext4Entry, job: &Job) -> Result<(Content, DataMap)> {
        let inode = self.inode(entry.inode)?;
        let mapping = self.mapping(&inode)?;
        let (mut hasher, mut map) = (blake3::Hasher::new(), DataMap::default());
        let mut piece = vec![0; inode.size.min(1 << 20) as usize];
        let mut at = 0;
        while at < inode.size {
            job.check()?;
            let length = (inode.size - at).min(piece.len() as u64) as usize;
            self.read_mapped(&mapping, at, &mut piece[..length])?;
            hasher.update(&piece[..length]);
            map.scan(at / BLOCK as u64, &piece[..length]);
            at += length as u64;
        }
        Ok((Content { id: (*hasher.finalize().as_bytes()).into(), size: inode.size }, map))
    }

    fn read_mapped(&self, mapping: &Mapping, offset: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for extent in mapping.within(offset / BLOCK as u64, end.div_ceil(BLOCK as u64)) {
            let start = u64::from(extent.logical) * BLOCK as u64;
            let from = start.max(offset);
            let to = (start + u64::from(extent.length) * BLOCK as u64).min(end);
            if from < to {
                let out = &mut buffer[(from - offset) as usize..(to - offset) as usize];
                self.read_bytes(extent.physical * BLOCK as u64 + (from - start), out)?;
            }
        }
        Ok(())
    }

    fn read_block(&self, block: u64, what: &'static str) -> Result<Vec<u8>> {
        if block == 0 || block >= self.facts.blocks.0 {
            return damaged(what, block, format!("lies outside of {} blocks", self.facts.blocks.0));
        }
        let mut bytes = vec![0; BLOCK];
        self.read_bytes(block * BLOCK as u64, &mut bytes)?;
        Ok(bytes)
    }

    fn read_bytes(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let bytes = out.len();
        self.device.read_at(offset, out).map_err(|source| Ext4ReadError::Device { offset, bytes, source })
    }

    fn check_sum(&self, what: &'static str, number: u64, stored: u32, computed: u32) -> Result<()> {
        if self.checks_sums && stored != computed {
            return damaged(what, number, format!("checksum {stored:#x}, its bytes give {computed:#x}"));
        }
        Ok(())
    }

    fn inode(&self, number: u32) -> Result<Inode> {
        inode::read(self, number)
    }

    fn mapping(&self, inode: &Inode) -> Result<Mapping> {
        map::read(self, inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::device::MemoryDevice;
    use crate::disk::ext4::{Ext4Options, Ext4Placement, plan};
    use crate::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node, Symlink};

    /// An image with extent blocks, an indexed directory, attributes in inode and block, a long symlink.
    fn image() -> Vec<u8> {
        let contents = MemoryContents::default();
        let mut root = Directory::default();
        let mut put = |path: &str, node: Node| {
            root.insert(&crate::base::ImagePath::new(path.as_bytes()).expect("a path"), node)
                .expect("inserted");
        };
        let mut islands = vec![0; 12 * 8192];
        islands.iter_mut().step_by(8192).for_each(|byte| *byte = 1);
        let content = contents.put(&islands).expect("put");
        let mut metadata = Metadata::root(0o644);
        metadata.xattrs.insert(b"user.small"[..].into(), b"x"[..].into());
        put("/islands", Node::File(File { metadata: metadata.clone(), content }));
        metadata.xattrs.insert(b"user.large"[..].into(), vec![1; 300].into());
        let target = vec![b'x'; 100].into();
        put("/long", Node::Symlink(Symlink { metadata, target }));
        for n in 0..100 {
            put(&format!("/many/a-name-that-is-not-short-{n}"), Node::Fifo(Metadata::root(0o600)));
        }
        let tree = root.seal().expect("sealed");
        let options = Ext4Options {
            uuid: [1; 16],
            hash_seed: [2; 16],
            label: Vec::new(),
            epoch_seconds: 0,
            placement: Ext4Placement::Dense,
            size: None,
            journal: false,
            growable: false,
        };
        let job = Job::quiet(1);
        let layout = plan(&tree, &contents, &options, &job).expect("planned");
        let device = MemoryDevice::new(layout.size().0);
        layout.write(&device, &contents, None, &job).expect("written");
        device.into_bytes()
    }

    /// Checksums stop almost every damage; whoever forges them must meet the checks behind.
    #[test]
    fn damage_with_right_checksums_neither_panics_nor_runs_away() {
        let bytes = image();
        let job = Job::quiet(1);
        let used: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
        let mut state = 88_172_645_463_325_252u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..4000 {
            let mut copy = bytes.clone();
            for _ in 0..1 + random() % 3 {
                // Beside what is in use as well: a zero byte there is a length or a number too.
                let at = (used[random() % used.len()] + random() % 4).min(copy.len() - 1);
                copy[at] = random() as u8;
            }
            let device = MemoryDevice::new(copy.len() as u64);
            device.write_at(0, &copy).expect("written");
            let listing = Ext4Reader::open_with(&device, false).and_then(|reader| {
                let listing = reader.walk(&job)?;
                for entry in listing.entries.iter().filter(|entry| matches!(entry.kind, Ext4Kind::File(1..)))
                {
                    reader.read_at(entry, 0, &mut [0])?;
                }
                Ok(listing)
            });
            match listing {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    }
}
