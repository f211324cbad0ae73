//! What the dynamic loader, depmod, udev and journalctl read: ELF files, modules, sources of caches.

use mkimage::base::ImagePath;
use mkimage::elf::{Image, Library, Module, TreeLibrary, closure, unpack};
use mkimage::finalize::caches;
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node};

use super::super::make;
use super::{JOB, build, take};

pub const WORDS: &[&str] = &[
    "\x7fELF",
    "$ORIGIN",
    "${LIB}",
    "$PLATFORM",
    "/../",
    "libself.so",
    "libsystemd-shared-252.so",
    "__crc_",
    "alias=",
    "devname:",
    "char-major-10-200",
    "kernel/a.ko",
    "include /etc/*.conf",
    "search ",
    "override a 6.1 x",
    "-- 0123456789abcdef0123456789abcdef\n",
    "Subject: x\n",
    "usb:v*\n KEY=1\n",
    "[!a-z]*",
    "\n\n",
    "\r\n",
];

const NEEDED: u64 = 1;
const RUNPATH: u64 = 29;
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// A tree under construction.
struct Tree {
    root: Directory,
    contents: MemoryContents,
}

impl Tree {
    fn new(files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree { root: Directory::default(), contents: MemoryContents::default() };
        files.iter().for_each(|(path, bytes)| tree.put(path, bytes));
        tree
    }

    fn put(&mut self, path: &str, bytes: &[u8]) {
        let content = self.contents.put(bytes).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o644), content });
        let path = ImagePath::new(path.as_bytes()).expect("a path");
        self.root.replace(&path, file).expect("directories above it");
    }
}

/// Reads a file as program, library and module. All that a program is said to need is there.
pub fn elf(bytes: &[u8]) {
    let _ = Module::parse(bytes);
    let _ = unpack(bytes, 1 << 20);
    let Ok(image) = Image::parse(bytes) else { return };
    assert!(image.needed.iter().map(|name| name.len() + 1).sum::<usize>() <= 64 << 10);
    let loader = make::elf(None, &[]);
    let tree = Tree::new(&[("/bin/p", bytes), ("/usr/lib/libself.so", bytes), (LOADER, &loader)]);
    let look = TreeLibrary::new(&tree.root, &tree.contents);
    let program = ImagePath::new(b"/bin/p").expect("a path");
    for path in closure(&[program], &look).unwrap_or_default() {
        assert!(look.read(&path).is_some(), "{path}");
    }
}

pub fn elf_seeds() -> Vec<Vec<u8>> {
    let program = make::elf(Some(LOADER), &[(NEEDED, "libself.so"), (RUNPATH, "$ORIGIN/../usr/lib:/x")]);
    let module = module();
    vec![
        program,
        make::elf(None, &[(NEEDED, "libgone.so")]),
        build::xz(&module),
        build::gzip(&module),
        module,
    ]
}

fn module() -> Vec<u8> {
    let info: &[u8] = b"alias=usb-[a-z]*\0alias=devname:x\0alias=char-major-10-200\0depends=b\0";
    make::module(&[(".modinfo", info), ("__ksymtab_strings", b"c\0")], &[("__crc_a", true), ("b", false)])
}

/// Where the bytes of an input go, by its first byte.
const PLACES: [&str; 8] = [
    "/usr/lib/udev/hwdb.d/x.hwdb",
    "/usr/lib/systemd/catalog/x.de.catalog",
    "/etc/ld.so.conf",
    "/usr/lib/libself.so.1",
    "/lib/modules/6.1/kernel/a.ko",
    "/lib/modules/6.1/modules.builtin",
    "/lib/modules/6.1/modules.builtin.modinfo",
    "/etc/depmod.d/x.conf",
];

/// Writes the caches of a tree in which one source is foreign. A second time changes nothing.
pub fn caches(mut bytes: &[u8]) {
    let place = PLACES[take(&mut bytes, 1) as usize % PLACES.len()];
    let ldconfig = [&make::elf(None, &[])[..], b"\0ldconfig (x) stable release version 2.36\0"].concat();
    let hwdb = make::elf(None, &[(NEEDED, "libsystemd-shared-252.so")]);
    let mut tree = Tree::new(&[
        ("/sbin/ldconfig", &ldconfig),
        ("/usr/bin/systemd-hwdb", &hwdb),
        ("/usr/bin/journalctl", b""),
        ("/lib/modules/6.1/kernel/b.ko", &module()),
        ("/etc/x.conf", b"/usr/lib\ninclude /etc/ld.so.conf\n"),
    ]);
    tree.put(place, bytes);
    let write = |root: &mut Directory| caches::write(root, &tree.contents, &tree.contents, &JOB);
    let mut first = tree.root.clone();
    if write(&mut first).is_ok() {
        let mut second = first.clone();
        write(&mut second).expect("what was written once is written again");
        assert!(first == second);
    }
}

pub fn cache_seeds() -> Vec<Vec<u8>> {
    let sources: [&[u8]; 8] = [
        b"usb:v0001*\nusb:v0001p*\n A=1\n   B=2 # why\n\nusb:*\n A=3\n",
        b"-- 0123456789abcdef0123456789abcdef\nSubject: a\n\nbody\n\n-- 0123456789abcdef0123456789abcdef en\nb\n",
        b"include /etc/*.conf\n/usr/lib # here\n/opt=libc6\n",
        &make::elf(None, &[(14, "libreal.so.1")]),
        &module(),
        b"kernel/fs/x-y.ko\nkernel/z.ko\n",
        b"x.alias=usb-[0-9]*\0x.license=GPL\0y.alias=z\0",
        b"search updates built-in\noverride a 6.1 extra\n",
    ];
    sources.iter().zip(0u8..).map(|(bytes, place)| [&[place], *bytes].concat()).collect()
}
