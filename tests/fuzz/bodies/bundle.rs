//! Bundles: their tables, and deltas behind tables whose digests are right.

use std::io::Read;
use std::sync::LazyLock;

use mkimage::base::{CommitId, Digest, Job};
use mkimage::bundle::{self, Contents, Form, Receiver, Table};
use mkimage::store::{Architecture, Commit, DiskSpec, Expected, Filesystem, RefName, RefUpdate, Store};
use mkimage::tree::{ContentSink, Directory, File, Metadata, Node};

const HEADER_BYTES: usize = 16;

/// A store with two commits, and its bundles: of the first, and of the second for who has the first, in both versions
/// of the format.
struct Sample {
    store: Store,
    first: CommitId,
    bundles: [Vec<u8>; 3],
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("mkimage-fuzz-bundle-{}", std::process::id()));
    let store = Store::open(folder.join("store")).expect("opened");
    let text = b"some text that comes again and again ".repeat(40);
    let first = put(&store, &text);
    let second = put(&store, &[&text[..700], b"something else", &text[700..]].concat());
    let bundles = [(first, vec![], 0), (second, vec![first], 0), (second, vec![first], 7)];
    let bundles = bundles.map(|(commit, bases, salt)| {
        let contents = Contents::gather(&store, &[commit], &bases, &Job::quiet(1)).expect("gathered");
        let options = std::fs::File::options().read(true).write(true).create(true).truncate(true).to_owned();
        let scratch = options.open(folder.join("scratch")).expect("a file");
        let form = Form { salt, ..Form::default() };
        let mut bundle =
            bundle::write_as(&form, &store, &contents, scratch, &Job::quiet(1)).expect("written");
        let mut bytes = Vec::new();
        bundle.read_to_end(&mut bytes).expect("read");
        bytes
    });
    Sample { store, first, bundles }
});

fn put(store: &Store, text: &[u8]) -> CommitId {
    let job = Job::quiet(1);
    let transaction = store.begin(&job);
    let mut root = Directory::default();
    for (path, bytes) in [("/etc/text", text), ("/usr/empty", b""), ("/usr/share/short", b"short")] {
        let content = transaction.put(bytes).expect("put");
        let path = mkimage::base::ImagePath::new(path.as_bytes()).expect("a path");
        root.insert(&path, Node::File(File { metadata: Metadata::root(0o644), content })).expect("inserted");
    }
    let tree = transaction.put_tree(&job, &root.seal().expect("sealed")).expect("put");
    let disk = DiskSpec {
        layout: 1,
        architecture: Architecture::X86_64,
        filesystem: Filesystem::Ext4,
        slot_size: None,
        uki_size: None,
        data_size: 0,
        data_path: "/data".to_owned(),
        tries: 3,
    };
    let commit = Commit {
        tree,
        boot: None,
        disk,
        epoch: 0,
        name: "fuzz".to_owned(),
        version: None,
        recipe: Vec::new(),
        variables: Default::default(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "fuzz".to_owned(),
        annotations: Default::default(),
    };
    let id = transaction.put_commit(&commit).expect("put");
    let name = RefName::new("fuzz").expect("a name");
    transaction.commit(&[RefUpdate { name, expected: Expected::Any, new: id }], "fuzz").expect("committed");
    id
}

/// A whole file: its table names itself right, its frames may not.
pub fn file(bytes: &[u8]) {
    let Some(length) = bytes.get(12..HEADER_BYTES) else { return };
    let length = u32::from_le_bytes(length.try_into().expect("because 4 bytes were taken")) as usize;
    let Some(prefix) = HEADER_BYTES.checked_add(length).and_then(|end| bytes.get(..end)) else { return };
    let Ok(table) = Table::parse(prefix, &Digest::of(prefix)) else { return };
    assert!(table.ids_range().end == table.file_bytes());
    receive(&table, bytes);
}

/// The bytes of a delta frame, behind a table that fits them.
pub fn delta(bytes: &[u8]) {
    let size = bytes.first().map_or(1, |&byte| u64::from(byte) * 16 + 1);
    let mut plain = vec![1];
    plain.extend_from_slice(SAMPLE.first.as_bytes());
    plain.extend_from_slice(&[1, 0, 0]);
    number(&mut plain, size);
    // One delta, of the first object, from the second one that the commit leads to: a file or its directory.
    plain.extend_from_slice(&[1, 0, bytes.len() as u8 % 8]);
    plain.push(0);
    plain.push(1);
    number(&mut plain, size);
    number(&mut plain, size);
    plain.extend_from_slice(&[0; 32]);
    plain.push(1);
    plain.push(1);
    number(&mut plain, bytes.len() as u64);
    plain.extend_from_slice(Digest::of(bytes).as_bytes());
    plain.extend_from_slice(&[0; 32]);
    let length = (plain.len() as u32).to_le_bytes();
    let prefix = [b"MKBUNDL\x01", &length[..], &length[..], &plain].concat();
    let table = Table::parse(&prefix, &Digest::of(&prefix)).expect("because this table is right");
    receive(&table, &[&prefix, bytes].concat());
}

/// A piece of a large file, behind a table that fits it: two bytes say how long it is.
pub fn patch(bytes: &[u8]) {
    let Some((length, patch)) = bytes.split_first_chunk::<2>() else { return };
    // The piece is read only where it is shorter than the file itself.
    let size = u64::from(u16::from_le_bytes(*length)).max(patch.len() as u64 + 1);
    let mut plain = vec![0, 1];
    plain.extend_from_slice(SAMPLE.first.as_bytes());
    plain.extend_from_slice(&[1, 0, 0]);
    number(&mut plain, size);
    // One delta, of the first object, from the text: the fifth that the commit leads to.
    plain.extend_from_slice(&[1, 0, 5]);
    plain.push(0);
    plain.push(1);
    number(&mut plain, size);
    number(&mut plain, size);
    plain.extend_from_slice(&[0; 32]);
    plain.extend_from_slice(&[1, 0]);
    number(&mut plain, size);
    number(&mut plain, patch.len() as u64);
    plain.extend_from_slice(Digest::of(patch).as_bytes());
    plain.extend_from_slice(&[0; 32]);
    let length = (plain.len() as u32).to_le_bytes();
    let prefix = [b"MKBUNDL\x02", &length[..], &length[..], &plain].concat();
    let table = Table::parse(&prefix, &Digest::of(&prefix)).expect("because this table is right");
    receive(&table, &[&prefix, patch].concat());
}

/// 40 bytes copied, 30 told from a window of 50, 5 new ones.
pub fn patch_seeds() -> Vec<Vec<u8>> {
    let mut patch = vec![75, 0, 3];
    for value in [40 << 2, 0, 30 << 2 | 1, 10, 50, 5 << 2 | 2, 5] {
        number(&mut patch, value);
    }
    patch.extend_from_slice(b"fresh and a stream");
    vec![patch]
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn receive(table: &Table, file: &[u8]) {
    let job = Job::quiet(1);
    let transaction = SAMPLE.store.begin(&job);
    let Ok(plan) = table.plan(&transaction, None, &job) else { return };
    let ranges = plan.ranges().to_vec();
    let receiver = Receiver::new(table, plan, &transaction, &job);
    for (number, range) in ranges.iter().enumerate() {
        let Some(bytes) = file.get(range.start as usize..range.end as usize) else { return };
        if receiver.take(number, bytes).is_err() {
            return;
        }
    }
    let _ = receiver.finish();
}

pub fn file_seeds() -> Vec<Vec<u8>> {
    SAMPLE.bundles.to_vec()
}

pub fn delta_seeds() -> Vec<Vec<u8>> {
    let bundle = &SAMPLE.bundles[1];
    let stored = u32::from_le_bytes(bundle[12..16].try_into().expect("because 4 bytes were taken")) as usize;
    vec![bundle[HEADER_BYTES + stored..].to_vec(), vec![0xff; 60]]
}
