//! Trees to test with, the tools of a tree run inside it, and ELF files made byte by byte.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use mkimage::base::{ImagePath, Job};
use mkimage::finalize::caches;
use mkimage::tree::{ContentSink, ContentSource, Directory, File, MemoryContents, Metadata, Node, Symlink};

use crate::tool::{kept, succeed, tool};

pub fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Returns an archive of a Debian release as its packages unpack, no script run: kernel, udev, systemd, kmod.
pub fn archive(suite: &str) -> PathBuf {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let archive = kept("caches").join(format!("{suite}.tar"));
    if !archive.exists() {
        let made = archive.with_extension("new.tar");
        let packages = "--include=systemd,udev,kmod,libc-bin,linux-image-cloud-amd64,libc6-i386,liblzma5";
        let hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr";
        let mut command = tool("mmdebstrap", ["--variant=extract", hooks, packages, "--format=tar", suite]);
        succeed(command.arg(&made));
        mkimage::base::fs::rename(&made, &archive).expect("renamed");
    }
    archive
}

/// Unpacks an archive into a folder, without devices.
pub fn unpack(archive: &Path, folder: &Path) {
    let mut command = tool("tar", ["--extract", "--no-same-owner", "--exclude=./dev/*", "--file"]);
    succeed(command.arg(archive).arg("--directory").arg(folder));
}

/// Runs a program of a tree with that tree as its root, without privileges.
pub fn inside(root: &Path, command: &str) {
    let script = format!("mount --rbind /proc \"$0/proc\" && exec chroot \"$0\" {command}");
    let mut outside = tool("unshare", ["--user", "--map-root-user", "--mount", "sh", "-ec", &script]);
    std::fs::create_dir_all(root.join("proc")).expect("a folder");
    succeed(outside.arg(root));
}

/// Reads a folder of the host into a tree: names, links and contents.
pub fn load(host: &Path, contents: &MemoryContents) -> Directory {
    let mut directory = Directory::default();
    for name in mkimage::base::fs::list(host).expect("a folder") {
        let at = host.join(&name);
        let kind = std::fs::symlink_metadata(&at).expect("an entry").file_type();
        let metadata = Metadata::root(0o755);
        let node = if kind.is_dir() {
            Node::Directory(load(&at, contents))
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&at).expect("a link");
            Node::Symlink(Symlink { metadata, target: target.as_os_str().as_encoded_bytes().into() })
        } else if kind.is_file() {
            let content = contents.put(&std::fs::read(&at).expect("a file")).expect("put");
            Node::File(File { metadata, content })
        } else {
            continue;
        };
        let name = path(&format!("/{}", name.to_str().expect("a name"))).name().expect("a name");
        directory.entries.insert(name, node);
    }
    directory
}

/// Writes all caches of a tree; returns the notes.
pub fn write(tree: &mut Directory, contents: &MemoryContents, workers: usize) -> Vec<String> {
    let written = caches::write(tree, contents, contents, &Job::quiet(workers));
    written.unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// Returns the bytes of a file in a tree.
pub fn bytes(tree: &Directory, contents: &MemoryContents, at: &str) -> Option<Vec<u8>> {
    match mkimage::tree::follow::resolve(tree, &path(at))?.1? {
        Node::File(file) => Some(contents.read_all(&file.content).expect("bytes")),
        _ => None,
    }
}

/// Asserts that two files are the same, and says where they first differ.
pub fn assert_same(name: &str, ours: &[u8], theirs: &[u8]) {
    let differ = ours.iter().zip(theirs).position(|(a, b)| a != b);
    let differ = differ.or((ours.len() != theirs.len()).then_some(ours.len().min(theirs.len())));
    if let Some(at) = differ {
        let near = |bytes: &[u8]| {
            let start = at.saturating_sub(40).min(bytes.len());
            mkimage::base::path::escaped(&bytes[start..(at + 40).min(bytes.len())])
        };
        let lengths = (ours.len(), theirs.len());
        panic!("{name} differs at byte {at} of {lengths:?}:\nours   {}\ntheirs {}", near(ours), near(theirs));
    }
}

/// Compiles a library.
pub fn library(at: &Path, options: &[&str]) {
    let source = at.with_extension("c");
    std::fs::create_dir_all(at.parent().expect("a folder")).expect("folders");
    std::fs::write(&source, "int given(void) { return 1; }\n").expect("a source");
    let mut command = Command::new("cc");
    succeed(command.args(["-shared", "-fPIC", "-nostdlib", "-o"]).arg(at).arg(&source).args(options));
    std::fs::remove_file(source).expect("removed");
}
