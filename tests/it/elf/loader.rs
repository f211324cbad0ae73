//! The loader's cache of a tree that has everything in it that `ldconfig` treats in a way of its own.

use std::os::unix::fs::symlink;
use std::path::Path;

use mkimage::tree::MemoryContents;

use super::fixture::{archive, assert_same, bytes, inside, library, load, unpack, write};
use crate::tool::{succeed, tool};

/// Makes a root with `ldconfig` of a release and libraries of every kind.
fn root(suite: &str, root: &Path) {
    let whole = tempfile::tempdir().expect("a folder");
    unpack(&archive(suite), whole.path());
    for folder in ["usr/sbin", "usr/lib/x86_64-linux-gnu", "etc/ld.so.conf.d", "opt/a", "opt/b", "opt/c/sub"]
    {
        std::fs::create_dir_all(root.join(folder)).expect("folders");
    }
    for (name, target) in [("sbin", "usr/sbin"), ("lib", "usr/lib")] {
        symlink(target, root.join(name)).expect("a link");
    }
    std::fs::copy(whole.path().join("usr/sbin/ldconfig"), root.join("usr/sbin/ldconfig")).expect("a copy");
    let configuration =
        "include /etc/ld.so.conf.d/*.conf\n/opt/c # a comment\n\n/not/there\n/usr/lib/x86_64-linux-gnu/\n";
    std::fs::write(root.join("etc/ld.so.conf"), configuration).expect("a file");
    std::fs::write(root.join("etc/ld.so.conf.d/b.conf"), "/opt/b\n/opt/a//\n").expect("a file");
    std::fs::write(root.join("etc/ld.so.conf.d/a.conf"), "  /opt/a\n/opt/link\n").expect("a file");
    std::fs::write(root.join("etc/ld.so.conf.d/off.conf.bak"), "/opt/c/sub\n").expect("a file");
    symlink("b", root.join("opt/link")).expect("a link");
}

fn fill(root: &Path) {
    let at = |name: &str| root.join(name);
    // Two versions without a link; numbers count by value.
    library(&at("opt/a/libtwo.so.1.9"), &["-Wl,-soname,libtwo.so.1"]);
    library(&at("opt/a/libtwo.so.1.10"), &["-Wl,-soname,libtwo.so.1"]);
    // The link is there and leads to the older one.
    library(&at("opt/b/libold.so.1.1"), &["-Wl,-soname,libold.so.1"]);
    library(&at("opt/b/libold.so.1.2"), &["-Wl,-soname,libold.so.1"]);
    symlink("libold.so.1.1", at("opt/b/libold.so.1")).expect("a link");
    // Links as development packages bring them, good and bad.
    library(&at("usr/lib/x86_64-linux-gnu/libdev.so.3.0.1"), &["-Wl,-soname,libdev.so.3"]);
    symlink("libdev.so.3.0.1", at("usr/lib/x86_64-linux-gnu/libdev.so.3")).expect("a link");
    symlink("libdev.so.3", at("usr/lib/x86_64-linux-gnu/libdev.so")).expect("a link");
    symlink("libdev.so.3.0.1", at("usr/lib/x86_64-linux-gnu/libother.so.7")).expect("a link");
    // The same library in several directories, and one that a link leads to from elsewhere.
    for folder in ["opt/a", "opt/b", "opt/c", "usr/lib"] {
        library(&at(&format!("{folder}/libsame.so.2")), &["-Wl,-soname,libsame.so.2"]);
    }
    symlink("/opt/c/libsame.so.2", at("usr/lib/libabsolute.so.5")).expect("a link");
    // No name of its own; a name that is no library's; a name where a file stands.
    library(&at("opt/c/libplain.so"), &[]);
    library(&at("opt/c/plugin.so"), &["-Wl,-soname,libplugin.so.1"]);
    library(&at("opt/c/libreal.so.1.0"), &["-Wl,-soname,libreal.so.1"]);
    std::fs::write(at("opt/c/libreal.so.1"), "text that is in the way\n").expect("a file");
    // What is no library, with the name of one.
    std::fs::write(at("opt/c/libscript.so"), "/* GNU ld script */ GROUP ( libplain.so )\n").expect("a file");
    std::fs::write(at("opt/c/libempty.so.1"), "").expect("a file");
    std::fs::create_dir_all(at("opt/c/libfolder.so.1")).expect("a folder");
    symlink("gone", at("opt/c/libgone.so.1")).expect("a link");
    symlink("gone", at("opt/c/libgone.so")).expect("a link");
    library(&at("opt/c/libpre.so.1.#prelink#"), &[]);
    library(&at("opt/c/ld-own.so.1"), &["-Wl,-soname,ld-own.so.1"]);
    // For some processors only.
    for (level, options) in [("x86-64-v2", &[][..]), ("x86-64-v3", &["-Wl,-z,x86-64-v3"]), (".hidden", &[])] {
        let name = format!("usr/lib/x86_64-linux-gnu/glibc-hwcaps/{level}/libfast.so.1.0");
        library(&at(&name), &[&["-Wl,-soname,libfast.so.1"], options].concat());
    }
    library(&at("usr/lib/x86_64-linux-gnu/libfast.so.1.0"), &["-Wl,-soname,libfast.so.1"]);
    for old in
        ["tls", "haswell", "haswell/avx512_1", "tls/haswell/x86_64", "i686", "sse2", "xeon_phi", "power8"]
    {
        library(&at(&format!("opt/b/{old}/libhw.so.1")), &["-Wl,-soname,libhw.so.1"]);
    }
}

fn links(root: &Path) -> String {
    let mut command = tool("find", ["-type", "l", "-printf", "%p -> %l\\n"]);
    let text = succeed(command.current_dir(root));
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn compare(suite: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let contents = MemoryContents::default();
    root(suite, folder.path());
    fill(folder.path());
    let mut tree = load(folder.path(), &contents);
    write(&mut tree, &contents, 2);
    inside(folder.path(), "/sbin/ldconfig");
    let ours = bytes(&tree, &contents, "/etc/ld.so.cache").expect("a cache");
    let theirs = std::fs::read(folder.path().join("etc/ld.so.cache")).expect("a cache");
    let own: Vec<String> = tree
        .paths()
        .filter_map(|(path, node)| match node {
            mkimage::tree::Node::Symlink(link) => {
                Some(format!(".{path} -> {}", String::from_utf8_lossy(&link.target)))
            }
            _ => None,
        })
        .collect();
    let mut own: Vec<&str> = own.iter().map(String::as_str).collect();
    own.sort_unstable();
    assert_eq!(own.join("\n"), links(folder.path()));
    assert_same("ld.so.cache", &ours, &theirs);
    assert!(theirs[20] >= 12, "only {} libraries are in the cache", theirs[20]);
}

#[test]
fn libraries_of_every_kind_are_cached_and_linked_as_ldconfig_of_bookworm_does_it() {
    compare("bookworm");
}

#[test]
fn libraries_of_every_kind_are_cached_and_linked_as_ldconfig_of_trixie_does_it() {
    compare("trixie");
}
