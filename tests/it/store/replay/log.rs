//! The log of a disk, in the format of the kernel's dm-log-writes, and disks made from it.
//!
//! ```text
//! log    = superblock, entry*                 each padded to the sector size, little-endian
//! super  = magic u64, version u64, entries u64, sector size u32
//! entry  = first sector u64, sectors u64, flags u64, length of data u64; then the data
//! ```

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::store::simulation::Lot;
use crate::tool::{succeed, tool};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
/// A write that is durable when it is acknowledged.
const FORCED: u64 = 2;
const DISCARD: u64 = 4;

pub struct Entry {
    offset: u64,
    data: Vec<u8>,
    flags: u64,
}

pub struct Log {
    pub entries: Vec<Entry>,
}

/// Returns how many entries a log has that is still written to.
pub fn count(path: &Path) -> u64 {
    let mut head = [0; 24];
    File::open(path).expect("a log").read_exact(&mut head).expect("a superblock");
    number(&head, 16)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Log {
    pub fn read(path: &Path) -> Log {
        let file = File::open(path).expect("a log");
        let mut head = [0; 28];
        file.read_exact_at(&mut head, 0).expect("a superblock");
        assert_eq!(number(&head, 0), MAGIC, "{}: no log of writes", path.display());
        let sector = u64::from(u32::from_le_bytes(head[24..28].try_into().expect("four bytes")));
        let mut at = sector;
        let mut entries = Vec::new();
        for _ in 0..number(&head, 16) {
            let mut fields = [0; 32];
            file.read_exact_at(&mut fields, at).expect("an entry");
            at += sector;
            let (first, sectors, flags) = (number(&fields, 0), number(&fields, 8), number(&fields, 16));
            let mut data = Vec::new();
            if flags & DISCARD == 0 {
                data.resize((sectors * sector) as usize, 0);
                file.read_exact_at(&mut data, at).expect("the data of an entry");
                at += sectors * sector;
            }
            entries.push(Entry { offset: first * sector, data, flags });
        }
        Log { entries }
    }

    pub fn flushes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.flags & FLUSH != 0).count()
    }

    /// Returns a disk that begins as a copy of another and is cut further and further on.
    pub fn player(&self, blank: &Path) -> Player<'_> {
        let path = blank.with_extension("durable");
        copy(blank, &path);
        Player { log: self, path, done: 0 }
    }
}

/// A disk with all that was durable at some entry.
pub struct Player<'a> {
    log: &'a Log,
    path: PathBuf,
    done: usize,
}

impl Player<'_> {
    /// Makes the disk that a power cut before the entry `position` leaves. With `lost` on, half of the writes
    /// since the last flush are drawn by lot and lost. Positions only grow.
    pub fn cut(&mut self, position: usize, lost: Option<u64>, to: &Path) {
        let entries = &self.log.entries[..position];
        let flushed = entries.iter().rposition(|entry| entry.flags & FLUSH != 0).map_or(0, |at| at + 1);
        write(&self.path, entries[self.done.min(flushed)..flushed].iter());
        self.done = self.done.max(flushed);
        copy(&self.path, to);
        let mut lot = Lot::new(lost.unwrap_or(0));
        let kept = |entry: &&Entry| entry.flags & FORCED != 0 || lost.is_none() || lot.below(2) == 0;
        write(to, entries[flushed..].iter().filter(kept));
    }
}

fn write<'e>(disk: &Path, entries: impl Iterator<Item = &'e Entry>) {
    let disk = File::options().write(true).open(disk).expect("a disk");
    entries.for_each(|entry| disk.write_all_at(&entry.data, entry.offset).expect("written"));
}

/// Copies a disk, holes as holes.
fn copy(from: &Path, to: &Path) {
    succeed(&mut tool("cp", ["--sparse=always".as_ref(), from.as_os_str(), to.as_os_str()]));
}
