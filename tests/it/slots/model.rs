//! A model of what boots from a disk: firmware, systemd-boot 252, PID 1. It reads the disk with code of its own,
//! and takes from ours only the check of a verity tree (which `veritysetup` judges elsewhere).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;

use mkimage::base::Job;
use mkimage::boot::command_line::{self, VerityRoot};
use mkimage::boot::slots::record::{self, Record};
use mkimage::boot::uki;
use mkimage::disk::{BlockDevice, Window, verity};

pub const SECTOR: usize = 512;

/// A disk of which some sectors are others than in `base`.
pub struct State<'a> {
    pub base: &'a [u8],
    pub changed: BTreeMap<usize, [u8; SECTOR]>,
}

impl State<'_> {
    pub fn whole(base: &[u8]) -> State<'_> {
        State { base, changed: BTreeMap::new() }
    }

    fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_at(offset as u64, &mut bytes).expect("inside the disk");
        bytes
    }

    /// Returns the whole disk as it is then.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.base.to_vec();
        for (sector, new) in &self.changed {
            bytes[sector * SECTOR..][..SECTOR].copy_from_slice(new);
        }
        bytes
    }
}

impl BlockDevice for State<'_> {
    fn size(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (start, end) = (offset as usize, offset as usize + buffer.len());
        buffer.copy_from_slice(self.base.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        for (sector, new) in self.changed.range(start / SECTOR..end.div_ceil(SECTOR)) {
            let at = sector * SECTOR;
            let (from, to) = (at.max(start), (at + SECTOR).min(end));
            buffer[from - start..to - start].copy_from_slice(&new[from - at..to - at]);
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("the model only reads")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte))
}

/// What a version of the app is, for a machine: its kernel image, which names its root.
pub struct Version {
    pub uki: Vec<u8>,
    pub root: VerityRoot,
    /// Whether it comes up and stays healthy.
    pub is_good: bool,
}

impl Version {
    pub fn new(uki: Vec<u8>, is_good: bool) -> Version {
        let line = uki::read(&uki).expect("a UKI").command_line.to_owned();
        Version { root: command_line::parse(&line).expect("a root hash").verity, uki, is_good }
    }
}

/// What one boot comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// A version comes up from the partition that PID 1 found; `left` counts tries, before this one.
    Up { version: u32, partition: String, left: Option<u32> },
    /// The kernel starts, and finds no sound root: it panics and reboots.
    Panics { version: u32, left: Option<u32> },
    /// The loader can't start what it chose: the firmware's shell, until somebody comes.
    Hangs { entry: String, left: Option<u32> },
    /// The loader has nothing to start, or is not there itself.
    Nothing { why: String },
}

/// Where a machine ends that boots from a disk again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A good version runs.
    Runs(u32),
    /// A good version runs, after boots that were lost on a slot that was never whole.
    RunsAfterDetour(u32),
    /// Somebody has to come and press a key.
    Hangs,
    /// Nothing boots.
    Dead(String),
}

pub struct Model {
    pub versions: BTreeMap<u32, Version>,
    pub loader: Vec<u8>,
    /// The disk layout: 1 has systemd-boot, 2 our own loader.
    pub layout: u32,
}

struct Entry {
    name: String,
    left: Option<u32>,
    cluster: u32,
    size: usize,
}

/// The partitions of a disk by name: start and length in bytes.
fn partitions(disk: &State<'_>) -> BTreeMap<String, (usize, usize)> {
    let header = disk.bytes(SECTOR, SECTOR);
    assert_eq!(&header[..8], b"EFI PART");
    let entries = disk.bytes(number(&header, 72, 8) as usize * SECTOR, 128 * 128);
    let used = entries.chunks(128).filter(|entry| entry[..16] != [0; 16]);
    let read = |entry: &[u8]| {
        let units: Vec<u16> = entry[56..].chunks(2).map(|unit| number(unit, 0, 2) as u16).collect();
        let name = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
        let (first, last) = (number(entry, 32, 8) as usize, number(entry, 40, 8) as usize);
        (name, (first * SECTOR, (last + 1 - first) * SECTOR))
    };
    used.map(read).collect()
}

/// A FAT32 volume with clusters of one sector, as firmware reads it.
pub struct Fat<'a, 'b> {
    disk: &'a State<'b>,
    start: usize,
    reserved: usize,
    data: usize,
    root: u32,
}

impl<'a, 'b> Fat<'a, 'b> {
    pub fn open(disk: &'a State<'b>) -> Fat<'a, 'b> {
        let (start, _) = partitions(disk)["esp"];
        let boot = disk.bytes(start, SECTOR);
        assert_eq!((number(&boot, 11, 2), boot[13]), (512, 1));
        let reserved = number(&boot, 14, 2) as usize;
        let fats = boot[16] as usize * number(&boot, 36, 4) as usize;
        Fat { disk, start, reserved, data: reserved + fats, root: number(&boot, 44, 4) as u32 }
    }

    fn next(&self, cluster: u32) -> u32 {
        let entry = self.disk.bytes(self.start + self.reserved * SECTOR + cluster as usize * 4, 4);
        number(&entry, 0, 4) as u32 & 0x0fff_ffff
    }

    /// Returns where a cluster is on the disk.
    pub fn offset(&self, cluster: u32) -> usize {
        self.start + (self.data + cluster as usize - 2) * SECTOR
    }

    /// Reads a file by its chain; `None` where the chain is too short.
    fn file(&self, start: u32, size: usize) -> Option<Vec<u8>> {
        let (mut bytes, mut cluster) = (Vec::new(), start);
        while bytes.len() < size {
            if !(2..0x0fff_fff8).contains(&cluster) {
                return None;
            }
            bytes.extend(self.disk.bytes(self.offset(cluster), SECTOR));
            cluster = self.next(cluster);
        }
        bytes.truncate(size);
        Some(bytes)
    }

    /// Lists a directory: name, whether it is a directory, first cluster, size.
    fn list(&self, start: u32) -> Vec<(String, bool, u32, usize)> {
        let (mut found, mut long, mut cluster) = (Vec::new(), Vec::<(u8, Vec<u16>)>::new(), start);
        while (2..0x0fff_fff8).contains(&cluster) {
            for entry in self.disk.bytes(self.offset(cluster), SECTOR).chunks(32) {
                match (entry[0], entry[11]) {
                    (0, _) => return found,
                    (0xe5, _) => long.clear(),
                    (_, 0x0f) => {
                        let parts = entry[1..11]
                            .chunks(2)
                            .chain(entry[14..26].chunks(2))
                            .chain(entry[28..32].chunks(2));
                        long.push((entry[0] & 0x3f, parts.map(|unit| number(unit, 0, 2) as u16).collect()));
                    }
                    (_, attributes) if attributes & 8 != 0 => long.clear(),
                    (_, attributes) => {
                        let first = (number(entry, 20, 2) << 16 | number(entry, 26, 2)) as u32;
                        let name = entry_name(entry, std::mem::take(&mut long));
                        found.push((name, attributes & 0x10 != 0, first, number(entry, 28, 4) as usize));
                    }
                }
            }
            cluster = self.next(cluster);
        }
        found
    }

    /// Finds a directory by its path, in any case of letters.
    pub fn directory(&self, path: &[&str]) -> Option<u32> {
        path.iter().try_fold(self.root, |cluster, wanted| {
            let found = self.list(cluster).into_iter().find(|(name, ..)| name.eq_ignore_ascii_case(wanted));
            found.filter(|entry| entry.1).map(|entry| entry.2)
        })
    }
}

fn entry_name(entry: &[u8], mut long: Vec<(u8, Vec<u16>)>) -> String {
    long.sort();
    let units: Vec<u16> = long.into_iter().flat_map(|part| part.1).take_while(|&unit| unit != 0).collect();
    if !units.is_empty() {
        return String::from_utf16_lossy(&units);
    }
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_ascii_lowercase();
    match (part(&entry[..8]), part(&entry[8..11])) {
        (stem, end) if end.is_empty() => stem,
        (stem, end) => format!("{stem}.{end}"),
    }
}

/// Compares as `strverscmp_improved` does names without `~` and `^`: runs of digits as numbers.
fn compare_versions(one: &str, other: &str) -> Ordering {
    fn pieces(text: &str) -> Vec<&str> {
        let kind = |c: char| (c.is_ascii_digit(), c.is_ascii_alphabetic());
        let mut pieces = Vec::new();
        let mut start = 0;
        for (at, c) in text.char_indices().skip(1) {
            let before = text[..at].chars().next_back().expect("a character");
            if kind(c) != kind(before) || kind(c) == (false, false) {
                pieces.push(&text[start..at]);
                start = at;
            }
        }
        pieces.push(&text[start..]);
        pieces
    }
    let (one, other) = (pieces(one), pieces(other));
    for (a, b) in one.iter().zip(&other) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Greater,
            (Err(_), Ok(_)) => Ordering::Less,
            _ => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

impl Model {
    /// Says what the next boot comes to.
    pub fn boot(&self, disk: &State<'_>) -> Boot {
        let fat = Fat::open(disk);
        if let Err(why) = self.check_loader(&fat) {
            return Boot::Nothing { why };
        }
        if self.layout == 2 {
            return self.boot_by_records(disk);
        }
        let mut entries = self.entries(&fat);
        entries.sort_by(|one, other| {
            let failed = |entry: &Entry| entry.left == Some(0);
            failed(one).cmp(&failed(other)).then_with(|| compare_versions(&other.name, &one.name))
        });
        let Some(entry) = entries.into_iter().next() else {
            return Boot::Nothing { why: "the loader lists nothing".to_owned() };
        };
        let uki = fat.file(entry.cluster, entry.size);
        let known = self.versions.iter().find(|(_, version)| uki.as_ref() == Some(&version.uki));
        let Some((&version, known)) = known else {
            return Boot::Hangs { entry: entry.name, left: entry.left };
        };
        match self.root(disk, &known.root) {
            Some(partition) => Boot::Up { version, partition, left: entry.left },
            None => Boot::Panics { version, left: entry.left },
        }
    }

    /// Does what our own loader does: the slots in the order of the newest record, the first whose kernel image
    /// has its digest. A slot that gives way costs no boot.
    fn boot_by_records(&self, disk: &State<'_>) -> Boot {
        let (start, _) = partitions(disk)["esp"];
        let Some(record) = newest_record(disk) else {
            return Boot::Nothing { why: "no record and no seal is sound".to_owned() };
        };
        for attempt in record.attempts(true).into_iter().flatten() {
            let entry = &record.entries[attempt.slot];
            let uki = disk.bytes(start + entry.first_sector as usize * SECTOR, entry.size_bytes as usize);
            if blake3::hash(&uki).as_bytes() != &entry.digest {
                continue;
            }
            let known = self.versions.iter().find(|(_, version)| uki == version.uki);
            let left = match entry.state {
                record::State::Trial { left, .. } => Some(left),
                _ => None,
            };
            let Some((&version, known)) = known else {
                return Boot::Hangs { entry: format!("slot {}", attempt.slot), left };
            };
            return match self.root(disk, &known.root) {
                Some(partition) => Boot::Up { version, partition, left },
                None => Boot::Panics { version, left },
            };
        }
        Boot::Nothing { why: "no slot can be started".to_owned() }
    }

    fn check_loader(&self, fat: &Fat<'_, '_>) -> Result<(), String> {
        let folder = fat.directory(&["EFI", "BOOT"]).ok_or("there is no EFI/BOOT")?;
        let listed = fat.list(folder);
        let loader = listed.iter().find(|(name, ..)| name.eq_ignore_ascii_case("bootx64.efi"));
        let &(_, _, cluster, size) = loader.ok_or("there is no loader")?;
        match fat.file(cluster, size) {
            Some(bytes) if bytes == self.loader => Ok(()),
            _ => Err("the loader is damaged".to_owned()),
        }
    }

    /// Lists what systemd-boot lists: files `*.efi` that begin as programs do.
    fn entries(&self, fat: &Fat<'_, '_>) -> Vec<Entry> {
        let folder = fat.directory(&["EFI", "Linux"]).expect("EFI/Linux");
        let listed = fat.list(folder).into_iter().filter_map(|(name, is_directory, cluster, size)| {
            let name = name.to_ascii_lowercase();
            let stem = name.strip_suffix(".efi")?;
            if is_directory || size == 0 || fat.disk.bytes(fat.offset(cluster), 2) != b"MZ" {
                return None;
            }
            let left = stem.split_once('+').map(|(_, counters)| {
                let left = counters.split('-').next().expect("a counter");
                left.parse().expect("a number")
            });
            Some(Entry { name: name.clone(), left, cluster, size })
        });
        listed.collect()
    }

    /// Finds the partition that PID 1 takes, and tells whether all of it is sound.
    fn root(&self, disk: &State<'_>, root: &VerityRoot) -> Option<String> {
        let named = partitions(disk);
        ["slot-a", "slot-b"].into_iter().find_map(|name| {
            let (start, size) = named[name];
            let window = Window::new(disk, start as u64, size as u64).expect("inside");
            let offset = root.hash_start_block * 4096;
            let job = quiet();
            let sound = verity::verify(&window, root.data_blocks, offset, &root.salt, &root.root_hash, job);
            sound.is_ok().then(|| name.to_owned())
        })
    }

    /// Boots until a good version runs, or nothing moves any more. A boot of a slot on trial is counted first, as
    /// the loader does.
    pub fn end(&self, disk: &State<'_>) -> End {
        let mut disk = State { base: disk.base, changed: disk.changed.clone() };
        let mut detour = false;
        for _ in 0..20 {
            let left = match self.boot(&disk) {
                Boot::Nothing { why } => return End::Dead(why),
                Boot::Hangs { .. } => return End::Hangs,
                Boot::Up { version, .. } if self.versions[&version].is_good => {
                    return if detour { End::RunsAfterDetour(version) } else { End::Runs(version) };
                }
                Boot::Up { left, .. } => left,
                Boot::Panics { left, .. } => {
                    detour = true;
                    left
                }
            };
            match left {
                Some(1..) => {
                    for (sector, bytes) in count_down(&disk, self.layout) {
                        disk.changed.insert(sector, bytes);
                    }
                }
                _ => return End::Dead("a slot without tries fails for ever".to_owned()),
            }
        }
        End::Dead("it boots and boots".to_owned())
    }
}

fn quiet() -> &'static Job {
    static JOB: std::sync::OnceLock<Job> = std::sync::OnceLock::new();
    JOB.get_or_init(|| Job::quiet(1))
}

/// Returns what our own loader goes by.
fn newest_record(disk: &State<'_>) -> Option<Record> {
    let (start, _) = partitions(disk)["esp"];
    let sector = |number: u64| -> [u8; SECTOR] {
        disk.bytes(start + number as usize * SECTOR, SECTOR).try_into().expect("a sector")
    };
    let records = record::RECORD_SECTORS.map(|number| Record::decode(&sector(number)).ok());
    let seals = || record::SEAL_SECTORS.map(|number| record::decode_seal(&sector(number)).ok());
    Record::newest(records).or_else(|| Record::recovered(seals()))
}

/// Counts a try: returns the sectors that change.
pub fn count_down(disk: &State<'_>, layout: u32) -> Vec<(usize, [u8; SECTOR])> {
    if layout == 1 {
        return count_by_name(disk);
    }
    let record = newest_record(disk).expect("a record");
    let counts = record.attempts(true).into_iter().flatten().find(|attempt| attempt.counts);
    let counted = record.counted(counts.expect("a slot on trial").slot);
    let (start, _) = partitions(disk)["esp"];
    let place = start / SECTOR + record::RECORD_SECTORS[counted.place()] as usize;
    vec![(place, counted.encode())]
}

/// Counts a try as systemd-boot does through EDK2's FAT driver: the entry on trial gets a new name behind all
/// others, its old one is marked as deleted, and the directories above get a new time.
fn count_by_name(disk: &State<'_>) -> Vec<(usize, [u8; SECTOR])> {
    let fat = Fat::open(disk);
    let folder = fat.directory(&["EFI", "Linux"]).expect("EFI/Linux");
    let at = fat.offset(folder);
    let mut sector: [u8; SECTOR] = disk.bytes(at, SECTOR).try_into().expect("a sector");
    let on_trial = |name: &str| name.contains('+') && !name.contains("+0-");
    let listed = fat.list(folder).into_iter().filter(|(name, ..)| on_trial(name));
    let (name, _, cluster, _) =
        listed.max_by(|one, other| compare_versions(&one.0, &other.0)).expect("an entry on trial");
    let (stem, counters) = name.strip_suffix(".efi").and_then(|stem| stem.split_once('+')).expect("counters");
    let (left, done) = counters.split_once('-').expect("two counters");
    let count = |text: &str| text.parse::<u32>().expect("a number");
    let new = format!("{stem}+{}-{}.efi", count(left) - 1, count(done) + 1);
    rename(&mut sector, cluster, &new);
    let mut changes = vec![(at / SECTOR, sector)];
    for (path, child) in [(&["EFI"][..], folder), (&[][..], fat.directory(&["EFI"]).expect("EFI"))] {
        let above = fat.offset(fat.directory(path).expect("a directory"));
        let mut bytes: [u8; SECTOR] = disk.bytes(above, SECTOR).try_into().expect("a sector");
        for entry in
            bytes.chunks_mut(32).filter(|entry| entry[11] == 0x10 && number(entry, 26, 2) == u64::from(child))
        {
            entry[22] = entry[22].wrapping_add(1);
        }
        changes.push((above / SECTOR, bytes));
    }
    changes
}

/// Returns the cluster at which an entry's file begins.
fn start(entry: &[u8]) -> u64 {
    number(entry, 26, 2) | number(entry, 20, 2) << 16
}

fn rename(sector: &mut [u8; SECTOR], cluster: u32, name: &str) {
    let place = |entry: &[u8]| entry[0] != 0xe5 && entry[11] == 0x20 && start(entry) == u64::from(cluster);
    let old = sector.chunks(32).position(place).expect("the entry");
    let mut short: [u8; 32] = sector[old * 32..][..32].try_into().expect("an entry");
    let mut first = old;
    while first > 0 && sector[(first - 1) * 32 + 11] == 0x0f && sector[(first - 1) * 32] != 0xe5 {
        first -= 1;
    }
    (first..=old).for_each(|entry| sector[entry * 32] = 0xe5);
    let end = sector.chunks(32).position(|entry| entry[0] == 0).expect("room for a new name");
    // Firmware makes up a short name of its own.
    short[..11].copy_from_slice(b"G~FIRM~1EFI");
    let checksum = short[..11].iter().fold(0u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    let mut long = [0xffu8; 32];
    long[0] = 0x41;
    long[11..14].copy_from_slice(&[0x0f, 0, checksum]);
    long[26..28].fill(0);
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
    for (place, unit) in places.zip(name.encode_utf16().chain([0])) {
        long[place..place + 2].copy_from_slice(&unit.to_le_bytes());
    }
    assert!(name.len() <= 13, "one long entry holds {name}");
    sector[end * 32..][..32].copy_from_slice(&long);
    sector[(end + 1) * 32..][..32].copy_from_slice(&short);
}
