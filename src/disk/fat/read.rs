//! Reads volumes that anyone may have written: bounded in memory and steps, without recursion.

use super::entry::{
    DELETED, DIRECTORY, ENTRY_BYTES, LAST_LONG, LONG_NAME, Stamp, VOLUME_LABEL, cluster, modified, units,
};
use super::geometry::{Geometry, u32_at};
use super::name::{ShortName, checksum, readable};
use super::{Extent, FIRST_CLUSTER, FatError};
use crate::base::Bytes;
use crate::base::units::SECTOR_BYTES;
use crate::disk::BlockDevice;

/// Entries that a volume may have before we refuse it, and bytes that one directory may have.
const MOST_ENTRIES: usize = 1 << 20;
const MOST_DIRECTORY_BYTES: u64 = 2 << 20;
/// Bytes of all paths together. Directories in directories make each path longer than the one above it.
const MOST_PATH_BYTES: usize = 16 << 20;
/// Bytes of the second FAT that are compared at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Holds what a volume says of itself.
#[derive(Clone, Debug)]
pub struct Listing {
    pub geometry: Geometry,
    pub volume_id: u32,
    pub label: String,
    /// What FSInfo says of free clusters; `None` where it says "unknown".
    pub free_clusters: Option<u32>,
    /// Directories before what they hold, each directory in the order of its entries.
    pub entries: Vec<Listed>,
}

/// Holds one file or directory of a volume.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Without a leading slash: `EFI/BOOT/BOOTX64.EFI`.
    pub path: String,
    pub short_name: String,
    pub is_directory: bool,
    /// Bytes of a file; 0 of a directory.
    pub size_bytes: u32,
    pub modified: Stamp,
    /// Where the bytes lie, in order.
    pub extents: Vec<Extent>,
}

impl Listing {
    pub fn find(&self, path: &str) -> Option<&Listed> {
        self.entries.iter().find(|entry| entry.path == path)
    }
}

/// Reads all directories of a FAT32 volume and checks it as a whole: equal FATs, chains that neither
/// cross, loop nor leave the volume, files as long as their chains, no chain that belongs to nobody,
/// the true count of free clusters. Takes as much memory as one FAT, at most 64 MiB.
pub fn read(device: &dyn BlockDevice) -> Result<Listing, FatError> {
    let boot = sector(device, 0)?;
    let geometry = Geometry::parse(&boot)?;
    if geometry.size_bytes() > device.size() {
        let (volume, device) = (Bytes(geometry.size_bytes()), Bytes(device.size()));
        return Err(FatError::WrongDevice { volume, device });
    }
    if sector(device, geometry.backup_sector)? != boot {
        return Err(FatError::damaged("the backup of the boot sector differs"));
    }
    let mut reader = Reader {
        device,
        geometry,
        chains: Chains::read(device, &geometry)?,
        entries: Vec::new(),
        pending: Vec::new(),
        path_bytes: 0,
        label: None,
    };
    reader.walk()?;
    let free = reader.chains.check_lost()?;
    let free_clusters = free_count(&sector(device, geometry.fs_info_sector)?, free)?;
    let volume_id = u32_at(&boot, 67);
    let label = reader.label.unwrap_or_default();
    Ok(Listing { geometry, volume_id, label, free_clusters, entries: reader.entries })
}

/// Reads a file of at most `limit` bytes.
pub fn read_file(
    device: &dyn BlockDevice,
    listing: &Listing,
    path: &str,
    limit: u32,
) -> Result<Vec<u8>, FatError> {
    let file = listing.find(path).filter(|entry| !entry.is_directory);
    let file = file.ok_or_else(|| FatError::Missing { path: path.to_owned() })?;
    if file.size_bytes > limit {
        let problem = format!("{path} has {} bytes, more than {limit}", file.size_bytes);
        return Err(FatError::damaged(problem));
    }
    let mut bytes = read_extents(device, &listing.geometry, &file.extents)?;
    bytes.truncate(file.size_bytes as usize);
    Ok(bytes)
}

fn read_extents(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    extents: &[Extent],
) -> Result<Vec<u8>, FatError> {
    let mut bytes = Vec::new();
    for extent in extents {
        let begin = bytes.len();
        bytes.resize(begin + (u64::from(extent.clusters) * geometry.cluster_bytes()) as usize, 0);
        let at = geometry.cluster_offset(extent.start_cluster);
        device.read_at(at, &mut bytes[begin..]).map_err(FatError::device("read"))?;
    }
    Ok(bytes)
}

fn sector(device: &dyn BlockDevice, number: u16) -> Result<[u8; 512], FatError> {
    let mut bytes = [0; 512];
    let read = device.read_at(u64::from(number) * SECTOR_BYTES, &mut bytes);
    read.map_err(FatError::device("read"))?;
    Ok(bytes)
}

fn free_count(info: &[u8; 512], counted: u32) -> Result<Option<u32>, FatError> {
    if info[..4] != *b"RRaA" || info[484..488] != *b"rrAa" || info[510..] != [0x55, 0xaa] {
        return Err(FatError::damaged("FSInfo has not its signatures"));
    }
    match u32_at(info, 488) {
        u32::MAX => Ok(None),
        free if free == counted => Ok(Some(free)),
        free => Err(FatError::damaged(format!("FSInfo says {free} clusters are free, {counted} are"))),
    }
}

/// The FAT, and which clusters were seen in a chain.
struct Chains {
    fat: Vec<u8>,
    seen: Vec<bool>,
}

impl Chains {
    fn read(device: &dyn BlockDevice, geometry: &Geometry) -> Result<Chains, FatError> {
        let mut fat = vec![0; geometry.cluster_end() as usize * 4];
        device.read_at(geometry.fat_offset(0), &mut fat).map_err(FatError::device("read"))?;
        let mut second = vec![0; PIECE_BYTES.min(fat.len())];
        for (piece, at) in fat.chunks(PIECE_BYTES).zip((0..).step_by(PIECE_BYTES)) {
            let second = &mut second[..piece.len()];
            let read = device.read_at(geometry.fat_offset(1) + at, second);
            read.map_err(FatError::device("read"))?;
            if let Some(byte) = piece.iter().zip(second.iter()).position(|(one, other)| one != other) {
                let cluster = (at + byte as u64) / 4;
                return Err(FatError::damaged(format!("the FATs differ at cluster {cluster}")));
            }
        }
        Ok(Chains { fat, seen: vec![false; geometry.cluster_end() as usize] })
    }

    fn next(&self, cluster: u32) -> u32 {
        u32_at(&self.fat, cluster as usize * 4) & 0x0fff_ffff
    }

    /// Follows the chain from `start` to its end. Each cluster is followed once, whoever owns it.
    fn follow(&mut self, path: &str, start: u32) -> Result<Vec<Extent>, FatError> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = start;
        loop {
            let Some(seen) = self.seen.get_mut(at as usize).filter(|_| at >= FIRST_CLUSTER) else {
                return Err(FatError::damaged(format!("the chain of {path} leads to cluster {at}")));
            };
            if std::mem::replace(seen, true) {
                return Err(FatError::damaged(format!("the chain of {path} meets another at cluster {at}")));
            }
            match extents.last_mut() {
                Some(last) if last.end() == at => last.clusters += 1,
                _ => extents.push(Extent { start_cluster: at, clusters: 1 }),
            }
            at = self.next(at);
            if at >= 0x0fff_fff8 {
                return Ok(extents);
            }
        }
    }

    /// Demands that every cluster in use was seen, and counts the free ones.
    fn check_lost(&self) -> Result<u32, FatError> {
        let mut free = 0;
        for cluster in FIRST_CLUSTER..self.seen.len() as u32 {
            match (self.next(cluster), self.seen[cluster as usize]) {
                (0, _) => free += 1,
                // A cluster that is marked as bad belongs to nobody.
                (0x0fff_fff7, false) | (_, true) => {}
                _ => return Err(FatError::damaged(format!("cluster {cluster} belongs to no file"))),
            }
        }
        Ok(free)
    }
}

struct Reader<'a> {
    device: &'a dyn BlockDevice,
    geometry: Geometry,
    chains: Chains,
    entries: Vec<Listed>,
    pending: Vec<Pending>,
    path_bytes: usize,
    label: Option<String>,
}

/// A directory that is still to be read.
struct Pending {
    /// Its place among the entries; `None` is the root.
    listed: Option<usize>,
    start: u32,
    /// The cluster of the directory that holds it.
    above: u32,
}

impl Reader<'_> {
    fn walk(&mut self) -> Result<(), FatError> {
        let root = self.geometry.root_cluster;
        self.pending.push(Pending { listed: None, start: root, above: 0 });
        while let Some(Pending { listed, start, above }) = self.pending.pop() {
            let path = listed.map_or(String::new(), |index| self.entries[index].path.clone());
            let extents = self.chains.follow(if path.is_empty() { "the root" } else { &path }, start)?;
            let bytes = self.directory_bytes(&path, &extents)?;
            let mut entries = bytes.as_slice();
            if let Some(index) = listed {
                check_dots(&path, &bytes, start, if above == root { 0 } else { above })?;
                entries = &bytes[2 * ENTRY_BYTES..];
                self.entries[index].extents = extents;
            }
            let begin = self.pending.len();
            self.list(&path, start, entries)?;
            self.pending[begin..].reverse();
        }
        Ok(())
    }

    fn directory_bytes(&self, path: &str, extents: &[Extent]) -> Result<Vec<u8>, FatError> {
        let clusters: u64 = extents.iter().map(|extent| u64::from(extent.clusters)).sum();
        if clusters * self.geometry.cluster_bytes() > MOST_DIRECTORY_BYTES {
            return Err(FatError::damaged(format!("directory {path} has {clusters} clusters")));
        }
        read_extents(self.device, &self.geometry, extents)
    }

    fn list(&mut self, path: &str, start: u32, bytes: &[u8]) -> Result<(), FatError> {
        let mut long = LongName::default();
        for entry in bytes.chunks_exact(ENTRY_BYTES) {
            match (entry[0], entry[11]) {
                (0, _) => break,
                (DELETED, _) => long.end(path)?,
                (_, LONG_NAME) => long.add(path, entry)?,
                (_, attributes) if attributes & VOLUME_LABEL != 0 => {
                    long.end(path)?;
                    self.take_label(path, entry)?;
                }
                _ => self.take_entry(path, start, entry, &mut long)?,
            }
            if self.entries.len() > MOST_ENTRIES {
                return Err(FatError::damaged(format!("more than {MOST_ENTRIES} entries")));
            }
        }
        long.end(path)
    }

    fn take_label(&mut self, path: &str, entry: &[u8]) -> Result<(), FatError> {
        if !path.is_empty() || self.label.is_some() {
            return Err(FatError::damaged(format!("a second volume label, in {path:?}")));
        }
        self.label = Some(String::from_utf8_lossy(&entry[..11]).trim_end().to_owned());
        Ok(())
    }

    fn take_entry(
        &mut self,
        directory: &str,
        start: u32,
        entry: &[u8],
        long: &mut LongName,
    ) -> Result<(), FatError> {
        let short: ShortName = entry[..11].try_into().expect("because a short name has eleven bytes");
        let name = match long.take(directory, &short)? {
            Some(name) => name,
            None => short_in_case(&short, entry[12]),
        };
        if let Some(problem) = super::name::problem(&name) {
            return Err(FatError::damaged(format!("{name:?} in {directory:?}: {problem}")));
        }
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        self.path_bytes += path.len();
        if self.path_bytes > MOST_PATH_BYTES {
            return Err(FatError::damaged(format!("paths of more than {MOST_PATH_BYTES} bytes in all")));
        }
        let (first, size_bytes) = (cluster(entry), u32_at(entry, 28));
        let is_directory = entry[11] & DIRECTORY != 0;
        let extents = if is_directory {
            self.pending.push(Pending { listed: Some(self.entries.len()), start: first, above: start });
            Vec::new()
        } else {
            self.file_extents(&path, first, size_bytes)?
        };
        let (short_name, modified) = (readable(&short), modified(entry));
        self.entries.push(Listed { path, short_name, is_directory, size_bytes, modified, extents });
        Ok(())
    }

    fn file_extents(&mut self, path: &str, first: u32, size: u32) -> Result<Vec<Extent>, FatError> {
        if size == 0 && first == 0 {
            return Ok(Vec::new());
        }
        let extents = self.chains.follow(path, first)?;
        let clusters: u64 = extents.iter().map(|extent| u64::from(extent.clusters)).sum();
        let need = u64::from(size).div_ceil(self.geometry.cluster_bytes());
        if clusters != need {
            return Err(FatError::damaged(format!(
                "{path} has {size} bytes, which take {need} clusters, but a chain of {clusters}"
            )));
        }
        Ok(extents)
    }
}

/// Demands "." and ".." in front, with the clusters of the directory and of the one above.
fn check_dots(path: &str, bytes: &[u8], start: u32, above: u32) -> Result<(), FatError> {
    for (index, name, expected) in [(0, b".          ", start), (1, b"..         ", above)] {
        let entry = &bytes[index * ENTRY_BYTES..][..ENTRY_BYTES];
        let found = cluster(entry);
        if entry[..11] != *name || entry[11] != DIRECTORY || found != expected {
            let dots = ".".repeat(index + 1);
            let problem = format!("{path}/{dots} is missing, or leads to cluster {found}, not {expected}");
            return Err(FatError::damaged(problem));
        }
    }
    Ok(())
}

/// Returns a short name in the letters that its case bits ask for (Windows NT and EDK2 set them).
fn short_in_case(short: &ShortName, case: u8) -> String {
    let mut cased = *short;
    if case & 0x08 != 0 {
        cased[..8].make_ascii_lowercase();
    }
    if case & 0x10 != 0 {
        cased[8..].make_ascii_lowercase();
    }
    readable(&cased)
}

/// Gathers long entries, which stand last part first.
#[derive(Default)]
struct LongName {
    parts: Vec<[u16; 13]>,
    /// Number of the part that was read last; 1 ends the name.
    order: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, directory: &str, entry: &[u8]) -> Result<(), FatError> {
        let order = entry[0] & !LAST_LONG;
        let fits = if entry[0] & LAST_LONG != 0 {
            self.order == 0 && (1..=20).contains(&order)
        } else {
            order > 0 && order + 1 == self.order && entry[13] == self.checksum
        };
        if !fits || cluster(entry) & 0xffff != 0 || entry[12] != 0 {
            return Err(FatError::damaged(format!("a long name in {directory:?} is out of order")));
        }
        (self.order, self.checksum) = (order, entry[13]);
        self.parts.push(units(entry));
        Ok(())
    }

    /// Ends the name at its short entry; `None` where there was no long one.
    fn take(&mut self, directory: &str, short: &ShortName) -> Result<Option<String>, FatError> {
        let name = std::mem::take(self);
        if name.parts.is_empty() {
            return Ok(None);
        }
        if name.order != 1 || name.checksum != checksum(short) {
            let problem = format!("the long name before {} in {directory:?} is another's", readable(short));
            return Err(FatError::damaged(problem));
        }
        let units: Vec<u16> = name.parts.iter().rev().flatten().copied().collect();
        let length = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
        let padding = units.get(length + 1..).unwrap_or_default();
        match String::from_utf16(&units[..length]) {
            Ok(text) if padding.iter().all(|&unit| unit == 0xffff) && padding.len() < 13 => Ok(Some(text)),
            _ => Err(FatError::damaged(format!("the long name of {} is no name", readable(short)))),
        }
    }

    /// Demands that no long entries wait for a short one.
    fn end(&self, directory: &str) -> Result<(), FatError> {
        if self.parts.is_empty() {
            return Ok(());
        }
        Err(FatError::damaged(format!("a long name in {directory:?} has no short entry")))
    }
}
