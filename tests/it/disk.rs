//! Tests of the room `disk`, and of the slot sector that lives on its ESP.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;

use mkimage::base::{Bytes, Digest};
use mkimage::boot::slots::{
    MOST_TRIES, Measured, Slot, SlotMap, SlotSector, SlotState, SlotTable, map_offset,
};
use mkimage::disk::esp::{EspLayout, EspMap, EspRequest, FIRST_FILE_CLUSTER};
use mkimage::disk::fat::{self, FatError, Geometry, Item, Stamp, Tree, Volume};
use mkimage::disk::gpt::{self, GptError, PartitionTable};
use mkimage::disk::layout::{self, Architecture, DiskLayout, DiskRequest, Role};
use mkimage::disk::{BlockDevice, FileDevice, MemoryDevice, Window, dump};

/// Runs a tool that judges our bytes. A tool that is missing fails the test: say which package has it.
fn run(package: &str, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = crate::tool::tool(program, arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()
        .unwrap_or_else(|error| panic!("{program} does not run ({error}): install {package}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn must(package: &str, program: &str, arguments: &[&str]) -> String {
    let (succeeded, text) = run(package, program, arguments);
    assert!(succeeded, "{program} {arguments:?}:\n{text}");
    text
}

/// Demands that fsck.fat finds nothing, and says nothing but its name and the count.
fn fsck_is_silent(path: &Path) {
    let text = must("dosfstools", "fsck.fat", &["-n", &path.to_string_lossy()]);
    assert_eq!(text.lines().count(), 2, "{text}");
}

fn new_file(path: &Path, size: u64) -> FileDevice {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("create");
    file.set_len(size).expect("set the length");
    FileDevice::new(file, size)
}

/// Random enough for tests, and the same in every run (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u8) -> Random {
        Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn range(&mut self, range: std::ops::Range<usize>) -> usize {
        range.start + (self.next() % (range.end - range.start) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        [0, 1, 0x10, 0x7f, 0xe5, 0xff, self.next() as u8, self.next() as u8][self.range(0..8)]
    }
}

fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

fn request() -> DiskRequest {
    DiskRequest {
        version: layout::VERSION,
        architecture: Architecture::X86_64,
        seed: Digest::of(b"a commit"),
        epoch_seconds: 1_700_000_001,
        loader_size: 120_000,
        uki_size: 300_000,
        uki_room: Some(Bytes::mib(1)),
        slot_content: Bytes::mib(4),
        slot_size: Some(Bytes::mib(8)),
        data_size: Bytes::mib(4),
    }
}

/// Writes the disk of a request, without file systems in its slots.
fn write_disk(layout: &DiskLayout, device: &dyn BlockDevice, loader: &[u8], uki: &[u8]) {
    layout.write_table(device).expect("write the table");
    let esp = layout.window(device, Role::Esp).expect("inside");
    layout.esp.write(&esp, loader, uki, &first_state(&layout.esp, uki)).expect("write the ESP");
}

fn first_sector(esp: &EspLayout, uki: &[u8]) -> SlotSector {
    let map = SlotMap::parse(esp.map_text()).expect("a map");
    SlotSector::first(map, uki.len() as u64).expect("fits")
}

/// Returns the sectors of a new image's slot state, in the form of the layout.
fn first_state(esp: &EspLayout, uki: &[u8]) -> Vec<(u64, [u8; 512])> {
    let map = SlotMap::parse(esp.map_text()).expect("a map");
    let measured = Measured::of(uki);
    SlotTable::first(map, measured).expect("fits").encode_new(measured)
}

fn small_disk(path: &Path) -> (DiskLayout, FileDevice) {
    let layout = layout::place(&request()).expect("places");
    let device = new_file(path, layout.size.0);
    write_disk(&layout, &device, &noise(120_000, 1), &noise(300_000, 2));
    (layout, device)
}

mod table {
    use super::*;

    #[test]
    fn other_tools_find_the_table_sound_and_read_the_same() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("disk.img");
        let (layout, device) = small_disk(&path);
        let name = path.to_string_lossy();
        let said = must("gdisk", "sgdisk", &["-v", &name]);
        assert!(said.contains("No problems found"), "{said}");
        let said = must("fdisk", "sfdisk", &["--verify", &name]);
        assert!(said.contains("No errors detected"), "{said}");

        let mut file = File::open(&path).expect("open");
        let read = gptman::GPT::read_from(&mut file, 512).expect("gptman reads it");
        assert_eq!(read.header.disk_guid, layout.table.disk.to_disk());
        for partition in &layout.table.partitions {
            let other = &read[partition.number];
            assert_eq!(other.partition_name.as_str(), partition.name);
            assert_eq!(other.partition_type_guid, partition.kind.to_disk());
            assert_eq!(other.unique_partition_guid, partition.id.to_disk());
            assert_eq!(other.starting_lba, partition.first_sector);
            assert_eq!(other.ending_lba, partition.first_sector + partition.sectors - 1);
            assert_eq!(other.attribute_bits, partition.attributes);
        }
        assert_eq!(gpt::read(&device).expect("we read it"), layout.table);
    }

    #[test]
    fn sgdisk_makes_the_same_bytes_but_for_chs() {
        let scratch = tempfile::tempdir().expect("scratch");
        let (ours, theirs) = (scratch.path().join("ours.img"), scratch.path().join("theirs.img"));
        let (layout, device) = small_disk(&ours);
        new_file(&theirs, layout.size.0);
        let mut arguments =
            vec!["--set-alignment=2048".to_owned(), format!("--disk-guid={}", layout.table.disk)];
        for partition in &layout.table.partitions {
            let number = partition.number;
            let last = partition.first_sector + partition.sectors - 1;
            arguments.push(format!("--new={number}:{}:{last}", partition.first_sector));
            arguments.push(format!("--typecode={number}:{}", partition.kind));
            arguments.push(format!("--partition-guid={number}:{}", partition.id));
            arguments.push(format!("--change-name={number}:{}", partition.name));
            for bit in (0..64).filter(|bit| partition.attributes >> bit & 1 == 1) {
                arguments.push(format!("--attributes={number}:set:{bit}"));
            }
        }
        arguments.push(theirs.to_string_lossy().into_owned());
        must("gdisk", "sgdisk", &arguments.iter().map(String::as_str).collect::<Vec<_>>());

        let ends = |device: &dyn BlockDevice| {
            let (mut front, mut back) = (vec![0; 34 * 512], vec![0; 33 * 512]);
            device.read_at(0, &mut front).expect("read");
            device.read_at(layout.size.0 - 33 * 512, &mut back).expect("read");
            [front, back].concat()
        };
        let file = File::open(&theirs).expect("open");
        let (ours, theirs) = (ends(&device), ends(&FileDevice::new(file, layout.size.0)));
        let differing: Vec<usize> = (0..ours.len()).filter(|&at| ours[at] != theirs[at]).collect();
        assert!(differing.iter().all(|at| (451..454).contains(at)), "bytes {differing:?} differ");
    }

    #[test]
    fn tables_that_do_not_fit_their_device_are_refused_before_a_byte() {
        let table = layout::place(&request()).expect("places").table;
        let device = MemoryDevice::new(1 << 20);
        assert!(matches!(gpt::write(&device, &table), Err(GptError::WrongDisk { found: 2048, .. })));
        let odd = MemoryDevice::new((1 << 20) + 1);
        assert!(matches!(gpt::write(&odd, &table), Err(GptError::DiskSize { .. })));
        let mut gap = PartitionTable { disk_sectors: 2048, ..table };
        gap.partitions.truncate(1);
        gap.partitions[0].number = 2;
        gap.partitions[0].sectors = 1;
        gap.partitions[0].first_sector = 40;
        assert!(matches!(gpt::write(&device, &gap), Err(GptError::Number { found: 2, expected: 1 })));
        assert!(device.into_bytes().iter().all(|&byte| byte == 0));
    }

    /// The front of a disk and, behind a gap that isn't kept, its back.
    struct Ends {
        bytes: Vec<u8>,
        size: u64,
    }

    const FRONT: usize = 34 * 512;

    impl BlockDevice for Ends {
        fn size(&self) -> u64 {
            self.size
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            let back = self.size - 33 * 512;
            for (byte, at) in buffer.iter_mut().zip(offset..) {
                *byte = match at {
                    at if at < FRONT as u64 => self.bytes[at as usize],
                    at if at >= back && at < self.size => self.bytes[FRONT + (at - back) as usize],
                    at if at < self.size => 0,
                    _ => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                };
            }
            Ok(())
        }
        fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn ends() -> (Ends, PartitionTable) {
        let layout = layout::place(&request()).expect("places");
        let device = MemoryDevice::new(layout.size.0);
        layout.write_table(&device).expect("write");
        let whole = device.into_bytes();
        let bytes = [&whole[..FRONT], &whole[whole.len() - 33 * 512..]].concat();
        (Ends { bytes, size: layout.size.0 }, layout.table)
    }

    /// Makes all checksums right again, so that what lies behind them is reached.
    fn seal(bytes: &mut [u8]) {
        let put = |bytes: &mut [u8], at: usize, sum: u32| {
            bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        };
        for (header, entries) in [(512, 1024), (FRONT + 32 * 512, FRONT)] {
            let sum = crc32fast::hash(&bytes[entries..entries + 128 * 128]);
            put(bytes, header + 88, sum);
            put(bytes, header + 16, 0);
            let sum = crc32fast::hash(&bytes[header..header + 92]);
            put(bytes, header + 16, sum);
        }
    }

    #[test]
    fn twenty_thousand_damaged_tables_are_errors_and_no_panic() {
        let (mut device, table) = ends();
        let sound = device.bytes.clone();
        let mut random = Random::new(7);
        let (mut refused, mut accepted) = (0, 0);
        for round in 0..20_000 {
            device.bytes.copy_from_slice(&sound);
            let places =
                [446..512, 512..604, 1024..1600, FRONT..FRONT + 600, FRONT + 32 * 512..FRONT + 32 * 512 + 92];
            for _ in 0..random.range(1..5) {
                let place = places[random.range(0..places.len())].clone();
                let at = random.range(place);
                device.bytes[at] = random.byte();
            }
            if round % 2 == 0 {
                seal(&mut device.bytes);
            }
            match gpt::read(&device) {
                Err(_) => refused += 1,
                Ok(read) => {
                    read.check().expect("what is read is sound");
                    accepted += 1;
                }
            }
        }
        assert!(refused > 15_000 && accepted > 10, "{refused} refused, {accepted} accepted");
        device.bytes.copy_from_slice(&sound);
        assert_eq!(gpt::read(&device).expect("sound"), table);
    }

    #[test]
    fn errors_name_the_copy_and_the_field() {
        let (mut device, _) = ends();
        let sound = device.bytes.clone();
        let mut error = |change: &dyn Fn(&mut [u8]), sealed: bool| {
            device.bytes.copy_from_slice(&sound);
            change(&mut device.bytes);
            if sealed {
                seal(&mut device.bytes);
            }
            gpt::read(&device).expect_err("refused").to_string()
        };
        assert!(error(&|bytes| bytes[510] = 0, false).contains("55 aa"));
        assert!(error(&|bytes| bytes[462 + 4] = 0x83, false).contains("more than one record"));
        assert!(
            error(&|bytes| bytes[1024] ^= 1, false).starts_with("the primary partition table is damaged")
        );
        assert!(
            error(&|bytes| bytes[FRONT] ^= 1, false).starts_with("the backup partition table is damaged")
        );
        assert!(error(&|bytes| bytes[512 + 56] ^= 1, true).contains("differ in the disk's GUID"));
        assert!(error(&|bytes| bytes[1024 + 56] = b'E', true).contains("differ in the entries' checksum"));
        assert!(error(&|bytes| bytes[512 + 84] = 0, true).contains("the size of its entries is 0x0"));
        assert!(error(&|bytes| bytes[512 + 300] = 1, true).contains("byte 300 behind the header"));
        let both = |bytes: &mut [u8], at: usize, value: u8| {
            (bytes[1024 + at], bytes[FRONT + at]) = (value, value);
        };
        assert!(error(&|bytes| both(bytes, 57, 0xd8), true).contains("no UTF-16"));
        assert!(error(&|bytes| both(bytes, 39, 0x80), true).contains("ends at sector"));
        assert!(error(&|bytes| both(bytes, 128 + 33, 0x09), true).contains("overlap"));
        assert!(error(&|bytes| both(bytes, 127, 1), true).contains("goes on behind its end"));
    }

    #[test]
    fn an_image_on_a_larger_disk_still_reads() {
        let layout = layout::place(&request()).expect("places");
        let device = MemoryDevice::new(layout.size.0);
        layout.write_table(&device).expect("write");
        let mut bytes = device.into_bytes();
        bytes.resize(bytes.len() + (1 << 20), 0);
        let larger = MemoryDevice::new(bytes.len() as u64);
        larger.write_at(0, &bytes).expect("copy");
        assert_eq!(gpt::read(&larger).expect("reads"), layout.table);
    }
}

mod volume {
    use super::*;

    fn file(path: &str, size_bytes: usize) -> Item {
        Item::File { path: path.to_owned(), size_bytes: size_bytes as u64 }
    }

    fn directory(path: &str) -> Item {
        Item::Directory { path: path.to_owned() }
    }

    fn volume(items: &[Item], epoch: u64) -> Volume {
        let tree = Tree::place(items, FIRST_FILE_CLUSTER).expect("places");
        Volume {
            geometry: Geometry::for_clusters(tree.end().into(), 2048).expect("fits"),
            tree,
            id: 0x1234_abcd,
            label: *b"NASTY TREE ",
            stamp: Stamp::from_epoch(epoch).expect("in range"),
            hidden_sectors: 0,
        }
    }

    /// The permanent fixture: sub-directories, 40 long names, 8.3 collisions, an empty file, odd sizes.
    fn nasty() -> (Vec<Item>, Vec<Vec<u8>>) {
        let mut items = vec![directory("EFI"), directory("EFI/a long directory name"), directory("EFI/x")];
        items.push(directory("EFI/x/deep"));
        items.push(directory("EFI/x/deep/deeper"));
        let mut files: Vec<(String, usize)> =
            (0..40).map(|n| (format!("EFI/x/a rather long file name, number {n:02}.text"), n * 37)).collect();
        for (name, size) in [
            ("EMPTY", 0),
            ("EFI/one", 1),
            ("EFI/sector", 512),
            ("EFI/sector and one", 513),
            ("EFI/collides.text", 10),
            ("EFI/COLLID~1.TEX", 11),
            ("EFI/collides.textile", 12),
            ("EFI/COLLID~2.TEX", 13),
            ("EFI/x/deep/deeper/g10+3-0.efi", 100_000),
            ("EFI/a long directory name/.dot", 5),
            ("EFI/a long directory name/thirteen chrs", 6),
            ("EFI/a long directory name/twenty-six characters long", 7),
            ("Grüße.txt", 8),
        ] {
            files.push((name.to_owned(), size));
        }
        let bytes: Vec<Vec<u8>> = files.iter().map(|(name, size)| noise(*size, name.len() as u8)).collect();
        items.extend(files.iter().map(|(name, size)| file(name, *size)));
        (items, bytes)
    }

    fn write_nasty(path: &Path) -> (Vec<Item>, Vec<Vec<u8>>, FileDevice) {
        let (items, bytes) = nasty();
        let volume = volume(&items, 1_700_000_001);
        let device = new_file(path, volume.geometry.size_bytes());
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        volume.write(&device, &slices).expect("write");
        (items, bytes, device)
    }

    fn file_items<'a>(items: &'a [Item], bytes: &'a [Vec<u8>]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let files = items.iter().filter(|item| matches!(item, Item::File { .. }));
        files.map(Item::path).zip(bytes.iter().map(Vec::as_slice))
    }

    #[test]
    fn other_tools_find_the_nasty_tree_clean_and_read_it_back() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("fat.img");
        let (items, bytes, _) = write_nasty(&path);
        fsck_is_silent(&path);

        let image = path.to_string_lossy().into_owned();
        let out = scratch.path().join("out");
        std::fs::create_dir(&out).expect("create");
        must("mtools", "mcopy", &["-s", "-n", "-i", &image, "::EFI", "::EMPTY", &out.to_string_lossy()]);
        for (name, bytes) in file_items(&items, &bytes).filter(|(name, _)| name.is_ascii()) {
            assert_eq!(std::fs::read(out.join(name)).expect(name), bytes, "{name}");
        }
        let listed = must("mtools", "mdir", &["-i", &image, "::EFI"]);
        assert!(listed.contains("COLLID~3 TEX") && listed.contains("collides.text"), "{listed}");
        assert!(listed.contains("2023-11-14  22:13"), "{listed}");
    }

    #[test]
    fn the_fatfs_crate_reads_the_nasty_tree() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("fat.img");
        let (items, bytes, _) = write_nasty(&path);
        let file = File::options().read(true).write(true).open(&path).expect("open");
        let options = fatfs::FsOptions::new().update_accessed_date(false);
        let system = fatfs::FileSystem::new(file, options).expect("fatfs mounts it");
        assert_eq!(system.volume_id(), 0x1234_abcd);
        assert_eq!(system.volume_label(), "NASTY TREE");
        for (name, bytes) in file_items(&items, &bytes) {
            let mut read = Vec::new();
            let mut file = system.root_dir().open_file(name).expect(name);
            std::io::Read::read_to_end(&mut file, &mut read).expect(name);
            assert_eq!(read, bytes, "{name}");
        }
    }

    #[test]
    fn our_reader_gives_what_our_writer_took() {
        let scratch = tempfile::tempdir().expect("scratch");
        let (items, bytes, device) = write_nasty(&scratch.path().join("fat.img"));
        let listing = fat::read(&device).expect("reads");
        assert_eq!(listing.label, "NASTY TREE");
        assert_eq!(listing.entries.len(), items.len());
        for (name, bytes) in file_items(&items, &bytes) {
            assert_eq!(fat::read_file(&device, &listing, name, 1 << 20).expect(name), bytes, "{name}");
            let extents = &listing.find(name).expect(name).extents;
            assert!(extents.len() <= 1 && extents.iter().all(|run| run.start_cluster >= FIRST_FILE_CLUSTER));
        }
        let missing = fat::read_file(&device, &listing, "EFI/x", 10).expect_err("a directory");
        assert!(matches!(missing, FatError::Missing { .. }));
    }

    #[test]
    fn our_reader_reads_what_others_wrote() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("theirs.img");
        new_file(&path, 300 << 20);
        let image = path.to_string_lossy().into_owned();
        must("dosfstools", "mkfs.vfat", &["-F", "32", "-s", "8", "-n", "OTHER", &image]);
        let source = scratch.path().join("a long file name.text");
        std::fs::write(&source, noise(10_000, 3)).expect("write");
        must("mtools", "mmd", &["-i", &image, "::sub", "::sub/Another One"]);
        for target in ["::", "::sub/lower.efi", "::sub/Another One/"] {
            must("mtools", "mcopy", &["-i", &image, &source.to_string_lossy(), target]);
        }
        must("mtools", "mdel", &["-i", &image, "::sub/lower.efi"]);
        let file = File::open(&path).expect("open");
        let device = FileDevice::new(file, 300 << 20);
        let listing = fat::read(&device).expect("reads");
        let paths: Vec<&str> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
        let expected =
            ["sub", "a long file name.text", "sub/Another One", "sub/Another One/a long file name.text"];
        assert_eq!(paths, expected);
        let bytes = fat::read_file(&device, &listing, expected[3], 10_000).expect("reads");
        assert_eq!(bytes, noise(10_000, 3));
    }

    /// Writes a volume with one file that is zero but for its last byte.
    fn write_large(path: &Path, size: usize) -> FileDevice {
        let volume = volume(&[file("LARGE", size)], 0);
        let device = new_file(path, volume.geometry.size_bytes());
        let mut bytes = vec![0; size];
        bytes[size - 1] = 7;
        volume.write(&device, &[&bytes]).expect("write");
        device
    }

    #[test]
    fn a_file_of_4_gib_is_refused() {
        let error = Tree::place(&[file("LARGER", 1 << 32)], 2).expect_err("refused");
        assert_eq!(error.to_string(), "LARGER is 4 GiB: a FAT file has at most 4294967295 bytes");
    }

    mod nightly {
        use super::*;

        #[test]
        #[ignore = "most of a minute: make nightly"]
        fn the_largest_file_fits() {
            let scratch = tempfile::tempdir().expect("scratch");
            let path = scratch.path().join("large.img");
            // fsck.fat 4.2 counts the bytes of a chain in 32 bits: one cluster less is all that it can judge.
            let device = write_large(&path, u32::MAX as usize - 511);
            let listing = fat::read(&device).expect("reads");
            assert_eq!(listing.entries[0].size_bytes, u32::MAX - 511);
            assert!(std::fs::metadata(&path).expect("there").blocks() * 512 < 80 << 20);
            fsck_is_silent(&path);
        }
    }

    #[test]
    fn only_what_is_used_is_written() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("fat.img");
        let (items, bytes, _) = write_nasty(&path);
        let used: usize = bytes.iter().map(Vec::len).sum();
        let allocated = std::fs::metadata(&path).expect("there").blocks() * 512;
        assert!(allocated < used as u64 + 100_000, "{allocated} for {used} in {} files", items.len());
    }

    #[test]
    fn what_does_not_fit_is_refused_before_a_byte() {
        let mut volume = volume(&[file("A", 5)], 0);
        let device = MemoryDevice::new(volume.geometry.size_bytes());
        for files in [vec![], vec![&b"four"[..]]] {
            assert!(matches!(volume.write(&device, &files), Err(FatError::WrongLength { .. })));
        }
        assert!(matches!(
            volume.write(&MemoryDevice::new(1 << 20), &[b"five!"]),
            Err(FatError::WrongDevice { .. })
        ));
        volume.tree = Tree::place(&[file("A", 40 << 20)], 2).expect("places");
        assert!(matches!(volume.write(&device, &[&vec![1; 40 << 20]]), Err(FatError::Full { .. })));
        assert!(device.into_bytes().iter().all(|&byte| byte == 0));
    }

    /// An image with a few bytes changed, without a copy of the whole.
    struct Changed<'a> {
        device: &'a MemoryDevice,
        changes: Vec<(u64, u8)>,
    }

    impl BlockDevice for Changed<'_> {
        fn size(&self) -> u64 {
            self.device.size()
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.device.read_at(offset, buffer)?;
            for &(at, byte) in &self.changes {
                if at >= offset && at < offset + buffer.len() as u64 {
                    buffer[(at - offset) as usize] = byte;
                }
            }
            Ok(())
        }
        fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::PermissionDenied.into())
        }
        fn flush(&self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn damaged_volumes_are_errors_and_no_panic() {
        let (items, bytes) = nasty();
        let volume = volume(&items, 0);
        let geometry = volume.geometry;
        let device = MemoryDevice::new(geometry.size_bytes());
        let slices: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        volume.write(&device, &slices).expect("write");
        let mut random = Random::new(9);
        let (fat, directories) = (geometry.fat_offset(0), geometry.cluster_offset(2));
        let second = geometry.fat_offset(1) - fat;
        let mut refused = 0;
        for _ in 0..2_000 {
            let mut changes = Vec::new();
            for _ in 0..random.range(1..4) {
                let byte = random.byte();
                match random.range(0..4) {
                    // Both copies of the boot sector, both FATs: else only their difference is found.
                    0 => {
                        let at = random.range(0..90) as u64;
                        changes.extend([(at, byte), (at + 6 * 512, byte)]);
                    }
                    1 => {
                        let at = fat + random.range(0..1200) as u64;
                        changes.extend([(at, byte), (at + second, byte)]);
                    }
                    _ => changes.push((directories + random.range(0..60 * 512) as u64, byte)),
                }
            }
            let changed = Changed { device: &device, changes };
            match fat::read(&changed) {
                Err(_) => refused += 1,
                Ok(listing) => {
                    for entry in listing.entries.iter().filter(|entry| !entry.is_directory) {
                        let _ = fat::read_file(&changed, &listing, &entry.path, 1 << 20);
                    }
                }
            }
        }
        assert!(refused > 800, "{refused} refused");
    }

    #[test]
    fn directories_in_directories_do_not_fill_the_memory_with_paths() {
        let name = "n".repeat(200);
        let nested = |depth: usize| {
            let items: Vec<Item> =
                (1..=depth).map(|depth| directory(&vec![&*name; depth].join("/"))).collect();
            let volume = volume(&items, 0);
            let device = MemoryDevice::new(volume.geometry.size_bytes());
            volume.write(&device, &[]).expect("write");
            fat::read(&device).map(|listing| listing.entries.len())
        };
        assert_eq!(nested(100).expect("100 levels are 1 MB of paths"), 100);
        let error = nested(450).expect_err("450 levels are 20 MB of paths").to_string();
        assert!(error.contains("paths of more than"), "{error}");
    }

    #[test]
    fn the_reader_says_what_is_wrong() {
        let volume = volume(&[directory("D"), file("D/A", 600), file("D/B", 600)], 0);
        let geometry = volume.geometry;
        let device = MemoryDevice::new(geometry.size_bytes());
        volume.write(&device, &[&[1; 600], &[2; 600]]).expect("write");
        let entry = |cluster: u32| geometry.fat_offset(0) + u64::from(cluster) * 4;
        let second = geometry.fat_offset(1) - geometry.fat_offset(0);
        let both = |at: u64, byte: u8| vec![(at, byte), (at + second, byte)];
        let directory = geometry.cluster_offset(3);
        for (changes, expected) in [
            (vec![(entry(131), 0)], "the FATs differ at cluster 131"),
            (both(entry(130), 130), "the chain of D/A meets another at cluster 130"),
            (both(entry(130), 133), "the chain of D/B meets another at cluster 133"),
            (both(entry(130), 0), "the chain of D/A leads to cluster 0"),
            (both(entry(200), 0xff), "cluster 200 belongs to no file"),
            (vec![(directory + 26, 9)], "D/. is missing, or leads to cluster 9, not 3"),
            (vec![(directory + 64 + 29, 9)], "D/A has 2392 bytes, which take 5 clusters, but a chain of 2"),
            (vec![(512 + 488, 1)], "FSInfo says"),
            (vec![(6 * 512 + 3, 1)], "the backup of the boot sector differs"),
        ] {
            let error = fat::read(&Changed { device: &device, changes }).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }
}

mod esp {
    use super::*;

    #[test]
    fn a_fresh_esp_is_clean_and_holds_what_was_given() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("disk.img");
        let (layout, device) = small_disk(&path);
        let esp = layout.window(&device, Role::Esp).expect("inside");
        check_clean(&esp, scratch.path());
        let image = format!("{}@@{}", path.display(), layout.partition(Role::Esp).offset());
        for (name, bytes) in [
            ("EFI/BOOT/BOOTX64.EFI", noise(120_000, 1)),
            ("EFI/Linux/g1.efi", noise(300_000, 2)),
            ("loader/loader.conf", b"timeout 0\neditor no\n".to_vec()),
            ("EFI/mkimage/layout", layout.esp.map_text().to_vec()),
        ] {
            let copy = scratch.path().join("copy");
            must("mtools", "mcopy", &["-n", "-i", &image, &format!("::{name}"), &copy.to_string_lossy()]);
            assert_eq!(std::fs::read(&copy).expect("copied"), bytes, "{name}");
        }
        let allocated = std::fs::metadata(&path).expect("there").blocks() * 512;
        assert!(allocated < 420_000 + 200_000, "{allocated}");
    }

    #[test]
    fn places_are_those_that_the_switch_needs() {
        let (layout, device) = disk_in_memory();
        let esp = layout.window(&device, Role::Esp).expect("inside");
        let listing = fat::read(&esp).expect("reads");
        assert!(listing.geometry.clusters >= 65_525);
        for entry in &listing.entries {
            let extent = entry.extents[0];
            assert_eq!(entry.extents.len(), 1, "{}", entry.path);
            assert_eq!(entry.is_directory, extent.end() <= FIRST_FILE_CLUSTER, "{}", entry.path);
        }
        let map = EspMap::read(&esp).expect("a map");
        assert_eq!(&map, layout.esp.map());
        for slot in &map.slots {
            assert!(slot.start_cluster.is_multiple_of(128) && slot.clusters.is_multiple_of(128));
            let offset = listing.geometry.cluster_offset(slot.start_cluster);
            assert!(offset.is_multiple_of(4096));
        }
        assert_eq!(listing.find("EFI/Linux").expect("there").extents[0].clusters, 1);
        assert_eq!(
            listing.find("EFI/Linux/g1.efi").expect("there").extents[0].start_cluster,
            map.slots[0].start_cluster
        );
        // Firmware that must allocate takes clusters behind the directories, not a slot's.
        let mut info = [0; 512];
        esp.read_at(512, &mut info).expect("read");
        assert_eq!(info[492], 8);
    }

    #[test]
    fn the_boot_room_finds_the_map_where_the_disk_room_put_it() {
        let (layout, device) = disk_in_memory();
        let esp = layout.window(&device, Role::Esp).expect("inside");
        let mut sector = [0; 512];
        esp.read_at(0, &mut sector).expect("read");
        let offset = map_offset(&sector).expect("an ESP of ours");
        esp.read_at(offset, &mut sector).expect("read");
        let map = SlotMap::parse(&sector).expect("a map");
        assert_eq!(map.directory_offset, layout.esp.map().directory_offset);
        assert_eq!(map.slots[1].start_cluster, layout.esp.map().slots[1].start_cluster);
        assert_eq!(map.slots[1].partition, "slot-b");
        let mut uki = [0; 512];
        esp.read_at(map.uki_offset(Slot::A), &mut uki).expect("read");
        assert_eq!(uki[..], noise(300_000, 2)[..512]);
    }

    fn disk_in_memory() -> (DiskLayout, MemoryDevice) {
        let layout = layout::place(&request()).expect("places");
        let device = MemoryDevice::new(layout.size.0);
        write_disk(&layout, &device, &noise(120_000, 1), &noise(300_000, 2));
        (layout, device)
    }

    /// Demands that fsck.fat and our reader find nothing.
    fn check_clean(esp: &dyn BlockDevice, scratch: &Path) {
        let path = scratch.join("esp.img");
        let copy = new_file(&path, esp.size());
        let mut bytes = vec![0; esp.size() as usize];
        esp.read_at(0, &mut bytes).expect("read");
        copy.write_at(0, &bytes).expect("write");
        fsck_is_silent(&path);
        fat::read(esp).expect("our reader finds it sound");
    }

    /// Runs one update of `slot` and hands every finished state to `check`.
    fn update(
        esp: &dyn BlockDevice,
        map: &EspMap,
        mut sector: SlotSector,
        slot: Slot,
        uki: &[u8],
        check: &mut dyn FnMut(&SlotSector),
    ) -> SlotSector {
        let commit = |next: SlotSector, check: &mut dyn FnMut(&SlotSector)| {
            esp.write_at(map.directory_offset, &next.encode()).expect("write");
            esp.flush().expect("flush");
            check(&next);
            next
        };
        sector = commit(sector.deactivate(slot).expect("the other is blessed"), check);
        map.write_uki(esp, slot.index(), uki).expect("fits");
        esp.flush().expect("flush");
        sector = commit(sector.trial(slot, uki.len() as u64, 3).expect("fits"), check);
        commit(sector.bless(slot).expect("on trial"), check)
    }

    #[test]
    fn every_finished_state_of_an_update_cycle_is_clean() {
        let scratch = tempfile::tempdir().expect("scratch");
        let (layout, device) = disk_in_memory();
        let esp = layout.window(&device, Role::Esp).expect("inside");
        let mut sector = first_sector(&layout.esp, &noise(300_000, 2));
        for (round, slot) in [Slot::B, Slot::A, Slot::B].into_iter().enumerate() {
            // Longer, shorter, as long as there is room.
            let uki = noise([700_000, 1000, 1 << 20][round], round as u8);
            let mut check = |_: &SlotSector| check_clean(&esp, scratch.path());
            sector = update(&esp, layout.esp.map(), sector, slot, &uki, &mut check);
            assert_eq!(sector.choose().map(|choice| choice.slot), Some(slot));
            let listing = fat::read(&esp).expect("reads");
            let name = format!("EFI/Linux/{}", sector.file_name(slot).expect("listed"));
            assert_eq!(fat::read_file(&esp, &listing, &name, 1 << 20).expect("reads"), uki);
        }
        let back = sector.rollback(Slot::A).expect("blessed");
        esp.write_at(layout.esp.map().directory_offset, &back.encode()).expect("write");
        check_clean(&esp, scratch.path());
        let tables = gpt::read(&device).expect("the table was not touched");
        assert_eq!(tables, layout.table);
    }

    #[test]
    fn ukis_without_room_are_refused_before_a_byte() {
        let (layout, device) = disk_in_memory();
        let esp = layout.window(&device, Role::Esp).expect("inside");
        for size in [0, (1 << 20) + 1] {
            let error = layout.esp.write_uki(&esp, 1, &vec![1; size]).expect_err("refused");
            assert!(matches!(error, FatError::Extent { clusters: 2048, .. }), "{error}");
        }
        let before = layout.esp.map().slots[1].extent();
        let mut bytes = vec![0; 1 << 20];
        let listing = fat::read(&esp).expect("reads");
        esp.read_at(listing.geometry.cluster_offset(before.start_cluster), &mut bytes).expect("read");
        assert!(bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn other_writers_renames_are_read() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("disk.img");
        let (layout, device) = small_disk(&path);
        let esp = layout.window(&device, Role::Esp).expect("inside");
        let map = layout.esp.map();
        layout.esp.write_uki(&esp, 1, &noise(5000, 4)).expect("fits");
        let sector = first_sector(&layout.esp, &noise(300_000, 2)).trial(Slot::B, 5000, 3).expect("fits");
        esp.write_at(map.directory_offset, &sector.encode()).expect("write");
        let image = format!("{}@@{}", path.display(), layout.partition(Role::Esp).offset());
        for (from, to) in [("g2+3-0.efi", "g2+2-1.efi"), ("g2+2-1.efi", "g2+1-2.efi")] {
            let from = format!("::EFI/Linux/{from}");
            must("mtools", "mren", &["-i", &image, &from, to]);
        }
        let mut bytes = [0; 512];
        esp.read_at(map.directory_offset, &mut bytes).expect("read");
        let read = SlotSector::decode(&bytes, sector.map()).expect("decodes");
        let expected = SlotState::Trial { generation: 2, left: 1, done: 2, size_bytes: 5000 };
        assert_eq!(read.state(Slot::B), expected);
        assert_eq!(read.state(Slot::A), sector.state(Slot::A));
    }

    /// A write: where, and what.
    type Write = (u64, Vec<u8>);

    /// Keeps every write in order; `None` is a flush.
    struct Recorder {
        log: Mutex<Vec<Option<Write>>>,
        now: MemoryDevice,
    }

    impl BlockDevice for Recorder {
        fn size(&self) -> u64 {
            self.now.size()
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
            self.now.read_at(offset, buffer)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.log.lock().expect("lock").push(Some((offset, bytes.to_vec())));
            self.now.write_at(offset, bytes)
        }
        fn flush(&self) -> std::io::Result<()> {
            self.log.lock().expect("lock").push(None);
            Ok(())
        }
    }

    /// Tells whether what boots next is whole: one of the known UKIs, all of it, by its chain.
    fn boots_something_whole(esp: &dyn BlockDevice, map: &SlotMap, known: &[&[u8]]) -> Result<Slot, String> {
        let mut boot = [0; 512];
        esp.read_at(0, &mut boot).expect("read");
        let geometry = Geometry::parse(&boot).expect("a boot sector");
        let mut bytes = [0; 512];
        esp.read_at(map.directory_offset, &mut bytes).expect("read");
        let sector = SlotSector::decode(&bytes, map).map_err(|error| error.to_string())?;
        let choice = sector.choose().ok_or("an empty menu")?;
        let size = sector.state(choice.slot).size_bytes() as usize;
        let mut cluster = map.slots[choice.slot.index()].start_cluster;
        let mut uki = Vec::new();
        while uki.len() < size {
            let mut data = [0; 512];
            if !(2..geometry.cluster_end()).contains(&cluster) {
                return Err(format!("the chain of {} is short", choice.slot));
            }
            esp.read_at(geometry.cluster_offset(cluster), &mut data).expect("read");
            uki.extend(data);
            let mut next = [0; 4];
            esp.read_at(geometry.fat_offset(0) + u64::from(cluster) * 4, &mut next).expect("read");
            cluster = u32::from_le_bytes(next);
        }
        uki.truncate(size);
        if known.contains(&uki.as_slice()) {
            Ok(choice.slot)
        } else {
            Err(format!("{} is torn", choice.slot))
        }
    }

    /// Cuts the power at many points of an update: flushed writes are there, of the others any subset of
    /// sectors. Returns how many states were seen and which of them don't boot.
    fn crash(honest: bool) -> (usize, Vec<String>) {
        let (layout, device) = disk_in_memory();
        let partition = layout.partition(Role::Esp);
        let esp = layout.window(&device, Role::Esp).expect("inside");
        let mut image = vec![0; partition.size().0 as usize];
        esp.read_at(0, &mut image).expect("read");
        let (old, new) = (noise(300_000, 2), noise(40_000, 5));
        let now = MemoryDevice::new(image.len() as u64);
        now.write_at(0, &image).expect("copy");
        let recorder = Recorder { log: Mutex::new(Vec::new()), now };
        let first = first_sector(&layout.esp, &old);
        let map = first.map().clone();
        update(&recorder, layout.esp.map(), first, Slot::B, &new, &mut |_| {});
        let mut log = recorder.log.into_inner().expect("lock");
        log.push(None);
        if !honest {
            log.retain(Option::is_some);
            log.push(None);
        }
        let state = MemoryDevice::new(image.len() as u64);
        state.write_at(0, &image).expect("copy");
        let mut random = Random::new(3);
        let (mut seen, mut broken) = (0, Vec::new());
        for epoch in log.split(Option::is_none) {
            let sectors: Vec<(u64, &[u8])> = epoch
                .iter()
                .flatten()
                .flat_map(|(offset, bytes)| (*offset..).step_by(512).zip(bytes.chunks(512)))
                .collect();
            let before: Vec<Vec<u8>> = sectors
                .iter()
                .map(|(offset, bytes)| {
                    let mut old = vec![0; bytes.len()];
                    state.read_at(*offset, &mut old).expect("read");
                    old
                })
                .collect();
            for round in 0..40usize {
                let landed: Vec<bool> = sectors.iter().map(|_| random.range(0..39) < round).collect();
                for ((offset, bytes), _) in sectors.iter().zip(&landed).filter(|(_, landed)| **landed) {
                    state.write_at(*offset, bytes).expect("write");
                }
                seen += 1;
                if let Err(problem) = boots_something_whole(&state, &map, &[&old, &new]) {
                    broken.push(problem);
                }
                for ((offset, _), old) in sectors.iter().zip(&before).rev() {
                    state.write_at(*offset, old).expect("write");
                }
            }
            for (offset, bytes) in &sectors {
                state.write_at(*offset, bytes).expect("write");
            }
        }
        (seen, broken)
    }

    #[test]
    fn power_may_fail_at_any_write_of_an_update() {
        let (seen, broken) = crash(true);
        assert!(seen > 100, "{seen}");
        assert_eq!(broken, Vec::<String>::new());
    }

    #[test]
    fn without_flushes_the_same_update_is_not_safe() {
        let (_, broken) = crash(false);
        assert!(!broken.is_empty(), "the model finds nothing, so it proves nothing");
    }

    #[test]
    fn the_same_request_gives_the_same_bytes() {
        let (_, one) = disk_in_memory();
        let (_, other) = disk_in_memory();
        assert!(one.into_bytes() == other.into_bytes());
    }

    #[test]
    fn an_esp_for_arm_has_its_loader() {
        let request = EspRequest {
            version: layout::VERSION,
            architecture: Architecture::Aarch64,
            loader_size: 5,
            uki_room: Bytes(1),
            epoch_seconds: 0,
            seed: Digest::of(b"arm"),
            first_sector: 2048,
            alignment: Bytes::mib(1),
        };
        let layout = request.place().expect("places");
        let device = MemoryDevice::new(layout.size().0);
        layout.write(&device, b"arm64", b"uki", &first_state(&layout, b"uki")).expect("write");
        let listing = fat::read(&device).expect("reads");
        let read = fat::read_file(&device, &listing, "EFI/BOOT/BOOTAA64.EFI", 5).expect("there");
        assert_eq!(read, b"arm64");
        assert_eq!(layout.map().slots[0].clusters, 128);
    }
}

mod whole {
    use super::*;

    #[test]
    fn the_dump_of_a_disk_is_as_it_was() {
        let (layout, device) = {
            let layout = layout::place(&request()).expect("places");
            let device = MemoryDevice::new(layout.size.0);
            write_disk(&layout, &device, &noise(120_000, 1), &noise(300_000, 2));
            (layout, device)
        };
        let esp = layout.window(&device, Role::Esp).expect("inside");
        layout.esp.write_uki(&esp, 1, &noise(5000, 4)).expect("fits");
        let sector = first_sector(&layout.esp, &noise(300_000, 2)).trial(Slot::B, 5000, 3).expect("fits");
        esp.write_at(layout.esp.map().directory_offset, &sector.encode()).expect("write");
        let text = dump::disk(&device).expect("dumps");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/disk/small.dump");
        if std::env::var_os("MKIMAGE_GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&path, &text).expect("write the golden text");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let differing = text.lines().zip(golden.lines()).find(|(new, old)| new != old);
        assert!(
            text == golden,
            "the layout changed: {differing:?}\nIf this is a new layout version, run with MKIMAGE_GOLDEN=write"
        );
    }

    #[test]
    fn windows_keep_partitions_apart() {
        let layout = layout::place(&request()).expect("places");
        let device = MemoryDevice::new(layout.size.0);
        for (role, byte) in Role::ALL.into_iter().zip(1u8..) {
            let window: Window<'_> = layout.window(&device, role).expect("inside");
            assert_eq!(window.size(), layout.partition(role).size().0);
            window.write_at(0, &vec![byte; window.size() as usize]).expect("write");
        }
        layout.write_table(&device).expect("write");
        for (role, byte) in Role::ALL.into_iter().zip(1u8..) {
            let window = layout.window(&device, role).expect("inside");
            let (mut first, mut last) = ([0], [0]);
            window.read_at(0, &mut first).expect("read");
            window.read_at(window.size() - 1, &mut last).expect("read");
            assert_eq!((first[0], last[0]), (byte, byte));
        }
        assert_eq!(gpt::read(&device).expect("reads"), layout.table);
    }

    #[test]
    #[ignore = "needs root and loop devices"]
    fn systemd_dissect_reads_a_disk_whose_second_slot_is_empty() {
        let scratch = tempfile::tempdir().expect("scratch");
        let path = scratch.path().join("disk.img");
        let (layout, _) = small_disk(&path);
        let offset = format!("offset={}", layout.partition(Role::SlotA).offset());
        must("e2fsprogs", "mkfs.ext4", &["-q", "-F", "-E", &offset, &path.to_string_lossy(), "8M"]);
        let said = must("systemd-container", "systemd-dissect", &["--no-pager", &path.to_string_lossy()]);
        let expected = [format!("root       {}", layout.partition(Role::SlotA).id), "esp ".to_owned()];
        assert!(expected.iter().all(|line| said.contains(line)), "{said}");
    }
}

mod firmware {
    use super::*;
    use crate::tool::guarded;
    use mkimage::base::Stopwatch;
    use std::process::{Child, Stdio};
    use std::time::Duration;

    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

    /// Makes a UKI that systemd-boot lists, with a kernel that doesn't load.
    fn dead_uki(scratch: &Path) -> Vec<u8> {
        let section = |name: &str, bytes: &[u8], at: &str| {
            let path = scratch.join(name);
            std::fs::write(&path, bytes).expect("write");
            [
                format!("--add-section=.{name}={}", path.display()),
                format!("--change-section-vma=.{name}={at}"),
            ]
        };
        let out = scratch.join("uki.efi").to_string_lossy().into_owned();
        let mut arguments = Vec::new();
        arguments.extend(section("osrel", b"NAME=test\nPRETTY_NAME=test\n", "0x20000"));
        arguments.extend(section("cmdline", b"quiet", "0x30000"));
        arguments.extend(section("linux", &[0xee; 5000], "0x2000000"));
        arguments.extend([STUB.to_owned(), out.clone()]);
        must("binutils", "objcopy", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        std::fs::read(out).expect("the UKI")
    }

    struct Machine(Child);

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn start(disk: &Path, variables: &Path) -> Machine {
        let pflash = |unit: u8, rest: &str| format!("if=pflash,format=raw,unit={unit},{rest}");
        let child = guarded("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg",
                "-m",
                "256",
                "-M",
                "q35",
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-drive", &pflash(0, "readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd")])
            .args(["-drive", &pflash(1, &format!("file={}", variables.display()))])
            .args(["-drive", &format!("if=none,id=d0,format=raw,cache=unsafe,file={}", disk.display())])
            .args(["-device", "virtio-blk-pci,drive=d0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Machine(child.expect("setpriv runs: install util-linux"))
    }

    /// Boots until firmware has written the sector, and returns what it says then.
    fn boot_once(disk: &Path, variables: &Path, esp: &dyn BlockDevice, before: &SlotSector) -> SlotSector {
        let machine = start(disk, variables);
        let started = Stopwatch::start();
        let mut sector = [0; 512];
        loop {
            esp.read_at(before.map().directory_offset, &mut sector).expect("read");
            let read = SlotSector::decode(&sector, before.map()).expect("we read what firmware wrote");
            if read != *before {
                drop(machine);
                return read;
            }
            assert!(started.elapsed() < Duration::from_secs(180), "firmware never chose the trial");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Boots a trial that can't start, with as many tries as boots.
    fn count_down(tries: u8, boots: u8) {
        let scratch = tempfile::tempdir().expect("scratch");
        let (disk, variables) = (scratch.path().join("disk.img"), scratch.path().join("variables.fd"));
        let loader = std::fs::read(LOADER).expect("systemd-boot is there: install systemd-boot-efi");
        std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).expect("OVMF is there: install ovmf");
        let uki = dead_uki(scratch.path());
        let (loader_size, uki_size) = (loader.len() as u64, uki.len() as u64);
        let layout = layout::place(&DiskRequest { loader_size, uki_size, ..request() }).expect("places");
        let device = new_file(&disk, layout.size.0);
        write_disk(&layout, &device, &loader, &uki);
        let esp = layout.window(&device, Role::Esp).expect("inside");
        layout.esp.write_uki(&esp, 1, &uki).expect("fits");
        let mut sector = first_sector(&layout.esp, &uki).trial(Slot::B, uki_size, tries).expect("fits");
        esp.write_at(layout.esp.map().directory_offset, &sector.encode()).expect("write");
        let size_bytes = uki_size as u32;
        for done in 1..=boots {
            assert_eq!(sector.choose().map(|choice| choice.slot), Some(Slot::B));
            sector = boot_once(&disk, &variables, &esp, &sector);
            let (left, done) = (u32::from(tries - done), u32::from(done));
            assert_eq!(sector.state(Slot::B), SlotState::Trial { generation: 2, left, done, size_bytes });
            assert_eq!(sector.state(Slot::A), SlotState::Blessed { generation: 1, size_bytes });
            let listing = fat::read(&esp).expect("firmware left the volume sound");
            assert_eq!(listing.find("EFI/Linux").expect("there").extents[0].clusters, 1);
        }
    }

    #[test]
    fn real_firmware_reads_the_esp_and_counts_a_trial_down_in_its_sector() {
        count_down(3, 1);
    }

    #[test]
    #[ignore = "takes half a minute: five boots"]
    fn five_tries_by_real_firmware_fit_into_the_sector() {
        count_down(super::MOST_TRIES, super::MOST_TRIES);
    }
}
