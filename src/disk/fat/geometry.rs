//! The numbers of the boot sector, and where they put everything.

use super::{CLUSTERS_PER_FAT_SECTOR, FIRST_CLUSTER, FatError};
use crate::base::units::SECTOR_BYTES;

/// Sectors in front of the first FAT. With FATs of whole multiples of four sectors it puts every cluster
/// whose number is a multiple of 8 on a 4096-byte boundary, UKI extents among them.
/// Changing it is a format break.
const RESERVED_SECTORS: u16 = 34;
const FAT_COPIES: u8 = 2;
/// FAT32 begins here: volumes with fewer clusters are FAT16, whatever they say of themselves.
pub const LEAST_CLUSTERS: u32 = 65525;
const MOST_CLUSTERS: u32 = 0x0fff_fff4;
/// Largest FAT that we read into memory; 8 GiB at 512 bytes a cluster.
const MOST_FAT_BYTES: u64 = 64 << 20;

/// Holds where things are on a FAT32 volume with 512-byte sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub sectors: u32,
    pub reserved_sectors: u16,
    pub fat_copies: u8,
    pub fat_sectors: u32,
    pub sectors_per_cluster: u8,
    pub clusters: u32,
    pub root_cluster: u32,
    pub fs_info_sector: u16,
    pub backup_sector: u16,
}

impl Geometry {
    /// Divides a volume of `sectors` into FATs and clusters of 512 bytes.
    pub fn for_sectors(sectors: u64) -> Result<Geometry, FatError> {
        let behind = sectors.saturating_sub(u64::from(RESERVED_SECTORS));
        // A FAT sector serves 128 clusters, and both copies take two more sectors.
        let fat_sectors = (behind + u64::from(FIRST_CLUSTER)).div_ceil(130).next_multiple_of(4);
        let clusters = behind.saturating_sub(fat_sectors * u64::from(FAT_COPIES));
        if clusters < u64::from(LEAST_CLUSTERS) || clusters > u64::from(MOST_CLUSTERS) {
            return Err(FatError::ClusterCount { clusters });
        }
        Ok(Geometry {
            sectors: u32::try_from(sectors).map_err(|_| FatError::ClusterCount { clusters })?,
            reserved_sectors: RESERVED_SECTORS,
            fat_copies: FAT_COPIES,
            fat_sectors: fat_sectors as u32,
            sectors_per_cluster: 1,
            clusters: clusters as u32,
            root_cluster: FIRST_CLUSTER,
            fs_info_sector: 1,
            backup_sector: 6,
        })
    }

    /// Returns the geometry of the smallest volume of whole `unit_sectors` that has at least `clusters`.
    pub fn for_clusters(clusters: u64, unit_sectors: u64) -> Result<Geometry, FatError> {
        let clusters = clusters.max(u64::from(LEAST_CLUSTERS));
        if clusters > u64::from(MOST_CLUSTERS) {
            return Err(FatError::ClusterCount { clusters });
        }
        let mut sectors = (clusters + u64::from(RESERVED_SECTORS)).next_multiple_of(unit_sectors);
        loop {
            match Geometry::for_sectors(sectors) {
                Ok(geometry) if u64::from(geometry.clusters) >= clusters => return Ok(geometry),
                Err(error) if sectors > u64::from(MOST_CLUSTERS) => return Err(error),
                _ => sectors += unit_sectors,
            }
        }
    }

    pub fn size_bytes(&self) -> u64 {
        u64::from(self.sectors) * SECTOR_BYTES
    }

    pub fn cluster_bytes(&self) -> u64 {
        u64::from(self.sectors_per_cluster) * SECTOR_BYTES
    }

    /// Returns where FAT copy 0 or 1 begins, in bytes.
    pub fn fat_offset(&self, copy: u8) -> u64 {
        (u64::from(self.reserved_sectors) + u64::from(copy) * u64::from(self.fat_sectors)) * SECTOR_BYTES
    }

    /// Returns where a cluster begins, in bytes. `cluster` is 2 or more.
    pub fn cluster_offset(&self, cluster: u32) -> u64 {
        self.fat_offset(self.fat_copies) + u64::from(cluster - FIRST_CLUSTER) * self.cluster_bytes()
    }

    /// Returns the first number behind the clusters.
    pub fn cluster_end(&self) -> u32 {
        FIRST_CLUSTER + self.clusters
    }

    /// Writes the boot sector. `hidden_sectors` stand in front of the volume on its disk.
    pub(super) fn boot_sector(&self, id: u32, label: &[u8; 11], hidden_sectors: u32) -> [u8; 512] {
        let mut bytes = [0; 512];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"MKIMAGE ");
        put(11, &(SECTOR_BYTES as u16).to_le_bytes());
        put(13, &[self.sectors_per_cluster]);
        put(14, &self.reserved_sectors.to_le_bytes());
        put(16, &[self.fat_copies]);
        put(21, &[MEDIA]);
        put(24, &63u16.to_le_bytes());
        put(26, &255u16.to_le_bytes());
        put(28, &hidden_sectors.to_le_bytes());
        put(32, &self.sectors.to_le_bytes());
        put(36, &self.fat_sectors.to_le_bytes());
        put(44, &self.root_cluster.to_le_bytes());
        put(48, &self.fs_info_sector.to_le_bytes());
        put(50, &self.backup_sector.to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &id.to_le_bytes());
        put(71, label);
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        bytes
    }

    /// Reads a boot sector, which must be one of FAT32 with 512-byte sectors.
    pub fn parse(bytes: &[u8; 512]) -> Result<Geometry, FatError> {
        let demand = |field, found: u64, holds: bool| {
            if holds { Ok(()) } else { Err(FatError::BootSector { field, found }) }
        };
        let geometry = Geometry {
            sectors: u32_at(bytes, 32),
            reserved_sectors: u16_at(bytes, 14),
            fat_copies: bytes[16],
            fat_sectors: u32_at(bytes, 36),
            sectors_per_cluster: bytes[13],
            clusters: 0,
            root_cluster: u32_at(bytes, 44),
            fs_info_sector: u16_at(bytes, 48),
            backup_sector: u16_at(bytes, 50),
        };
        let g = &geometry;
        demand("its signature", u16_at(bytes, 510).into(), bytes[510..] == [0x55, 0xaa])?;
        demand("the sector size", u16_at(bytes, 11).into(), u16_at(bytes, 11) == 512)?;
        demand("sectors per cluster", bytes[13].into(), bytes[13].is_power_of_two())?;
        demand("reserved sectors", g.reserved_sectors.into(), g.reserved_sectors >= 8)?;
        demand("the number of FATs", bytes[16].into(), bytes[16] == FAT_COPIES)?;
        demand("the FAT16 root directory", u16_at(bytes, 17).into(), u16_at(bytes, 17) == 0)?;
        demand("the FAT16 size", u16_at(bytes, 19).into(), u16_at(bytes, 19) == 0)?;
        demand("the FAT16 FAT size", u16_at(bytes, 22).into(), u16_at(bytes, 22) == 0)?;
        demand("the FAT in use", u16_at(bytes, 40).into(), u16_at(bytes, 40) == 0)?;
        demand("the version", u16_at(bytes, 42).into(), u16_at(bytes, 42) == 0)?;
        let fat_bytes = u64::from(g.fat_sectors) * SECTOR_BYTES;
        demand("sectors of a FAT", g.fat_sectors.into(), (1..=MOST_FAT_BYTES).contains(&fat_bytes))?;
        geometry.with_clusters()
    }

    fn with_clusters(mut self) -> Result<Geometry, FatError> {
        let front =
            u64::from(self.reserved_sectors) + u64::from(self.fat_sectors) * u64::from(self.fat_copies);
        let behind = u64::from(self.sectors).saturating_sub(front);
        let clusters = behind / u64::from(self.sectors_per_cluster);
        let served = u64::from(self.fat_sectors) * u64::from(CLUSTERS_PER_FAT_SECTOR);
        if clusters < u64::from(LEAST_CLUSTERS) || clusters + u64::from(FIRST_CLUSTER) > served {
            return Err(FatError::ClusterCount { clusters });
        }
        self.clusters = clusters as u32;
        let demand = |field, found: u64, holds: bool| {
            if holds { Ok(()) } else { Err(FatError::BootSector { field, found }) }
        };
        let inside = |sector: u16| sector > 0 && sector < self.reserved_sectors;
        let root = self.root_cluster;
        demand("the root directory", root.into(), (FIRST_CLUSTER..self.cluster_end()).contains(&root))?;
        demand("the FSInfo sector", self.fs_info_sector.into(), inside(self.fs_info_sector))?;
        demand("the backup sector", self.backup_sector.into(), inside(self.backup_sector))?;
        Ok(self)
    }
}

/// Media byte of a fixed disk; it is also the low byte of FAT entry 0.
pub(super) const MEDIA: u8 = 0xf8;

/// Writes a boot sector as lines `offset field = value`.
pub(in crate::disk) fn dump_boot_sector(
    base: u64,
    bytes: &[u8; 512],
    line: &mut dyn FnMut(u64, &str, String),
) {
    let mut number = |at: usize, length: usize, field: &str| {
        let value = bytes[at..at + length].iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte));
        line(base + at as u64, field, value.to_string());
    };
    number(11, 2, "boot.bytes_per_sector");
    number(13, 1, "boot.sectors_per_cluster");
    number(14, 2, "boot.reserved_sectors");
    number(16, 1, "boot.fat_copies");
    number(28, 4, "boot.hidden_sectors");
    number(32, 4, "boot.sectors");
    number(36, 4, "boot.fat_sectors");
    number(44, 4, "boot.root_cluster");
    number(48, 2, "boot.fs_info_sector");
    number(50, 2, "boot.backup_sector");
    line(base + 67, "boot.volume_id", format!("{:08x}", u32_at(bytes, 67)));
    line(base + 71, "boot.label", format!("{:?}", String::from_utf8_lossy(&bytes[71..82])));
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_survives_its_boot_sector() {
        for sectors in [70_000, 131_072, 1 << 20, 16_000_001] {
            let geometry = Geometry::for_sectors(sectors).expect("fits");
            let bytes = geometry.boot_sector(1, b"LABEL      ", 2048);
            assert_eq!(Geometry::parse(&bytes).expect("parses"), geometry);
            assert!(geometry.cluster_offset(128 * 3).is_multiple_of(4096));
            let end = geometry.cluster_offset(geometry.cluster_end());
            assert_eq!(end, geometry.size_bytes());
        }
    }

    #[test]
    fn the_smallest_volume_has_clusters_enough_for_fat32() {
        assert!(matches!(Geometry::for_sectors(65_525), Err(FatError::ClusterCount { .. })));
        let smallest = Geometry::for_clusters(1, 2048).expect("fits");
        assert!(smallest.clusters >= LEAST_CLUSTERS);
        assert_eq!(smallest.size_bytes(), 33 << 20);
        assert!(Geometry::for_clusters(u64::MAX, 2048).is_err());
    }
}
