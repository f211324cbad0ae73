//! ELF files and configurations that lie, and programs that would not start.

use mkimage::base::Job;
use mkimage::elf::{ElfError, Image, Library, Module, TreeLibrary, closure, unpack};
use mkimage::finalize::{FinalizeError, caches};
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node, Symlink};

use super::fixture::{bytes, path};
use super::make::{elf, module};

const NEEDED: u64 = 1;
const SONAME: u64 = 14;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// A tree to look for libraries in.
#[derive(Default)]
struct World {
    tree: Directory,
    contents: MemoryContents,
}

impl World {
    fn file(mut self, at: &str, bytes: &[u8]) -> Self {
        let content = self.contents.put(bytes).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o755), content });
        self.tree.insert(&path(at), file).expect("inserted");
        self
    }

    fn link(mut self, at: &str, target: &str) -> Self {
        let link = Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() };
        self.tree.insert(&path(at), Node::Symlink(link)).expect("inserted");
        self
    }

    fn closure(&self, roots: &[&str]) -> Result<Vec<String>, Vec<ElfError>> {
        let roots: Vec<_> = roots.iter().map(|root| path(root)).collect();
        let found = closure(&roots, &TreeLibrary::new(&self.tree, &self.contents))?;
        Ok(found.iter().map(ToString::to_string).collect())
    }
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn base() -> World {
    World::default()
        .file(LOADER, &elf(None, &[(SONAME, "ld-linux-x86-64.so.2")]))
        .file("/usr/lib/libc.so.6", &elf(None, &[(SONAME, "libc.so.6"), (NEEDED, "ld-linux-x86-64.so.2")]))
}

#[test]
fn no_prefix_and_no_changed_byte_of_a_program_panics() {
    let sound = elf(Some(LOADER), &[(NEEDED, "libc.so.6"), (RUNPATH, "$ORIGIN")]);
    let image = Image::parse(&sound).expect("a sound file");
    assert_eq!((image.needed.len(), image.interpreter.as_deref()), (1, Some(LOADER.as_bytes())));
    let real = std::fs::read("/bin/true").expect("a program");
    for length in 0..real.len().min(8192) {
        let _ = Image::parse(&real[..length]);
        let _ = Module::parse(&real[..length]);
    }
    for at in 0..sound.len() {
        assert!(Image::parse(&sound[..at]).is_err(), "cut at {at}");
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = sound.clone();
            changed[at] = value;
            let _ = Image::parse(&changed);
        }
    }
    assert_eq!(Image::parse(b"#!/bin/sh\n"), Err(ElfError::NotElf));
}

#[test]
fn search_paths_are_followed_in_the_order_of_the_loader() {
    let library = |name: &str| elf(None, &[(SONAME, name)]);
    let world = base()
        .file(
            "/opt/app/bin/tool",
            &elf(Some(LOADER), &[(NEEDED, "libone.so.1"), (RPATH, "${ORIGIN}/../lib")]),
        )
        .file("/opt/app/lib/libone.so.1", &elf(None, &[(SONAME, "libone.so.1"), (NEEDED, "libtwo.so.1")]))
        .file("/opt/app/lib/libtwo.so.1", &library("libtwo.so.1"))
        .file("/usr/lib/libone.so.1", &library("libone.so.1"))
        .file("/usr/lib/libtwo.so.1", &library("libtwo.so.1"));
    // The program's DT_RPATH serves what its libraries need; $ORIGIN is where the program really is.
    let world = world.link("/usr/bin/tool", "../../opt/app/bin/tool");
    assert_eq!(
        world.closure(&["/usr/bin/tool"]),
        Ok(["/lib64/ld-linux-x86-64.so.2", "/opt/app/lib/libone.so.1", "/opt/app/lib/libtwo.so.1"]
            .map(str::to_owned)
            .to_vec())
    );
    // DT_RUNPATH serves only what its own file needs.
    let world = world.file(
        "/opt/app/bin/other",
        &elf(Some(LOADER), &[(NEEDED, "libone.so.1"), (RUNPATH, "/nowhere:$ORIGIN/../lib:")]),
    );
    let found = world.closure(&["/opt/app/bin/other"]).expect("found");
    assert_eq!(found[1..], ["/opt/app/lib/libone.so.1", "/usr/lib/libtwo.so.1"]);
}

#[test]
fn a_library_of_another_machine_is_passed_over_and_one_by_its_own_name_is_not_searched_again() {
    let mut foreign = elf(None, &[(SONAME, "libx.so.1")]);
    foreign[18] = 183;
    let world = base()
        .file("/etc/ld.so.conf", b"/opt/arm\n/opt/x86\n")
        .file("/opt/arm/libx.so.1", &foreign)
        .file("/opt/x86/libx.so.1", &elf(None, &[(SONAME, "libreal.so.1"), (NEEDED, "libreal.so.1")]))
        .file("/bin/tool", &elf(Some(LOADER), &[(NEEDED, "libx.so.1"), (NEEDED, "ld-linux-x86-64.so.2")]));
    assert_eq!(world.closure(&["/bin/tool"]), Ok(vec![LOADER.to_owned(), "/opt/x86/libx.so.1".to_owned()]));
}

#[test]
fn all_that_is_missing_is_named_with_what_needs_it() {
    let world = base()
        .file("/bin/one", &elf(Some("/lib/ld-none.so"), &[(NEEDED, "libgone.so.1")]))
        .file("/bin/two", &elf(Some(LOADER), &[(NEEDED, "libc.so.6"), (NEEDED, "libbad.so.1")]))
        .file("/usr/lib/libbad.so.1", b"\x7fELF\x02\x01\x01 and no more")
        .file("/bin/script", b"#!/bin/one\n")
        .file("/bin/static", &elf(None, &[]));
    let errors = world.closure(&["/bin/one", "/bin/two", "/bin/script", "/bin/absent"]).expect_err("missing");
    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(all[0].contains("/bin/one is started by /lib/ld-none.so, which is not there"), "{all:#?}");
    assert!(
        all[1].contains("/bin/one needs libgone.so.1, which is in none of /lib/x86_64-linux-gnu,"),
        "{all:#?}"
    );
    assert_eq!(all[2], "reading /usr/lib/libbad.so.1");
    assert_eq!(errors[3], ElfError::File { path: path("/bin/script"), source: Box::new(ElfError::NotElf) });
    assert_eq!(errors[4], ElfError::NoFile { path: path("/bin/absent") });
    assert_eq!(errors.len(), 5);
    assert_eq!(world.closure(&["/bin/static"]), Ok(Vec::new()));
}

#[test]
fn libraries_that_need_each_other_and_links_in_circles_end() {
    let world = base()
        .file("/usr/lib/liba.so", &elf(None, &[(NEEDED, "libb.so")]))
        .file("/usr/lib/libb.so", &elf(None, &[(NEEDED, "liba.so"), (RUNPATH, "/loop/../loop/x")]))
        .link("/loop", "/loop")
        .link("/usr/lib/libc.so.1", "libc.so.1")
        .file("/bin/tool", &elf(None, &[(NEEDED, "liba.so")]));
    let found = world.closure(&["/bin/tool"]).expect("found");
    assert_eq!(found, ["/usr/lib/liba.so", "/usr/lib/libb.so"]);
    let look = TreeLibrary::new(&world.tree, &world.contents);
    assert_eq!(look.follow(&path("/usr/lib/libc.so.1")), None);
}

#[test]
fn a_program_of_musl_needs_its_loader_alone_for_the_c_library() {
    let world = World::default()
        .file("/lib/ld-musl-x86_64.so.1", &elf(None, &[(SONAME, "libc.so")]))
        .file("/usr/lib/libz.so.1", &elf(None, &[(SONAME, "libz.so.1"), (NEEDED, "libc.musl-x86_64.so.1")]))
        .file(
            "/bin/tool",
            &elf(
                Some("/lib/ld-musl-x86_64.so.1"),
                &[(NEEDED, "libc.musl-x86_64.so.1"), (NEEDED, "libz.so.1")],
            ),
        );
    assert_eq!(
        world.closure(&["/bin/tool"]),
        Ok(vec!["/lib/ld-musl-x86_64.so.1".to_owned(), "/usr/lib/libz.so.1".to_owned()])
    );
}

#[test]
fn a_compressed_module_that_unpacks_to_too_much_is_refused() {
    let zeros = vec![0u8; 1 << 20];
    let packed = zstd::encode_all(&zeros[..], 3).expect("packed");
    assert!(unpack(&packed, 1 << 20).is_ok_and(|bytes| *bytes == zeros));
    assert!(unpack(&packed, (1 << 20) - 1).is_err());
    assert!(unpack(&packed[..packed.len() / 2], 1 << 20).is_err());
    assert!(unpack(b"\xfd7zXZ\0 and no more", 1 << 20).is_err());
}

#[test]
fn modules_are_ordered_by_what_they_use_and_circles_are_named() {
    let kernel = |name: &str| format!("/lib/modules/6.1/kernel/{name}");
    let info: &[u8] = b"alias=usb-[a-z]*\0alias=devname:x\0alias=char-major-10-200\0softdep=pre: c-d\0";
    let mut world = World::default()
        .file(&kernel("user-one.ko"), &module(&[(".modinfo", info)], &[("given", false), ("deep", false)]))
        .file(&kernel("giver.ko"), &module(&[], &[("__crc_given", true), ("given", true), ("deep", false)]))
        .file(&kernel("deep.ko"), &module(&[("__ksymtab_strings", b"deep\0")], &[("deep", true)]))
        .file("/lib/modules/6.1/modules.order", b"kernel/deep.ko\nkernel/user-one.ko\nkernel/giver.ko\n");
    caches::write(&mut world.tree, &world.contents, &world.contents, &Job::quiet(2)).expect("written");
    let read = |name: &str| {
        let bytes = bytes(&world.tree, &world.contents, &format!("/lib/modules/6.1/modules.{name}"));
        String::from_utf8(bytes.expect("a file")).expect("text")
    };
    assert_eq!(
        read("dep"),
        "kernel/deep.ko:\nkernel/user-one.ko: kernel/giver.ko kernel/deep.ko\nkernel/giver.ko: kernel/deep.ko\n"
    );
    assert_eq!(read("softdep").lines().nth(1), Some("softdep user_one pre: c-d"));
    assert_eq!(read("devname").lines().nth(1), Some("user_one x c10:200"));
    assert_eq!(read("alias").lines().nth(1), Some("alias usb-[a-z]* user_one"));

    let symbols = |own: &str| format!("__crc_{own}");
    let world = World::default()
        .file(&kernel("a.ko"), &module(&[], &[(&symbols("a"), true), ("b", false)]))
        .file(&kernel("b.ko"), &module(&[], &[(&symbols("b"), true), ("a", false)]));
    let all = errors(world);
    assert!(
        all[0].ends_with("these modules need each other in a circle, or are needed by one: a, b"),
        "{all:#?}"
    );
}

#[test]
fn of_two_modules_with_one_name_the_rules_of_depmod_choose() {
    let dependencies = |rules: &[u8]| {
        let empty = module(&[], &[]);
        let mut world = World::default().file("/etc/depmod.d/x.conf", rules);
        for folder in ["kernel/fs", "updates", "extra"] {
            world = world.file(&format!("/lib/modules/6.1/{folder}/a-b.ko"), &empty);
        }
        caches::write(&mut world.tree, &world.contents, &world.contents, &Job::quiet(1)).expect("written");
        let bytes = bytes(&world.tree, &world.contents, "/lib/modules/6.1/modules.dep").expect("a file");
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!(dependencies(b""), "updates/a-b.ko:\n");
    assert_eq!(dependencies(b"search kernel built-in # and no more\n"), "kernel/fs/a-b.ko:\n");
    assert_eq!(dependencies(b"search extra updates built-in\n"), "extra/a-b.ko:\n");
    assert_eq!(dependencies(b"override a-b 6.1 extra\noverride a-b 5.0 kernel/fs\n"), "extra/a-b.ko:\n");
}

fn errors(mut world: World) -> Vec<String> {
    let written = caches::write(&mut world.tree, &world.contents, &world.contents, &Job::quiet(2));
    let errors: Vec<FinalizeError> = written.expect_err("refused");
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_a_cache_can_not_be_made_from_is_an_error_that_names_the_file() {
    let module = "/lib/modules/6.1/kernel/bad.ko";
    assert_eq!(
        errors(World::default().file(module, b"text")),
        [format!("modules.dep: {module}: it is no ELF file")]
    );
    let world = World::default()
        .file("/usr/bin/journalctl", b"")
        .file("/usr/lib/systemd/catalog/x.catalog", b"text before an id\n")
        .file("/usr/bin/systemd-hwdb", b"no release in it")
        .file("/usr/lib/udev/hwdb.d/x.hwdb", b"usb:*\n KEY=1\n");
    let all = errors(world);
    assert!(all[0].starts_with("hwdb.bin: /usr/bin/systemd-hwdb: neither a library"), "{all:#?}");
    assert_eq!(all[1], "/usr/lib/systemd/catalog/x.catalog, line 1: there is text before the first id");
}

#[test]
fn caches_of_desktops_are_noted_and_a_catalog_of_odd_texts_is_written() {
    let mut world = World::default()
        .file("/usr/share/glib-2.0/schemas/x.gschema.xml", b"<schemalist/>")
        .file("/usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas", b"")
        .file("/usr/bin/journalctl", b"")
        .file(
            "/usr/lib/systemd/catalog/x.de.catalog",
            b"# comment\n-- 0123456789abcdef0123456789ABCDEF\nSubject: a\n\nbody\n\n\n-- 0123456789abcdef0123456789abcdef en\nSubject: b\n",
        )
        .file("/usr/lib/systemd/catalog/y.de.catalog", b"-- 0123456789abcdef0123456789abcdef\nDocumentation: c\n");
    let notes =
        caches::write(&mut world.tree, &world.contents, &world.contents, &Job::quiet(1)).expect("written");
    let tool = "/usr/lib/x86_64-linux-gnu/glib-2.0/glib-compile-schemas";
    assert_eq!(
        notes,
        [format!("/usr/share/glib-2.0/schemas: its cache is not written; {tool} would write it")]
    );
    let database = bytes(&world.tree, &world.contents, "/var/lib/systemd/catalog/database").expect("a file");
    assert_eq!(&database[..8], b"RHHHKSLP");
    assert_eq!(database[24], 2);
    assert!(database.ends_with(b"\0Documentation: c\nSubject: a\n\nbody\n\0Subject: b\n\0"));
}
