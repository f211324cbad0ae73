//! The EFI system partition: FAT32, the map, the slot sector.

use std::sync::{LazyLock, RwLock};

use mkimage::base::{Bytes, Digest};
use mkimage::boot::slots::{Measured, SlotError, SlotMap, SlotTable, map_offset};
use mkimage::disk::esp::{EspMap, EspRequest, FIRST_FILE_CLUSTER};
use mkimage::disk::fat::{self, CLUSTERS_PER_FAT_SECTOR, FIRST_CLUSTER};
use mkimage::disk::layout::Architecture;
use mkimage::disk::{BlockDevice, MemoryDevice};

use super::device::{Patched, patch, patch_seeds, patches};
use super::take;

pub const WORDS: &[&str] =
    &["\u{5}\0\0\0", "LOADER", ".          ", "\"layout\":1", "\"clusters\":0", "4294967295"];

struct Base {
    disk: Vec<u8>,
    /// Boot sector, FSInfo, first FAT, directories, map.
    places: Vec<u64>,
    fats: [u64; 2],
}

/// An ESP of each layout.
static BASES: LazyLock<[Base; 2]> = LazyLock::new(|| [1, 2].map(base));

fn base(version: u32) -> Base {
    let request = EspRequest {
        version,
        architecture: Architecture::X86_64,
        loader_size: 3000,
        uki_room: Bytes::mib(1),
        epoch_seconds: 1_700_000_000,
        seed: Digest::of(b"seed"),
        first_sector: 2048,
        alignment: Bytes::mib(1),
    };
    let layout = request.place().expect("fits");
    let device = MemoryDevice::new(layout.size().0);
    let map = SlotMap::parse(layout.map_text()).expect("a map");
    let uki = Measured::of(&[2; 5000]);
    let state = SlotTable::first(map, uki).expect("fits").encode_new(uki);
    layout.write(&device, &[1; 3000], &[2; 5000], &state).expect("written");
    let geometry = fat::read(&device).expect("sound").geometry;
    let fats = [geometry.fat_offset(0), geometry.fat_offset(1)];
    let clusters = [FIRST_CLUSTER, FIRST_FILE_CLUSTER].map(|cluster| geometry.cluster_offset(cluster));
    let far = fats[0] + 4 * u64::from(CLUSTERS_PER_FAT_SECTOR);
    let mut places = vec![0, 512, fats[0], far, clusters[0], clusters[1], layout.map().directory_offset];
    places.extend(layout.map().records.into_iter().flatten());
    Base { disk: device.into_bytes(), places, fats }
}

/// Reads a patched ESP as a volume, as a map and as a slot sector, and writes a UKI where its map says.
/// Both FATs and both boot sectors get the same patches, if the first byte says so; it names the layout too.
pub fn run(mut bytes: &[u8]) {
    let flags = take(&mut bytes, 1);
    let Base { disk, places, fats } = &BASES[usize::from(flags & 2 != 0)];
    let mut patches = patches(bytes, places);
    if flags & 1 != 0 {
        let copies: Vec<_> =
            patches.iter().filter_map(|(at, bytes)| Some((copy_of(*at, fats)?, bytes.clone()))).collect();
        patches.extend(copies);
    }
    let device = Patched { base: disk, patches: RwLock::new(patches) };
    if let Ok(listing) = fat::read(&device) {
        for entry in listing.entries.iter().filter(|entry| !entry.is_directory) {
            let read = fat::read_file(&device, &listing, &entry.path, 1 << 20);
            assert!(
                read.is_ok_and(|bytes| bytes.len() == entry.size_bytes as usize)
                    || entry.size_bytes > 1 << 20
            );
        }
    }
    slots(&device);
    if let Ok(map) = EspMap::read(&device) {
        for slot in [0, 1] {
            let _ = map.write_uki(&device, slot, &[3; 700]);
        }
    }
}

/// Returns where the second copy of a byte is.
fn copy_of(at: u64, fats: &[u64; 2]) -> Option<u64> {
    match at {
        0..512 => Some(6 * 512 + at),
        _ if (fats[0]..fats[1]).contains(&at) => Some(at - fats[0] + fats[1]),
        _ => None,
    }
}

/// Reads the slots as PID 1 does.
fn slots(device: &dyn BlockDevice) {
    let sector = |at: u64| {
        let mut bytes = [0; 512];
        device.read_at(at, &mut bytes).ok().map(|()| bytes)
    };
    let Ok(at) = map_offset(&sector(0).expect("the first sector")) else { return };
    let Some(Ok(map)) = sector(at).map(|text| SlotMap::parse(&text)) else { return };
    let _ = SlotTable::read(&map, |at| {
        let problem = "no sector is there".to_owned();
        sector(at).ok_or(SlotError::Records { problem })
    });
}

pub fn seeds() -> Vec<Vec<u8>> {
    let seeds_of = |flags: u8| {
        let places = BASES[usize::from(flags & 2 != 0)].places.len() as u8;
        patch_seeds(&[flags], places)
    };
    let mut seeds: Vec<_> = (0..4).flat_map(seeds_of).collect();
    // A chain that leads to itself, and one that leads out.
    seeds.push([vec![1], patch(2, 8, &2u32.to_le_bytes())].concat());
    seeds.push([vec![1], patch(2, 8, &u32::MAX.to_le_bytes()[..3])].concat());
    seeds
}
