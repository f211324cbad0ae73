//! Writes a placed tree to a device that reads as zero.

use super::entry::{self, ARCHIVE, DIRECTORY, ENTRY_BYTES, Stamp, VOLUME_LABEL};
use super::geometry::{Geometry, MEDIA};
use super::name::ShortName;
use super::place::{PlacedDirectory, Target, Tree};
use super::{CLUSTERS_PER_FAT_SECTOR, Extent, FIRST_CLUSTER, FatError};
use crate::base::Bytes;
use crate::base::units::SECTOR_BYTES;
use crate::disk::BlockDevice;
use crate::disk::sparse::write_fresh;

/// Ends a chain.
const END_OF_CHAIN: u32 = 0x0fff_ffff;
/// A free count that nobody has counted.
const UNKNOWN: u32 = 0xffff_ffff;

/// Holds all of a volume but the bytes of its files.
#[derive(Clone, Debug)]
pub struct Volume {
    pub geometry: Geometry,
    pub tree: Tree,
    pub id: u32,
    /// Eleven bytes of upper-case ASCII, padded with spaces.
    pub label: [u8; 11],
    /// The time of everything.
    pub stamp: Stamp,
    /// Sectors in front of the volume on its disk.
    pub hidden_sectors: u32,
}

impl Volume {
    /// Writes the volume, with the bytes of its files in the order of the items. Fails before the first
    /// byte where the device has another size, something doesn't fit, or a file has another length.
    pub fn write(&self, device: &dyn BlockDevice, files: &[&[u8]]) -> Result<(), FatError> {
        self.check(device, files)?;
        self.put(device, files).map_err(FatError::device("write"))
    }

    fn check(&self, device: &dyn BlockDevice, files: &[&[u8]]) -> Result<(), FatError> {
        let (volume, size) = (self.geometry.size_bytes(), device.size());
        if volume != size {
            return Err(FatError::WrongDevice { volume: Bytes(volume), device: Bytes(size) });
        }
        let (need, have) = (u64::from(self.tree.end()), u64::from(self.geometry.cluster_end()));
        if need > have {
            return Err(FatError::Full { need, have });
        }
        let placed = &self.tree.files;
        let given = files.iter().map(|bytes| Some(bytes.len() as u64)).chain(std::iter::repeat(None));
        for (file, given) in placed.iter().zip(given) {
            if given != Some(u64::from(file.size_bytes)) {
                let (path, given) = (file.path.clone(), given.unwrap_or(0));
                return Err(FatError::WrongLength { path, placed: file.size_bytes.into(), given });
            }
        }
        Ok(())
    }

    fn put(&self, device: &dyn BlockDevice, files: &[&[u8]]) -> std::io::Result<()> {
        let geometry = &self.geometry;
        let boot = geometry.boot_sector(self.id, &self.label, self.hidden_sectors);
        let used: u32 = self.tree.extents().map(|extent| extent.clusters).sum();
        let next = self.tree.directory_end();
        for (sector, free) in [(0, geometry.clusters - used), (geometry.backup_sector, UNKNOWN)] {
            let at = u64::from(sector) * SECTOR_BYTES;
            device.write_at(at, &boot)?;
            device.write_at(at + SECTOR_BYTES, &fs_info(free, next))?;
        }
        let fat = self.allocation_table();
        for copy in 0..geometry.fat_copies {
            device.write_at(geometry.fat_offset(copy), &fat)?;
        }
        for (index, directory) in self.tree.directories.iter().enumerate().filter(|(_, d)| !d.own) {
            let at = geometry.cluster_offset(directory.extent.start_cluster);
            device.write_at(at, &self.directory_bytes(index, directory))?;
        }
        for (file, bytes) in self.tree.files.iter().zip(files).filter(|(_, bytes)| !bytes.is_empty()) {
            write_fresh(device, geometry.cluster_offset(file.extent.start_cluster), bytes)?;
        }
        Ok(())
    }

    /// Returns the beginning of the FAT, up to the last sector in use.
    fn allocation_table(&self) -> Vec<u8> {
        let mut entries = vec![0; self.tree.end().next_multiple_of(CLUSTERS_PER_FAT_SECTOR) as usize];
        entries[0] = 0x0fff_ff00 | u32::from(MEDIA);
        entries[1] = END_OF_CHAIN;
        for extent in self.tree.extents() {
            let (start, end) = (extent.start_cluster, extent.end());
            for cluster in start..end {
                entries[cluster as usize] = if cluster + 1 == end { END_OF_CHAIN } else { cluster + 1 };
            }
        }
        entries.into_iter().flat_map(u32::to_le_bytes).collect()
    }

    fn directory_bytes(&self, index: usize, directory: &PlacedDirectory) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(directory.extent.clusters as usize * SECTOR_BYTES as usize);
        if index == 0 {
            bytes.extend(self.short(&self.label, VOLUME_LABEL, 0, 0));
        } else {
            let parent = match directory.parent {
                0 => 0,
                parent => self.tree.directories[parent].extent.start_cluster,
            };
            bytes.extend(self.short(b".          ", DIRECTORY, directory.extent.start_cluster, 0));
            bytes.extend(self.short(b"..         ", DIRECTORY, parent, 0));
        }
        for entry in &directory.entries {
            if entry.long {
                bytes.extend(entry::long(&entry.name, &entry.short).concat());
            }
            let (attributes, cluster, size) = match entry.target {
                Target::Directory(index) => (DIRECTORY, self.tree.directories[index].extent.start_cluster, 0),
                Target::File(index) => {
                    let file = &self.tree.files[index];
                    (ARCHIVE, file.extent.start_cluster, file.size_bytes)
                }
            };
            bytes.extend(self.short(&entry.short, attributes, cluster, size));
        }
        bytes
    }

    fn short(&self, name: &ShortName, attributes: u8, cluster: u32, size: u32) -> [u8; ENTRY_BYTES] {
        entry::short(name, attributes, cluster, size, self.stamp)
    }
}

/// Writes an FSInfo sector: how many clusters are free, and where to look for one.
fn fs_info(free: u32, next: u32) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes[..4].copy_from_slice(b"RRaA");
    bytes[484..488].copy_from_slice(b"rrAa");
    bytes[488..492].copy_from_slice(&free.to_le_bytes());
    bytes[492..496].copy_from_slice(&next.to_le_bytes());
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// Makes the first `clusters` of an extent one chain and frees its others, in every copy of the FAT;
/// only sectors that change are written. The extent must begin and end with FAT sectors (128 clusters),
/// so that nothing else is touched. FSInfo is for [`count_free`].
pub fn write_chain(
    device: &dyn BlockDevice,
    geometry: &Geometry,
    extent: Extent,
    clusters: u32,
) -> Result<(), FatError> {
    let Extent { start_cluster: start, clusters: room } = extent;
    let whole = start.is_multiple_of(CLUSTERS_PER_FAT_SECTOR) && room.is_multiple_of(CLUSTERS_PER_FAT_SECTOR);
    let inside =
        start >= FIRST_CLUSTER && u64::from(start) + u64::from(room) <= geometry.cluster_end().into();
    if !whole || !inside || clusters > room {
        return Err(FatError::Extent { start, clusters: room, need: clusters.into() });
    }
    let new = chain_bytes(extent, start + clusters);
    for copy in 0..geometry.fat_copies {
        let at = geometry.fat_offset(copy) + u64::from(start) * 4;
        replace_sectors(device, at, &new).map_err(FatError::device("write"))?;
    }
    Ok(())
}

/// Returns the FAT's bytes of an extent whose chain stops before cluster `end`.
fn chain_bytes(extent: Extent, end: u32) -> Vec<u8> {
    let entry = |cluster: u32| match cluster + 1 {
        next if next < end => next,
        next if next == end => END_OF_CHAIN,
        _ => 0,
    };
    (extent.start_cluster..extent.end()).flat_map(|cluster| entry(cluster).to_le_bytes()).collect()
}

/// Writes those runs of sectors that differ from what is there.
fn replace_sectors(device: &dyn BlockDevice, at: u64, new: &[u8]) -> std::io::Result<()> {
    const SECTOR: usize = SECTOR_BYTES as usize;
    let mut old = vec![0; new.len()];
    device.read_at(at, &mut old)?;
    let differs: Vec<bool> =
        old.chunks(SECTOR).zip(new.chunks(SECTOR)).map(|(old, new)| old != new).collect();
    let mut first = 0;
    for run in differs.chunk_by(|one, next| one == next) {
        let bytes = first * SECTOR..(first + run.len()) * SECTOR;
        if run[0] {
            device.write_at(at + bytes.start as u64, &new[bytes])?;
        }
        first += run.len();
    }
    Ok(())
}

/// Counts the free clusters in the first FAT and writes their number to FSInfo.
pub fn count_free(device: &dyn BlockDevice, geometry: &Geometry) -> Result<u32, FatError> {
    let mut fat = vec![0; geometry.cluster_end() as usize * 4];
    device.read_at(geometry.fat_offset(0), &mut fat).map_err(FatError::device("read"))?;
    let entries = fat.chunks_exact(4).skip(FIRST_CLUSTER as usize);
    let free = entries.filter(|entry| entry[..3] == [0; 3] && entry[3] & 0x0f == 0).count() as u32;
    let at = u64::from(geometry.fs_info_sector) * SECTOR_BYTES;
    let mut info = [0; 512];
    device.read_at(at, &mut info).map_err(FatError::device("read"))?;
    info[488..492].copy_from_slice(&free.to_le_bytes());
    replace_sectors(device, at, &info).map_err(FatError::device("write"))?;
    Ok(free)
}
