//! The canonical encodings: one value, one encoding, and nothing else is taken.

use super::*;
use mkimage::base::{BlobId, Digest, Name};
use mkimage::store::{Input, InputDigest, Objects, StoredDirectory, StoredNode};
use mkimage::tree::{Content, Device, DeviceKind, Xattrs};
use proptest::prelude::*;

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let xattrs = prop::collection::btree_map(
        "[a-z]{1,4}\\.[a-z]{0,4}",
        prop::collection::vec(any::<u8>(), 0..9),
        0..3,
    );
    (0u16..=0o7777, 0u32..u32::MAX, 0u32..u32::MAX, xattrs).prop_map(|(mode, uid, gid, xattrs)| {
        let xattrs: Xattrs =
            xattrs.into_iter().map(|(name, value)| (name.into_bytes().into(), value.into())).collect();
        Metadata { mode, uid, gid, xattrs }
    })
}

fn any_leaf() -> impl Strategy<Value = Node> {
    let file = (any_metadata(), any::<[u8; 32]>(), any::<u64>()).prop_map(|(metadata, id, size)| {
        Node::File(File { metadata, content: Content { id: BlobId::from(id), size } })
    });
    let symlink = (any_metadata(), prop::collection::vec(1u8..=255, 1..20))
        .prop_map(|(metadata, target)| Node::Symlink(Symlink { metadata, target: target.into() }));
    let device = (any_metadata(), any::<bool>(), 0u32..=0xfff, 0u32..=0xf_ffff).prop_map(
        |(metadata, block, major, minor)| {
            let kind = if block { DeviceKind::Block } else { DeviceKind::Character };
            Node::Device(Device { metadata, kind, major, minor })
        },
    );
    let link = "(/[a-z]{1,3}){1,3}".prop_map(|target| Node::HardLink(path(&target)));
    prop_oneof![
        file,
        symlink,
        device,
        link,
        any_metadata().prop_map(Node::Fifo),
        any_metadata().prop_map(Node::Socket)
    ]
}

fn any_stored() -> impl Strategy<Value = StoredDirectory> {
    let child = (any::<[u8; 32]>(), 0u64..1 << 28)
        .prop_map(|(id, size)| StoredNode::Directory(TreeRef { id: id.into(), size }));
    let node = prop_oneof![1 => child, 3 => any_leaf().prop_map(StoredNode::Leaf)];
    let entries = prop::collection::btree_map("[a-zA-Z0-9._-]{2,12}x", node, 0..6);
    (any_metadata(), entries).prop_map(|(metadata, entries)| {
        let name = |name: String| Name::new(name.as_bytes()).expect("a name");
        StoredDirectory {
            metadata,
            entries: entries.into_iter().map(|(text, node)| (name(text), node)).collect(),
        }
    })
}

fn any_commit() -> impl Strategy<Value = Commit> {
    let map = || prop::collection::btree_map("[a-zé]{0,5}", ".{0,8}", 0..3);
    let content =
        || (any::<[u8; 32]>(), any::<u64>()).prop_map(|(id, size)| Content { id: BlobId::from(id), size });
    let input = (".{0,9}", any::<bool>(), any::<[u8; 32]>(), any::<u64>()).prop_map(
        |(name, blake3, digest, size)| {
            let digest = if blake3 {
                InputDigest::Blake3(Digest(digest))
            } else {
                InputDigest::Sha256(Digest(digest))
            };
            Input { name, digest, size }
        },
    );
    let tree = || (any::<[u8; 32]>(), 0u64..1 << 28).prop_map(|(id, size)| TreeRef { id: id.into(), size });
    (
        (tree(), prop::option::of(tree()), any::<u64>(), "[a-z]{1,9}", prop::option::of(".{0,9}")),
        (prop::collection::vec((".{0,9}", content()), 0..3), map(), prop::option::of(content())),
        (prop::collection::vec(input, 0..3), prop::collection::vec(any::<[u8; 32]>(), 0..3), map()),
        (
            (prop::option::of(any::<u64>()), prop::option::of(any::<u64>()), 1u8..=9, 1u32..=u32::MAX),
            prop::sample::select(vec![Filesystem::Ext4, Filesystem::Ext4Stable]),
        ),
    )
        .prop_map(|((tree, boot, epoch, name, version), (recipe, variables, lock), more, disk)| {
            let (inputs, parents, annotations) = more;
            let mut commit = commit_of(tree);
            let (disk, filesystem) = disk;
            commit.disk.filesystem = filesystem;
            (commit.disk.slot_size, commit.disk.uki_size, commit.disk.tries, commit.disk.layout) = disk;
            let parents = parents.into_iter().map(CommitId::from).collect();
            Commit {
                boot,
                epoch,
                name,
                version,
                recipe,
                variables,
                lock,
                inputs,
                parents,
                annotations,
                ..commit
            }
        })
}

/// A change of some bytes: what rot, a bug or an attacker makes of an encoding.
fn mutate(bytes: &mut Vec<u8>, at: prop::sample::Index, kind: u8, value: u8) {
    let index = at.index(bytes.len());
    match kind {
        0 => bytes[index] = value,
        1 => bytes[index] ^= 1 << (value % 8),
        2 => bytes.truncate(index),
        3 => bytes.insert(index, value),
        4 => drop(bytes.remove(index)),
        _ => bytes.push(value),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn directories_come_back(stored in any_stored()) {
        prop_assert_eq!(StoredDirectory::decode(&stored.encode()), Ok(stored));
    }

    #[test]
    fn a_changed_directory_is_refused_or_another_canonical_one(
        stored in any_stored(), at in any::<prop::sample::Index>(), kind in 0u8..6, value in any::<u8>(),
    ) {
        let mut bytes = stored.encode();
        mutate(&mut bytes, at, kind, value);
        if let Ok(decoded) = StoredDirectory::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn commits_come_back(commit in any_commit()) {
        prop_assert_eq!(Commit::decode(&commit.encode()), Ok(commit));
    }

    #[test]
    fn a_changed_commit_is_refused_or_another_canonical_one(
        commit in any_commit(), at in any::<prop::sample::Index>(), kind in 0u8..6, value in any::<u8>(),
    ) {
        let mut bytes = commit.encode();
        mutate(&mut bytes, at, kind, value);
        if let Ok(decoded) = Commit::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}

fn stored(entries: &[(&str, StoredNode)]) -> Vec<u8> {
    let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
    let entries = entries.iter().map(|(text, node)| (name(text), node.clone())).collect();
    StoredDirectory { metadata: Metadata::root(0o755), entries }.encode()
}

#[test]
fn what_is_not_canonical_is_refused() {
    let fifo = || StoredNode::Leaf(Node::Fifo(Metadata::root(0o600)));
    let good = stored(&[("aa", fifo()), ("bb", fifo())]);
    assert!(StoredDirectory::decode(&good).is_ok());
    let head = stored(&[]).len();
    let entry = (good.len() - head) / 2;
    let refuse = |what: &str, bytes: Vec<u8>| {
        assert!(StoredDirectory::decode(&bytes).is_err(), "{what}");
    };
    refuse("out of order", [&good[..head], &good[head + entry..], &good[head..head + entry]].concat());
    refuse("twice", [&good[..head], &good[head..head + entry], &good[head..head + entry]].concat());
    refuse("a byte too many", [&good[..], &[0]].concat());
    refuse("a byte too few", good[..good.len() - 1].to_vec());
    refuse("nothing", Vec::new());
    let change = |at: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    refuse("another magic", change(0, b"m"));
    refuse("another version", change(7, &[2]));
    refuse("mode bits", change(8, &0o10000u16.to_le_bytes()));
    refuse("no user", change(10, &u32::MAX.to_le_bytes()));
    refuse("no group", change(14, &u32::MAX.to_le_bytes()));
    refuse("four thousand million attributes", change(18, &u32::MAX.to_le_bytes()));
    refuse("an empty name", change(head, &[0]));
    refuse("a slash", change(head + 1, b"/"));
    refuse("a NUL", change(head + 1, &[0]));
    refuse("dots", change(head + 1, b".."));
    refuse("kind 0", change(head + 3, &[0]));
    refuse("kind 9", change(head + 3, &[9]));
    let link = stored(&[("l", StoredNode::Leaf(Node::HardLink(path("/abc"))))]);
    for target in [&b"abcd"[..], b"/ab/", b"/./a", b"//ab", b"/a\0b"] {
        let mut changed = link.clone();
        let end = changed.len();
        changed[end - 4..].copy_from_slice(target);
        refuse("a wrong target", changed);
    }
}

#[test]
fn the_identity_depends_on_what_the_image_depends_on_and_nothing_else() {
    let tree = TreeRef { id: Digest::of(b"t").0.into(), size: 22 };
    let base = commit_of(tree);
    let identity = base.identity();
    let same = [
        Commit { parents: vec![base.id()], ..base.clone() },
        Commit { annotations: BTreeMap::from([("by".to_owned(), "me".to_owned())]), ..base.clone() },
        Commit { variables: BTreeMap::from([("v".to_owned(), "1".to_owned())]), ..base.clone() },
        Commit { recipe: vec![("r.hcl".to_owned(), Content::of(b"text"))], ..base.clone() },
        Commit { lock: Some(Content::of(b"lock")), ..base.clone() },
        Commit { tool_version: "9.9".to_owned(), ..base.clone() },
    ];
    for commit in same {
        assert_eq!(commit.identity(), identity);
        assert_ne!(commit.id(), base.id());
    }
    let disk = |change: fn(&mut DiskSpec)| {
        let mut commit = base.clone();
        change(&mut commit.disk);
        commit
    };
    let other = [
        Commit { tree: TreeRef { size: 23, ..tree }, ..base.clone() },
        Commit { boot: Some(tree), ..base.clone() },
        Commit { epoch: 0, ..base.clone() },
        Commit { name: "other".to_owned(), ..base.clone() },
        Commit { version: None, ..base.clone() },
        disk(|disk| disk.layout = 2),
        disk(|disk| disk.architecture = Architecture::Aarch64),
        disk(|disk| disk.filesystem = Filesystem::Ext4Stable),
        disk(|disk| disk.slot_size = Some(0)),
        disk(|disk| disk.uki_size = None),
        disk(|disk| disk.data_size += 1),
        disk(|disk| disk.data_path = "/var".to_owned()),
        disk(|disk| disk.tries = 4),
    ];
    for commit in other {
        assert_ne!(commit.identity(), identity, "{commit:?}");
    }
}

/// A change of these digests is a change of the format, for every store that is out there.
#[test]
fn the_encodings_are_pinned() {
    let mut root = StoredDirectory { metadata: Metadata::root(0o755), entries: BTreeMap::new() };
    let metadata = Metadata {
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        xattrs: Xattrs::from([(b"user.a"[..].into(), b"1"[..].into())]),
    };
    let leaves = [
        ("file", Node::File(File { metadata: metadata.clone(), content: Content::of(b"abc") })),
        ("link", Node::Symlink(Symlink { metadata: metadata.clone(), target: b"file"[..].into() })),
        (
            "null",
            Node::Device(Device {
                metadata: metadata.clone(),
                kind: DeviceKind::Character,
                major: 1,
                minor: 3,
            }),
        ),
        (
            "sda",
            Node::Device(Device { metadata: metadata.clone(), kind: DeviceKind::Block, major: 8, minor: 0 }),
        ),
        ("pipe", Node::Fifo(metadata.clone())),
        ("sock", Node::Socket(metadata)),
        ("hard", Node::HardLink(path("/file"))),
    ];
    for (text, node) in leaves {
        root.entries.insert(Name::new(text.as_bytes()).expect("a name"), StoredNode::Leaf(node));
    }
    let child = TreeRef { id: Digest::of(b"child").0.into(), size: 22 };
    root.entries.insert(Name::new(b"dir").expect("a name"), StoredNode::Directory(child));
    assert_eq!(
        Digest::of(&root.encode()).to_string(),
        "68a52dba1e980ad4e53a4eb5363b3ed4763c861984602a290327c0fbb0f4a98c"
    );
    let mut commit = commit_of(child);
    commit.inputs = vec![Input { name: "a".into(), digest: InputDigest::Sha256(Digest::of(b"")), size: 3 }];
    commit.recipe = vec![("r.hcl".to_owned(), Content::of(b"text"))];
    assert_eq!(commit.id().to_string(), "5c6db594685f3efb8dcc9f794eb17b7dede9a7628f91fdba5ced7499b290bd88");
    assert_eq!(
        commit.identity().to_string(),
        "497e5a9b7858aa792f937fb7d400a5e8a2ccd70761006251702a24889a3d3d42"
    );
}

#[test]
fn whole_trees_come_back_and_equal_trees_are_one() {
    let folder = folder();
    let store = open(folder.path());
    let transaction = store.begin(&job());
    let xattrs = Xattrs::from([(b"user.x"[..].into(), [0; 9000][..].into())]);
    let metadata = Metadata { mode: 0o1777, uid: 5, gid: 6, xattrs };
    let mut root = Directory { metadata, ..Directory::default() };
    for index in 0..50 {
        add_file(
            &transaction,
            &mut root,
            &format!("/d{}/e{}/f{index}", index % 5, index % 3),
            format!("{index}").as_bytes(),
        );
    }
    root.insert(&path("/z/link"), Node::HardLink(path("/d0/e0/f0"))).expect("inserted");
    root.insert(&path("/empty"), Node::Directory(Directory::default())).expect("inserted");
    let sealed = root.seal().expect("sealed");
    let first = transaction.put_tree(&job(), &sealed).expect("put");
    assert_eq!(transaction.put_tree(&Job::quiet(8), &sealed).expect("put"), first);
    assert_eq!(transaction.read_tree(&job(), &first).expect("read"), *sealed);
    transaction.commit(&[], "").expect("committed");
    let read = open(folder.path()).read_tree(&job(), &first).expect("read");
    assert_eq!(read, *sealed);
    assert_eq!(read.seal().expect("sealed"), sealed);
}

#[test]
fn a_tree_as_deep_as_paths_go_comes_back_and_a_deeper_one_is_refused() {
    let folder = folder();
    let store = open(folder.path());
    let deep = |levels: usize| {
        let mut directory = Directory::default();
        for _ in 0..levels {
            let mut above = Directory::default();
            above.entries.insert(Name::new(b"d").expect("a name"), Node::Directory(directory));
            directory = above;
        }
        directory.seal().expect("sealed")
    };
    let transaction = store.begin(&job());
    let limit = mkimage::store::TREE_DEPTH_MAX;
    let tree = transaction.put_tree(&job(), &deep(limit)).expect("put");
    assert!(transaction.put_tree(&job(), &deep(limit + 1)).is_err());
    assert_eq!(transaction.read_tree(&job(), &tree).expect("read"), *deep(limit));
}
