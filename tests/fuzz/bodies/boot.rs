//! What firmware, loader and PID 1 read: slots, PE images, modules, the command line.

use mkimage::base::ImagePath;
use mkimage::boot::command_line::{self, VerityRoot};
use mkimage::boot::pe::{NewSection, PeImage, SectionKind, append_sections};
use mkimage::boot::slots::{EntryName, Slot, SlotMap, SlotSector, map_offset};
use mkimage::boot::uki::{self, UkiParts};
use mkimage::boot::{modules, parse_module_info};
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node};

use super::{JOB, build, take};

pub const WORDS: &[&str] = &[
    "g1.efi",
    "g9999+3-0.efi",
    "inactive.bin",
    "\"layout\":1",
    "18446744073709551615",
    "4294967295",
    ".linux",
    ".osrel",
    ".cmdline",
    "depends=",
    "name=",
    "vermagic=",
    "mkimage.verity=",
    "mkimage.wait=",
    "mkimage.env.A=",
    "\"",
    " ",
    "-:",
    ":1:1",
    "io.systemd.credential:",
    "io.systemd.credential.binary:",
    "mkimage.env.",
    "LD_PRELOAD=",
    "====",
    "PE\0\0",
];

const MAP: &str = r#"{"layout":1,"data_offset":550912,"directory_offset":552448,"directory_cluster":5,"parent_cluster":3,
"date":22382,"time":1234,"slots":[{"partition":"slot-a","start_cluster":256,"clusters":2048},
{"partition":"slot-b","start_cluster":2304,"clusters":2048}]}"#;

/// Reads a map and a sector, parted by the first NUL, and changes the slots in every way. Every state comes
/// back from its sector.
pub fn slots(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let mut sector = [0; 512];
    let rest = rest.get(1..).unwrap_or_default();
    let length = rest.len().min(512);
    sector[..length].copy_from_slice(&rest[..length]);
    let _ = map_offset(&sector);
    let map = match SlotMap::parse(text) {
        Ok(map) => map,
        Err(_) => SlotMap::parse(MAP.as_bytes()).expect("a map"),
    };
    for slot in Slot::BOTH {
        assert!(map.uki_offset(slot).checked_add(map.room(slot)).is_some());
    }
    let Ok(state) = SlotSector::decode(&sector, &map) else { return };
    let mut states = vec![state.clone()];
    for slot in Slot::BOTH {
        states.extend(state.deactivate(slot).and_then(|state| state.trial(slot, 1000, 3)));
        states
            .extend([state.deactivate(slot), state.bless(slot), state.rollback(slot)].into_iter().flatten());
    }
    for state in states {
        let _ = state.choose();
        assert_eq!(SlotSector::decode(&state.encode(), &map).as_ref(), Ok(&state));
        for slot in Slot::BOTH {
            let name = state.file_name(slot);
            let generation = name.as_deref().and_then(EntryName::parse).and_then(EntryName::generation);
            assert_eq!(generation, state.state(slot).generation(), "{name:?}");
        }
    }
}

pub fn slots_seeds() -> Vec<Vec<u8>> {
    let map = SlotMap::parse(MAP.as_bytes()).expect("a map");
    let first = SlotSector::first(map, 5000).expect("fits");
    let second = first.trial(Slot::B, 7000, 3).expect("fits");
    let third = second.bless(Slot::B).and_then(|state| state.deactivate(Slot::A)).expect("allowed");
    let with = |map: &str, state: &SlotSector| [map.as_bytes(), b"\0", &state.encode()].concat();
    let far = MAP.replace("550912", "18446744073709551000").replace("552448", "18446744073709552536");
    let edge = MAP.replace("550912", "18446744073709000000").replace("552448", "18446744073709001536");
    vec![with(MAP, &first), with(MAP, &second), with(MAP, &third), with(&far, &first), with(&edge, &first)]
}

/// Reads an image, reads it as a UKI, appends sections to it, and builds a UKI on it. What was appended is
/// there, and what was there still is.
pub fn pe(bytes: &[u8]) {
    let _ = uki::read(bytes);
    let Ok(image) = PeImage::parse(bytes) else { return };
    for section in &image.sections {
        assert!(image.contents(section).len() <= bytes.len());
    }
    let added =
        NewSection { name: ".added", contents: b"new", memory_bytes_min: 9000, kind: SectionKind::Data };
    if let Ok(longer) = append_sections(bytes, &[added]) {
        assert!(longer.len() < bytes.len() + (1 << 18), "{} bytes became {}", bytes.len(), longer.len());
        let again = PeImage::parse(&longer).expect("what was written can be read");
        assert_eq!(again.sections.len(), image.sections.len() + 1);
        for (old, new) in image.sections.iter().zip(&again.sections) {
            assert_eq!((&old.name, image.contents(old)), (&new.name, again.contents(new)));
        }
        let new = again.section(".added").expect("the section");
        assert!(again.contents(new).starts_with(b"new"));
    }
    let parts = UkiParts {
        stub: bytes,
        os_release: "NAME=\"a\"\nPRETTY_NAME=\"a\"\n",
        uname: "6.1",
        command_line: "quiet",
        initrd: b"initrd",
        kernel: bytes,
        commit: b"commit",
        origin: b"",
    };
    if let Ok(image) = uki::build(&parts) {
        let read = uki::read(&image).expect("what was built can be read");
        assert_eq!((read.command_line, read.commit, read.initrd), ("quiet", &b"commit"[..], &b"initrd"[..]));
        assert!(read.kernel.starts_with(bytes));
    }
}

pub fn pe_seeds() -> Vec<Vec<u8>> {
    let stub = build::pe(&[(".text", b"code"), (".data", b"data")], 1024);
    let parts = UkiParts {
        stub: &stub,
        os_release: "NAME=\"a\"\nPRETTY_NAME=\"a\"\n",
        uname: "6.1",
        command_line: "quiet",
        initrd: b"i",
        kernel: &stub,
        commit: b"c",
        origin: b"",
    };
    let uki = uki::build(&parts).expect("built");
    // A section that lies among the headers.
    let mut among = stub.clone();
    among[328 + 20..328 + 24].fill(0);
    vec![build::pe(&[(".text", b"code")], 512), build::pe(&[], 512), stub.clone(), uki, among]
}

/// Reads a module plain, and finds it in a tree under a name that says how it is packed.
pub fn module(mut bytes: &[u8]) {
    let suffix = ["", ".xz", ".zst", ".gz"][take(&mut bytes, 1) as usize % 4];
    let _ = parse_module_info(bytes);
    let contents = MemoryContents::default();
    let content = contents.put(bytes).expect("put");
    let mut root = Directory::default();
    let mut put = |path: String, node: Node| {
        root.insert(&ImagePath::new(path.as_bytes()).expect("a path"), node).expect("a free path");
    };
    put(
        format!("/lib/modules/6.1/a.ko{suffix}"),
        Node::File(File { metadata: Metadata::root(0o644), content }),
    );
    put(
        "/lib/modules/6.1/modules.builtin".to_owned(),
        Node::File(File { metadata: Metadata::root(0o644), content }),
    );
    let _ = modules::find(&root, &contents, &["a".to_owned(), "b".to_owned()], &JOB);
}

pub fn module_seeds() -> Vec<Vec<u8>> {
    let info = b"license=GPL\0name=a\0depends=b-c,d\0vermagic=6.1 SMP mod_unload \0";
    let module = build::module(info);
    let packed =
        [(0, module.clone()), (1, build::xz(&module)), (2, build::zstd(&module)), (3, build::gzip(&module))];
    packed.into_iter().map(|(kind, bytes)| [vec![kind], bytes].concat()).collect()
}

fn root() -> VerityRoot {
    VerityRoot { root_hash: [0xa5; 32], salt: vec![1, 2], data_blocks: 2048, hash_start_block: 2048 }
}

/// Reads a command line; then lets the builder write one with the lines of the text as words. What the
/// builder writes, PID 1 reads: its root, and each variable as it was given.
pub fn command_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(line) = command_line::parse(text) {
        assert_eq!(line.verity.to_string().parse(), Ok(line.verity));
    }
    if let Ok(root) = text.parse::<VerityRoot>() {
        assert_eq!(root.to_string().parse(), Ok(root));
    }
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    if let Ok(line) = command_line::encode(&["ttyS0"], &root(), &words) {
        let read = command_line::parse(&line).expect("what the builder writes is what PID 1 reads");
        let variables = words.iter().filter_map(|word| word.strip_prefix("mkimage.env.")?.split_once('='));
        let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!((read.verity, read.environment), (root(), variables));
    }
}

pub fn line_seeds() -> Vec<Vec<u8>> {
    let words = ["mkimage.env.GREETING=good day, moon".to_owned(), "audit=0".to_owned()];
    let line = command_line::encode(&["tty0"], &root(), &words).expect("fits");
    let texts = [
        line,
        root().to_string(),
        words.join("\n"),
        "mkimage.wait=0".to_owned(),
        "mkimage.wait=9\na=b c".to_owned(),
    ];
    texts.map(String::into_bytes).to_vec()
}
