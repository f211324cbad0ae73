//! The caches of whole Debian trees, byte for byte as the tools of those trees write them.

use std::path::Path;

use mkimage::archive::{Options, allow_all, read_archive};
use mkimage::base::Job;
use mkimage::tree::diff::diff;
use mkimage::tree::{ContentSink, Directory, File, MemoryContents, Metadata, Node};

use super::fixture::{archive, assert_same, bytes, inside, path, unpack, write};

fn read(archive: &Path, contents: &MemoryContents) -> Directory {
    let file = std::fs::File::open(archive).expect("an archive");
    let options = Options { policy: &allow_all, ..Options::default() };
    read_archive(file, &options, contents, &Job::quiet(2)).expect("a tree")
}

/// Sources of a machine's own, with all that their readers pass over, replace or join.
const ODD: [(&str, &str); 5] = [
    ("etc/udev/hwdb.d/20-vmbus-class.hwdb", "# hides the release's own\n"),
    (
        "etc/udev/hwdb.d/95-odd.hwdb",
        " LOST=1\nusb:v0001*\nusb:v0001p*\n  # not a record\n A=1\n   B=2 # why\n\tC=lost\n\n\
         usb:v0001*\n A=replaced\n AB=\n =lost\n   =lost\nlost\n E=5\n\nnothing\n\nusb:\u{e4}*\r\n Z=\u{fc}\r\n\r\nlast\n Y=1",
    ),
    (
        "usr/local/lib/systemd/catalog/odd.xx.catalog",
        "-- 00000000000000000000000000000001\nSubject: one\n\nbody\n\n\n; no text\n\
         -- 00000000000000000000000000000001 yy\nSubject: two\n\n-- f77379a8490b408bbe5f6940505a777b de\nDefined-By: me\n",
    ),
    ("etc/depmod.d/odd.conf", "search extra updates built-in\n"),
    ("etc/ld.so.conf.d/odd.conf", "include /etc/ld.so.conf.d/*.conf\n/usr/lib/systemd\n"),
];

/// Adds what is odd to a tree, and two more copies of a module.
fn add_odd(tree: &mut Directory, contents: &MemoryContents, kernel: &Path, root: &Path) {
    let mut add = |at: &str, bytes: &[u8]| {
        let host = root.join(at);
        std::fs::create_dir_all(host.parent().expect("a folder")).expect("folders");
        std::fs::write(host, bytes).expect("a file");
        let content = contents.put(bytes).expect("put");
        let file = Node::File(File { metadata: Metadata::root(0o644), content });
        tree.replace(&path(&format!("/{at}")), file).expect("replaced");
    };
    for (at, text) in ODD {
        add(at, text.as_bytes());
    }
    let order = std::fs::read_to_string(root.join(kernel).join("modules.order")).expect("an order");
    let module = order.lines().find(|line| line.contains("-")).expect("a module with a dash");
    let find = |ending: &str| std::fs::read(root.join(kernel).join(format!("{module}{ending}"))).ok();
    let (ending, bytes) =
        ["", ".xz"].into_iter().find_map(|ending| Some((ending, find(ending)?))).expect("the module");
    let module = format!("{}{ending}", module.rsplit('/').next().expect("a name"));
    for folder in ["extra", "updates/deep"] {
        let at = kernel.join(folder).join(&module);
        add(at.to_str().expect("text"), &bytes);
    }
}

/// Writes the caches of a release with our code and with the release's tools, and compares.
fn compare(suite: &str, kernel_files: &[&str]) {
    let archive = archive(suite);
    let contents = MemoryContents::default();
    let mut tree = read(&archive, &contents);
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    unpack(&archive, root);
    let kernels = mkimage::base::fs::list(&root.join("usr/lib/modules")).expect("kernels");
    let [kernel] = &kernels[..] else { panic!("{kernels:?}") };
    let kernel = kernel.to_str().expect("a version");
    add_odd(&mut tree, &contents, &Path::new("usr/lib/modules").join(kernel), root);
    assert_eq!(write(&mut tree, &contents, 2), [] as [&str; 0]);
    inside(root, &format!("/sbin/depmod {kernel}"));
    inside(root, "/sbin/ldconfig");
    inside(root, "/bin/systemd-hwdb --usr update");
    inside(root, "/bin/journalctl --update-catalog");

    let mut files = vec![
        "/etc/ld.so.cache".to_owned(),
        "/usr/lib/udev/hwdb.bin".to_owned(),
        "/var/lib/systemd/catalog/database".to_owned(),
    ];
    files.extend(kernel_files.iter().map(|name| format!("/usr/lib/modules/{kernel}/modules.{name}")));
    for file in &files {
        let theirs = std::fs::read(root.join(&file[1..])).unwrap_or_else(|error| panic!("{file}: {error}"));
        let ours = bytes(&tree, &contents, file).unwrap_or_else(|| panic!("{file} is not written"));
        assert_same(file, &ours, &theirs);
        let mode = tree.get(&path(file)).and_then(Node::metadata).map(|metadata| metadata.mode);
        assert_eq!(mode, Some(if file.ends_with("hwdb.bin") { 0o444 } else { 0o644 }), "{file}");
    }
    let made = mkimage::base::fs::list(&root.join("usr/lib/modules").join(kernel)).expect("a folder");
    for name in made.iter().map(|name| name.to_str().expect("a name")) {
        let at = format!("/usr/lib/modules/{kernel}/{name}");
        assert!(tree.get(&path(&at)).is_some(), "{at} is not written");
    }
}

/// What depmod of every release writes.
const KERNEL_FILES: [&str; 10] = [
    "dep",
    "dep.bin",
    "alias",
    "alias.bin",
    "softdep",
    "symbols",
    "symbols.bin",
    "builtin.bin",
    "builtin.alias.bin",
    "devname",
];

#[test]
fn the_caches_of_bookworm_are_those_of_its_tools() {
    compare("bookworm", &KERNEL_FILES);
}

#[test]
fn the_caches_of_trixie_are_those_of_its_tools() {
    compare("trixie", &[&KERNEL_FILES[..], &["weakdep"]].concat());
}

#[test]
fn one_worker_and_four_write_the_same_tree_and_a_second_time_changes_nothing() {
    let contents = MemoryContents::default();
    let tree = read(&archive("bookworm"), &contents);
    let (mut one, mut four) = (tree.clone(), tree);
    write(&mut one, &contents, 1);
    write(&mut four, &contents, 4);
    assert!(one == four);
    write(&mut four, &contents, 2);
    assert_eq!(diff(&one, &four).len(), 0);
}

#[test]
fn without_its_tool_a_cache_is_left_out() {
    let contents = MemoryContents::default();
    let mut tree = read(&archive("bookworm"), &contents);
    for tool in ["sbin/ldconfig", "bin/systemd-hwdb", "bin/journalctl", "lib/modules"] {
        tree.remove(&path(&format!("/usr/{tool}"))).expect("a tool");
    }
    let before = tree.clone();
    write(&mut tree, &contents, 2);
    assert!(tree == before);
}
