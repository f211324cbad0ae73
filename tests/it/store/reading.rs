//! Finding, comparing and checking out what was stored.

use super::*;
use mkimage::store::{Found, Objects, StoreError};
use mkimage::tree::diff::{Change, diff};
use mkimage::tree::{Device, DeviceKind, Xattrs};

fn put_and_open(
    folder: &std::path::Path,
    root: impl FnOnce(&Transaction<'_>) -> Directory,
) -> (Store, TreeRef) {
    let store = open(folder);
    let transaction = store.begin(&job());
    let sealed = root(&transaction).seal().expect("sealed");
    let tree = transaction.put_tree(&job(), &sealed).expect("put");
    transaction.commit(&[], "").expect("committed");
    (store, tree)
}

fn symlink(target: &str) -> Node {
    Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() })
}

#[test]
fn paths_are_found_through_links_and_never_leave_the_tree() {
    let folder = folder();
    let (store, tree) = put_and_open(folder.path(), |transaction| {
        let mut root = Directory::default();
        add_file(transaction, &mut root, "/usr/bin/tool", b"the tool");
        for (at, target) in [
            ("/bin", "usr/bin"),
            ("/usr/sbin", "./bin/../bin"),
            ("/tool", "/../../bin/tool"),
            ("/round", "round"),
            ("/nowhere", "none/at/all"),
            ("/etc/host", "../../../../../../etc/hostname"),
        ] {
            root.insert(&path(at), symlink(target)).expect("inserted");
        }
        root.insert(&path("/zz"), Node::HardLink(path("/usr/bin/tool"))).expect("inserted");
        root
    });
    let found = |at: &str, follow| store.find(&tree, &path(at), follow);
    for at in ["/usr/bin/tool", "/bin/tool", "/usr/sbin/tool", "/tool", "/zz"] {
        match found(at, true) {
            Ok(Found::Leaf(Node::File(file))) => assert_eq!(file.content.size, 8, "{at}"),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert!(matches!(found("/bin", true), Ok(Found::Directory(..))));
    assert!(matches!(found("/bin", false), Ok(Found::Leaf(Node::Symlink(_)))));
    match found("/", true) {
        Ok(Found::Directory(at, root)) => assert!(at == tree && root.entries.len() == 7),
        other => panic!("{other:?}"),
    }
    for at in ["/round", "/round/x", "/nowhere", "/none", "/usr/bin/tool/x", "/etc/host"] {
        assert!(matches!(found(at, true), Err(StoreError::Path { .. })), "{at}");
    }
}

#[test]
fn only_what_differs_is_read_to_compare() {
    let folder = folder();
    let store = open(folder.path());
    let tree = |version: &str| {
        let transaction = store.begin(&job());
        let mut root = Directory::default();
        for index in 0..20 {
            add_file(&transaction, &mut root, &format!("/same/{index}/file"), format!("{index}").as_bytes());
        }
        add_file(&transaction, &mut root, "/etc/deep/down/version", version.as_bytes());
        add_file(&transaction, &mut root, &format!("/only/{version}/file"), b"x");
        let sealed = root.seal().expect("sealed");
        let tree = transaction.put_tree(&job(), &sealed).expect("put");
        transaction.commit(&[], "").expect("committed");
        (tree, sealed)
    };
    let ((old, old_sealed), (new, new_sealed)) = (tree("1"), tree("2"));
    let (old_part, new_part) = store.read_difference(&job(), &old, &new).expect("read");
    assert_eq!(diff(&old_part, &new_part), diff(&old_sealed, &new_sealed));
    assert!(old_part.get(&path("/same")).is_none(), "equal parts were read");
    let paths: Vec<String> = diff(&old_part, &new_part).iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/etc/deep/down/version", "/only/1", "/only/1/file", "/only/2", "/only/2/file"]);
    assert!(matches!(diff(&old_part, &new_part)[1].1, Change::Removed(_)));
    let (left, right) = store.read_difference(&job(), &old, &old).expect("read");
    assert!(diff(&left, &right).is_empty());
}

/// What stands in a directory of the host: kind, mode, target or bytes, by path.
fn host(root: &std::path::Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut seen = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.expect("walked");
        let metadata = entry.metadata().expect("read");
        let kind = metadata.file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", std::fs::read_link(entry.path()).expect("read").display())
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).expect("read");
            format!("file {} {}", metadata.nlink(), mkimage::base::Digest::of(&bytes))
        } else {
            format!("{}{}", if kind.is_fifo() { "fifo" } else { "" }, if kind.is_dir() { "dir" } else { "" })
        };
        let path = entry.path().strip_prefix(root).expect("below").display().to_string();
        seen.insert(path, format!("{:04o} {what}", metadata.mode() & 0o7777));
    }
    seen
}

#[test]
fn a_checkout_is_the_tree_as_far_as_the_user_may() {
    let folder = folder();
    let mine = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let own = |mode| Metadata { mode, uid: mine, gid: group, xattrs: Xattrs::new() };
    let mut sparse = vec![0; 3 << 20];
    sparse[2 << 20] = 1;
    let (store, tree) = put_and_open(folder.path(), |transaction| {
        let mut root = Directory { metadata: own(0o750), ..Directory::default() };
        for (at, mode, bytes) in
            [("/a/file", 0o640, &b"bytes"[..]), ("/a/shut/sparse", 0o400, &sparse), ("/tool", 0o4755, b"")]
        {
            let content = transaction.put(bytes).expect("put");
            root.insert(&path(at), Node::File(File { metadata: own(mode), content })).expect("inserted");
        }
        for at in ["/a", "/a/shut"] {
            *root.get_mut(&path(at)).and_then(Node::metadata_mut).expect("there") = own(0o500);
        }
        let link = Symlink { metadata: own(0o777), target: b"/etc/passwd"[..].into() };
        root.insert(&path("/out"), Node::Symlink(link)).expect("inserted");
        root.insert(&path("/pipe"), Node::Fifo(own(0o622))).expect("inserted");
        root.insert(&path("/z"), Node::HardLink(path("/a/file"))).expect("inserted");
        root
    });
    let target = folder.path().join("out");
    let report = store.checkout(&job(), &tree, &target).expect("checked out");
    assert_eq!(report.skipped, []);
    assert_eq!((report.entries, report.bytes), (8, 5 + (3 << 20)));
    let file = |bytes: &[u8], links: u32| format!("file {links} {}", mkimage::base::Digest::of(bytes));
    let expected = [
        ("", "0750 dir".to_owned()),
        ("a", "0500 dir".to_owned()),
        ("a/file", format!("0640 {}", file(b"bytes", 2))),
        ("a/shut", "0500 dir".to_owned()),
        ("a/shut/sparse", format!("0400 {}", file(&sparse, 1))),
        ("out", "0777 -> /etc/passwd".to_owned()),
        ("pipe", "0622 fifo".to_owned()),
        ("tool", format!("4755 {}", file(b"", 1))),
        ("z", format!("0640 {}", file(b"bytes", 2))),
    ];
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(path, what)| (path.to_owned(), what)).collect();
    assert_eq!(host(&target), expected);
    let again = store.checkout(&job(), &tree, &target);
    assert!(matches!(again, Err(StoreError::NotEmpty { .. })), "a second checkout into the same directory");
}

#[test]
fn what_the_host_refuses_is_reported_not_hidden() {
    let folder = folder();
    let (store, tree) = put_and_open(folder.path(), |transaction| {
        let mut root = Directory::default();
        let content = transaction.put(b"x").expect("put");
        let xattrs = Xattrs::from([(b"nonsense.name"[..].into(), b"1"[..].into())]);
        let metadata = Metadata { mode: 0o4755, uid: 12345, gid: 12345, xattrs };
        root.insert(&path("/file"), Node::File(File { metadata, content })).expect("inserted");
        let null =
            Device { metadata: Metadata::root(0o666), kind: DeviceKind::Character, major: 1, minor: 3 };
        root.insert(&path("/null"), Node::Device(null)).expect("inserted");
        root
    });
    let target = folder.path().join("out");
    let report = store.checkout(&job(), &tree, &target).expect("checked out");
    let said: Vec<String> =
        report.skipped.iter().map(|skipped| format!("{} {}", skipped.path, skipped.what)).collect();
    assert!(said.iter().any(|line| line.starts_with("/file attribute nonsense.name")), "{said:?}");
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(target.join("file")).expect("there").mode() & 0o7777;
    if rustix::process::geteuid().is_root() {
        assert_eq!(mode, 0o4755);
    } else {
        assert_eq!(mode, 0o755, "a setuid bit for another user");
        assert!(said.iter().any(|line| line.starts_with("/file owner 12345:12345")), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("/null character device")), "{said:?}");
    }
}

#[test]
fn a_checkout_never_writes_through_a_symlink() {
    let folder = folder();
    let (store, tree) = put_and_open(folder.path(), |transaction| {
        let mut root = Directory::default();
        add_file(transaction, &mut root, "/file", b"x");
        root
    });
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("created");
    std::fs::write(elsewhere.join("kept"), b"kept").expect("written");
    std::os::unix::fs::symlink(&elsewhere, folder.path().join("out")).expect("linked");
    assert!(store.checkout(&job(), &tree, &folder.path().join("out")).is_err());
    assert_eq!(list(&elsewhere).len(), 1);
}
