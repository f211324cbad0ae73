//! Tests of the room `boot`: PE images, UKIs, the initrd and its modules. Boots are tested elsewhere.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use goblin::pe::PE;
use mkimage::base::{ImagePath, Job};
use mkimage::boot::cpio::CpioWriter;
use mkimage::boot::initrd::{self, InitrdParts};
use mkimage::boot::modules::{self, Modules};
use mkimage::boot::pe::{NewSection, PeImage, SectionKind, append_sections};
use mkimage::boot::service::Service;
use mkimage::boot::uki::{self, UkiParts};
use mkimage::boot::{BootError, UnknownModule};
use mkimage::tree::{ContentSink, DeviceKind, Directory, File, MemoryContents, Metadata, Node};
use proptest::prelude::*;

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path)
        .unwrap_or_else(|error| panic!("{path}: {error}: install the package systemd-boot-efi"))
}

/// Runs a program on input and returns what it says; both streams, so that warnings are seen.
fn run(program: &str, package: &str, arguments: &[&str], input: &[u8]) -> String {
    let child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{program}: {error}: install the package {package}"));
    child.stdin.take().expect("piped").write_all(input).expect("read by the program");
    let output = child.wait_with_output().expect("ended");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{program} fails: {text}");
    text
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

// PE images and UKIs

/// A UKI of the real stub, with another real UEFI program in the place of the kernel.
fn example(commit: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (stub, kernel) = (read(STUB), read(LOADER));
    let image = uki::build(&UkiParts {
        stub: &stub,
        os_release: &uki::os_release("hello", Some("1.0")),
        uname: "6.1.0-test",
        command_line: "console=ttyS0 quiet panic=-1",
        initrd: &[7; 5000],
        kernel: &kernel,
        commit,
        origin: b"the origin",
    });
    (image.expect("built"), kernel)
}

#[test]
fn a_uki_reads_back_as_it_was_written() {
    let (image, kernel) = example(b"the commit");
    let sections = uki::read(&image).expect("read");
    assert_eq!(sections.os_release, "NAME=\"hello\"\nPRETTY_NAME=\"hello 1.0\"\n");
    assert_eq!(sections.command_line, "console=ttyS0 quiet panic=-1");
    assert_eq!(sections.argument("console"), Some("ttyS0"));
    assert_eq!(sections.argument("quiet"), None);
    assert_eq!((sections.uname, sections.commit), ("6.1.0-test", &b"the commit"[..]));
    assert_eq!(sections.initrd, [7; 5000]);
    assert!(sections.kernel.starts_with(&kernel) && sections.kernel.len() < kernel.len() + 512);
    assert_eq!(example(b"the commit").0, image);
}

#[test]
fn an_independent_reader_finds_the_same_sections_and_no_overlap() {
    let (image, kernel) = example(b"c");
    let ours = PeImage::parse(&image).expect("read");
    let theirs = PE::parse(&image).expect("goblin reads it");
    assert_eq!(theirs.sections.len(), ours.sections.len());
    let mut memory_end = 0;
    let mut file_end = 0;
    for (a, b) in ours.sections.iter().zip(&theirs.sections) {
        assert_eq!(a.name, b.name().expect("a name"));
        assert_eq!((a.virtual_address, a.virtual_size), (b.virtual_address, b.virtual_size));
        assert_eq!((a.raw_offset, a.raw_size), (b.pointer_to_raw_data, b.size_of_raw_data));
        assert!(a.virtual_address >= memory_end && a.raw_offset >= file_end, "{a:?}");
        (memory_end, file_end) = (a.virtual_address + a.virtual_size, a.raw_offset + a.raw_size);
    }
    let header = theirs.header.optional_header.expect("an optional header").windows_fields;
    assert!(header.size_of_image >= memory_end && header.size_of_image.is_multiple_of(4096));
    assert_eq!((header.check_sum, theirs.header.coff_header.time_date_stamp), (0, 0));
    let last = ours.sections.last().expect("sections");
    assert_eq!(last.name, ".linux");
    assert!(last.virtual_size as usize >= kernel.len());
}

#[test]
fn objdump_reads_a_uki() {
    let (image, _) = example(b"c");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), image).expect("written");
    let text = run("objdump", "binutils", &["-h", &file.path().to_string_lossy()], b"");
    for name in [".osrel", ".cmdline", ".uname", ".mkimage", ".initrd", ".linux", ".sbat"] {
        assert!(text.contains(name), "{name} in {text}");
    }
}

#[test]
fn what_firmware_or_loader_would_misread_is_refused() {
    let (stub, kernel, long) = (read(STUB), read(LOADER), "x".repeat(3000));
    let mut arm = kernel.clone();
    let machine = u32::from_le_bytes(arm[0x3c..0x40].try_into().expect("four bytes")) as usize + 4;
    arm[machine..machine + 2].copy_from_slice(&0xaa64u16.to_le_bytes());
    let parts = UkiParts {
        stub: &stub,
        os_release: "NAME=a\nPRETTY_NAME=a\n",
        uname: "6",
        command_line: "quiet",
        initrd: b"",
        kernel: &kernel,
        commit: b"",
        origin: b"",
    };
    uki::build(&parts).expect("built");
    let refused = |parts: UkiParts<'_>| uki::build(&parts).expect_err("refused").to_string();
    let sorted = "NAME=a\nPRETTY_NAME=a\nVERSION_ID=2\n";
    assert!(refused(UkiParts { os_release: sorted, ..parts }).contains("VERSION_ID"));
    assert!(refused(UkiParts { os_release: "NAME=a\n", ..parts }).contains("no PRETTY_NAME"));
    assert!(refused(UkiParts { command_line: "a\nb", ..parts }).contains("must not hold"));
    assert!(refused(UkiParts { command_line: &long, ..parts }).contains("at most 2047"));
    assert!(refused(UkiParts { kernel: b"an ELF file", ..parts }).contains("MZ"));
    assert!(refused(UkiParts { kernel: &arm, ..parts }).contains("the kernel is for AArch64"));
    assert!(matches!(uki::read(&kernel), Err(BootError::NotOurs { section: ".mkimage" })));
}

#[test]
fn where_the_headers_are_full_everything_behind_them_moves() {
    let stub = read(STUB);
    let names: Vec<String> = (0..24).map(|index| format!(".s{index}")).collect();
    let contents: Vec<Vec<u8>> = (0..24).map(|index| vec![index; 100 * usize::from(index)]).collect();
    let new: Vec<NewSection<'_>> = names
        .iter()
        .zip(&contents)
        .map(|(name, contents)| NewSection { name, contents, memory_bytes_min: 0, kind: SectionKind::Data })
        .collect();
    let image = append_sections(&stub, &new).expect("appended");
    let (before, after) = (PeImage::parse(&stub).expect("read"), PeImage::parse(&image).expect("read"));
    assert_eq!(after.sections.len(), before.sections.len() + 24);
    for section in &before.sections {
        let moved = after.section(&section.name).expect("still there");
        assert!(moved.raw_offset > section.raw_offset);
        assert_eq!(moved.virtual_address, section.virtual_address);
        assert_eq!(after.contents(moved), before.contents(section));
    }
    for (section, contents) in new.iter().zip(&contents) {
        assert_eq!(after.contents(after.section(section.name).expect("there")), contents);
    }
    PE::parse(&image).expect("goblin reads it");
    let again = append_sections(&image, &new[..1]).expect_err("twice the same name");
    assert!(again.to_string().contains("there already"), "{again}");
}

#[test]
fn a_torn_image_is_an_error_wherever_it_is_torn() {
    let stub = read(STUB);
    let sections = PeImage::parse(&stub).expect("read").sections;
    let end = sections.iter().map(|section| section.raw_offset + section.raw_size).max().expect("sections");
    for length in (0..2048).chain((2048..end as usize).step_by(997)) {
        assert!(PeImage::parse(&stub[..length]).is_err(), "{length} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_headers_never_panic(
        damage in prop::collection::vec((0usize..1024, any::<u8>()), 1..8),
        extreme in prop::option::of((0usize..256, any::<bool>())),
    ) {
        let mut image = read(STUB);
        for (at, byte) in damage {
            image[at] = byte;
        }
        if let Some((at, high)) = extreme {
            image[at * 4..at * 4 + 4].fill(if high { 0xff } else { 0 });
        }
        if let Ok(pe) = PeImage::parse(&image) {
            for section in &pe.sections {
                let _ = pe.contents(section);
            }
        }
        let section =
            NewSection { name: ".new", contents: b"new", memory_bytes_min: 9, kind: SectionKind::Code };
        if let Ok(longer) = append_sections(&image, &[section]) {
            let pe = PeImage::parse(&longer).expect("what was appended to can be read");
            prop_assert!(pe.contents(pe.section(".new").expect("there")).starts_with(b"new"));
        }
    }
}

// The initrd

#[test]
fn cpio_lists_the_archive_as_it_was_written() {
    let mut cpio = CpioWriter::new(315_532_800);
    cpio.directory(&path("/dev"), 0o755).expect("added");
    cpio.device(&path("/dev/console"), 0o600, DeviceKind::Character, 5, 1).expect("added");
    cpio.device(&path("/dev/vda"), 0o660, DeviceKind::Block, 254, 16).expect("added");
    cpio.file(&path("/init"), 0o755, b"#!/bin/sh\n").expect("added");
    cpio.symlink(&path("/sh"), b"bin/sh").expect("added");
    let archive = cpio.finish();
    let listing = run("cpio", "cpio", &["-itv", "--numeric-uid-gid"], &archive);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = listing.lines().map(words).collect();
    assert_eq!(
        &lines[..5],
        [
            "drwxr-xr-x 2 0 0 0 Jan 1 1980 dev",
            "crw------- 1 0 0 5, 1 Jan 1 1980 dev/console",
            "brw-rw---- 1 0 0 254, 16 Jan 1 1980 dev/vda",
            "-rwxr-xr-x 1 0 0 10 Jan 1 1980 init",
            "lrwxrwxrwx 1 0 0 6 Jan 1 1980 sh -> bin/sh",
        ]
    );
    assert_eq!(lines.len(), 6, "the last line counts blocks, and nothing is warned of: {listing}");
}

#[test]
fn an_entry_without_a_directory_or_a_second_one_is_refused() {
    let mut cpio = CpioWriter::new(0);
    let refused = |result: Result<(), BootError>| result.expect_err("refused").to_string();
    assert!(refused(cpio.file(&path("/a/b"), 0o644, b"")).contains("no directory /a"));
    cpio.file(&path("/a"), 0o644, b"").expect("added");
    assert!(refused(cpio.directory(&path("/a"), 0o755)).contains("there already"));
    assert!(refused(cpio.file(&path("/a/b"), 0o644, b"")).contains("no directory /a"));
    assert!(refused(cpio.directory(&path("/"), 0o755)).contains("root"));
    assert!(refused(cpio.symlink(&path("/l"), b"")).contains("target"));
}

#[test]
fn the_initrd_is_a_zstd_frame_of_all_that_pid_1_needs() {
    let service = Service {
        name: "hello".into(),
        version: None,
        init: None,
        agent: None,
        health: None,
        app: None,
        data_path: "/data".into(),
        watchdog_seconds: 30,
    };
    let found = find(&tree(&[("a", "b", ""), ("b", "", "")], ""), &["a"]).expect("found");
    let parts = InitrdParts { init: b"\x7fELF", service: &service, modules: &found.modules, epoch: 0 };
    let first = initrd::build(&parts, &Job::quiet(1)).expect("built");
    assert_eq!(first.bytes, initrd::build(&parts, &Job::quiet(2)).expect("built").bytes);
    let archive = run_bytes("zstd", &["-dc"], &first.bytes);
    assert_eq!(archive.len() as u64, first.unpacked_bytes);
    let names = run("cpio", "cpio", &["-it", "--quiet"], &archive);
    let names: Vec<&str> = names.lines().collect();
    let modules = names.iter().copied().filter(|name| name.ends_with(".ko")).collect::<Vec<_>>();
    assert_eq!(modules, ["modules/00-b.ko", "modules/01-a.ko"]);
    for name in ["init", "service.json", "dev/console", "proc", "sys", "run", "tmp"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let json = run("cpio", "cpio", &["-i", "--quiet", "--to-stdout", "service.json"], &archive);
    assert_eq!(serde_json::from_str::<Service>(&json).expect("a service"), service);
}

fn run_bytes(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(input).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    let output = Command::new(program).args(arguments).stdin(file).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: install the package {program}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

// Kernel modules

const VERSION: &str = "6.1.0-test";

/// Makes the least ELF object that is a module: a null section, the names, and `.modinfo`.
fn module(name: &str, depends: &str, version: &str) -> Vec<u8> {
    let info = format!("license=GPL\0depends={depends}\0name={name}\0vermagic={version} SMP mod_unload \0");
    let names = b"\0.shstrtab\0.modinfo\0";
    let mut elf = vec![0u8; 64];
    elf[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf[16..20].copy_from_slice(&[1, 0, 62, 0]);
    elf[40..48].copy_from_slice(&64u64.to_le_bytes());
    elf[58..64].copy_from_slice(&[64, 0, 3, 0, 1, 0]);
    let mut offset = 64 + 3 * 64;
    elf.extend_from_slice(&[0; 64]);
    for (name_offset, length) in [(1u32, names.len()), (11, info.len())] {
        let mut header = [0u8; 64];
        header[..4].copy_from_slice(&name_offset.to_le_bytes());
        header[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
        header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
        elf.extend_from_slice(&header);
        offset += length;
    }
    elf.extend_from_slice(names);
    elf.extend_from_slice(info.as_bytes());
    elf
}

struct Kernel {
    root: Directory,
    contents: MemoryContents,
}

impl Kernel {
    fn put(&mut self, at: &str, bytes: &[u8]) {
        let content = self.contents.put(bytes).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o644), content });
        self.root.insert(&path(at), file).expect("inserted");
    }
}

/// Makes a kernel's tree: modules as (name, depends, ending of a compression), and what is built in.
fn tree(all: &[(&str, &str, &str)], builtin: &str) -> Kernel {
    let mut kernel = Kernel { root: Directory::default(), contents: MemoryContents::default() };
    let folder = format!("/usr/lib/modules/{VERSION}");
    for (name, depends, ending) in all {
        let plain = module(&name.replace('-', "_"), depends, VERSION);
        let packed = match *ending {
            ".xz" => run_bytes("xz", &["-c"], &plain),
            ".zst" => run_bytes("zstd", &["-c"], &plain),
            ".gz" => run_bytes("gzip", &["-c"], &plain),
            _ => plain,
        };
        kernel.put(&format!("{folder}/kernel/drivers/{name}.ko{ending}"), &packed);
    }
    kernel.put(&format!("{folder}/modules.builtin"), builtin.as_bytes());
    kernel
}

fn find(kernel: &Kernel, names: &[&str]) -> Result<Modules, BootError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    modules::find(&kernel.root, &kernel.contents, &names, &Job::quiet(1))
}

fn found(kernel: &Kernel, names: &[&str]) -> String {
    let modules = find(kernel, names).expect("found").modules;
    modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn modules_come_behind_what_they_depend_on_and_once() {
    let kernel = tree(
        &[
            ("virtio_net", "net_failover,virtio", ""),
            ("virtio-rng", "virtio", ""),
            ("net_failover", "failover", ".xz"),
            ("failover", "", ".zst"),
            ("virtio", "virtio-ring", ".gz"),
            ("virtio_ring", "", ""),
            ("unasked", "", ""),
        ],
        "kernel/fs/ext4/ext4.ko\nkernel/crypto/sha256-generic.ko\n",
    );
    assert_eq!(
        found(&kernel, &["virtio-net", "virtio_rng"]),
        "failover net_failover virtio_ring virtio virtio_net virtio_rng"
    );
    assert_eq!(found(&kernel, &["virtio_rng", "virtio", "virtio-rng"]), "virtio_ring virtio virtio_rng");
    assert_eq!(found(&kernel, &["ext4", "sha256_generic"]), "");
    let found = find(&kernel, &["net_failover"]).expect("found");
    assert_eq!(found.version, VERSION);
    for unpacked in &found.modules {
        assert!(unpacked.bytes.starts_with(b"\x7fELF"), "{}", unpacked.path);
    }
}

#[test]
fn every_unknown_module_is_named_with_what_was_meant() {
    let kernel = tree(&[("virtio_blk", "", ""), ("broken", "gone", "")], "kernel/fs/ext4.ko\n");
    let error = find(&kernel, &["virtio-bulk", "ext3", "broken", "zzz"]).expect_err("unknown");
    let BootError::UnknownModules { modules, version } = &error else { panic!("{error}") };
    let expected = |name: &str, needed_by: Option<&str>, similar: &[&str]| UnknownModule {
        name: name.into(),
        needed_by: needed_by.map(str::to_owned),
        similar: similar.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(version, VERSION);
    assert_eq!(
        modules,
        &[
            expected("virtio_bulk", None, &["virtio_blk"]),
            expected("ext3", None, &["ext4"]),
            expected("gone", Some("broken"), &[]),
            expected("zzz", None, &[]),
        ]
    );
    assert!(error.to_string().contains("did you mean virtio_blk?"), "{error}");
}

#[test]
fn modules_that_lie_are_refused() {
    let folder = format!("/usr/lib/modules/{VERSION}");
    let mut cases: BTreeMap<&str, (Vec<u8>, &str)> = BTreeMap::from([
        ("/m.ko", (module("other", "", VERSION), "its name is \"other\"")),
        ("/n.ko", (module("n", "", "5.10.0"), "for kernel 5.10.0")),
        ("/o.ko", (b"no module".to_vec(), "no 64-bit")),
        ("/p.ko.xz", (b"no xz".to_vec(), "p.ko.xz")),
    ]);
    let torn = module("q", "", VERSION);
    cases.insert("/q.ko", (torn[..torn.len() - 1].to_vec(), "passes the end"));
    for (name, (bytes, expected)) in cases {
        let mut kernel = tree(&[], "");
        kernel.put(&format!("{folder}{name}"), &bytes);
        let error = find(&kernel, &[&name[1..2]]).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let circle = tree(&[("a", "b", ""), ("b", "c", ""), ("c", "b", "")], "");
    let error = find(&circle, &["a"]).expect_err("a circle").to_string();
    assert!(error.contains("b → c → b"), "{error}");
}

#[test]
fn a_compressed_module_that_grows_without_end_is_refused() {
    let mut kernel = tree(&[], "");
    let zeros = run_bytes("zstd", &["-c"], &vec![0; 65 << 20]);
    kernel.put(&format!("/usr/lib/modules/{VERSION}/bomb.ko.zst"), &zeros);
    let error = find(&kernel, &["bomb"]).expect_err("refused").to_string();
    assert!(error.contains("more than 67108864 bytes"), "{error}");
}

#[test]
fn a_chain_of_dependencies_may_be_long() {
    let names: Vec<String> = (0..2000).map(|index| format!("m{index}")).collect();
    let depends: Vec<String> = (1..=2000).map(|index| format!("m{index}")).collect();
    let mut all: Vec<(&str, &str, &str)> =
        names.iter().zip(&depends).map(|(name, depends)| (name.as_str(), depends.as_str(), "")).collect();
    all[1999].1 = "";
    assert_eq!(find(&tree(&all, ""), &["m0"]).expect("found").modules.len(), 2000);
}

#[test]
fn there_must_be_one_kernel() {
    let empty = Kernel { root: Directory::default(), contents: MemoryContents::default() };
    assert!(find(&empty, &[]).expect_err("none").to_string().contains("no kernel"));
    let mut two = tree(&[], "");
    two.put("/lib/modules/5.10.0/modules.builtin", b"");
    let error = find(&two, &[]).expect_err("two").to_string();
    assert!(error.contains("6.1.0-test, 5.10.0"), "{error}");
    assert_eq!(modules::kernel_version(&tree(&[], "").root).expect("one"), VERSION);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_modules_never_panic(damage in prop::collection::vec((0usize..256, any::<u8>()), 1..6), cut in 0usize..400) {
        let mut bytes = module("m", "a,b", VERSION);
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().max(cut) - cut.min(bytes.len()));
        let _ = mkimage::boot::parse_module_info(&bytes);
    }
}
