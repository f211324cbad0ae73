//! The running slot as a source of contents: its file system, of which every block is verified, and its kernel image,
//! both by the digest of what they hold. What is damaged is not lent: then it is fetched.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::error::{AgentError, Result};
use crate::base::{BlobId, CommitId, Digest, Job, Name, whole};
use crate::boot::origin::Origin;
use crate::boot::uki;
use crate::disk::BlockDevice;
use crate::disk::ext4::{Ext4Entry, Ext4Reader};
use crate::store::{Commit, Lender, StoreError, StoredDirectory, Transaction, TreeRef};
use crate::tree::{Content, ContentError, ContentSource, DataMap, Directory, Node};

/// How much longer a kernel can stand in its section than it is: sections end at multiples of this.
const SECTION_BYTES: usize = 512;
/// ext4's own directory, which no commit need name.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// Everything that the running slot lends. Holds names and places, and the kernel image; files stay on the disk.
pub struct Running {
    /// `None`: nothing of the file system can be read.
    device: Option<Box<dyn BlockDevice + Send>>,
    uki: Vec<u8>,
    lent: HashMap<Digest, Lent>,
}

/// Where a content lies.
enum Lent {
    File {
        entry: Ext4Entry,
        map: DataMap,
    },
    /// In the kernel image, from where to where.
    Uki(usize, usize),
    Text(Vec<u8>),
}

/// What the running slot is, beside its contents.
pub struct Described {
    pub commit: Commit,
    /// The root, as it was read back, where all of it could be.
    pub tree: Option<Directory>,
    /// Encodings that may be the commit's boot tree.
    pub directories: Vec<Vec<u8>>,
}

impl Running {
    /// Reads a slot back: each file once, in parallel. `device` is the verified file system, which answers with an error
    /// where it is damaged, and `None` where all of it is; `kept` are small contents and directories from earlier, each
    /// only believed by its digest.
    pub fn read(
        device: Option<Box<dyn BlockDevice + Send>>,
        uki: Vec<u8>,
        kept: Vec<Vec<u8>>,
        job: &Job,
    ) -> Result<(Running, Described)> {
        let (tree, mut lent) = match &device {
            Some(device) => lend_files(&**device, job)?,
            None => (None, HashMap::new()),
        };
        let (commit, origin) = lend_sections(&uki, &mut lent)?;
        let mut directories = kept;
        directories.extend([origin.boot_tree]);
        for text in directories.iter().chain(&origin.recipe).chain(&origin.lock) {
            lent.entry(BlobId::of(text).0).or_insert_with(|| Lent::Text(text.clone()));
        }
        Ok((Running { device, uki, lent }, Described { commit, tree, directories }))
    }

    fn bytes(&self, content: &Content) -> Option<&[u8]> {
        match self.lent.get(&content.id.0)? {
            Lent::Uki(start, end) => self.uki.get(*start..*end),
            Lent::Text(bytes) => Some(bytes),
            Lent::File { .. } => None,
        }
    }
}

/// Enters the files that can be read. What can't is told, and is no reason to give up: it is fetched.
fn lend_files(device: &dyn BlockDevice, job: &Job) -> Result<(Option<Directory>, HashMap<Digest, Lent>)> {
    let files = Mutex::new(HashMap::new());
    let see = |entry: &Ext4Entry, content: Content, map: DataMap| {
        let lent = Lent::File { entry: entry.clone(), map };
        files.lock().unwrap_or_else(PoisonError::into_inner).insert(content.id.0, lent);
    };
    let tree = Ext4Reader::open(device).and_then(|reader| reader.salvage(job, &see)).flatten();
    job.check()?;
    let tree = tree.inspect_err(|error| {
        job.warn(format!("the running slot is damaged, and what it lacks is fetched: {}", whole(error)));
    });
    Ok((tree.ok(), files.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// Enters what a kernel image holds of the boot files, and returns the commit that it was made from, with what it says
/// of its origin.
fn lend_sections(image: &[u8], lent: &mut HashMap<Digest, Lent>) -> Result<(Commit, Origin)> {
    let sections = uki::read(image)?;
    let place = |part: &[u8]| {
        let start = part.as_ptr() as usize - image.as_ptr() as usize;
        (start, start + part.len())
    };
    let mut lend = |id: BlobId, (start, end): (usize, usize)| drop(lent.insert(id.0, Lent::Uki(start, end)));
    lend(BlobId::of(sections.initrd), place(sections.initrd));
    lend(BlobId::of(sections.uname.as_bytes()), place(sections.uname.as_bytes()));
    // The kernel ends somewhere in the zeros that its section ends with: all its possible ends are entered.
    let kernel = sections.kernel;
    let zeros = kernel.iter().rev().take(SECTION_BYTES).take_while(|byte| **byte == 0).count();
    let (start, end) = place(kernel);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&kernel[..kernel.len() - zeros]);
    for behind in (0..=zeros).rev() {
        lend(BlobId::from(*hasher.finalize().as_bytes()), (start, end - behind));
        hasher.update(&[0]);
    }
    // Without it, what it says is fetched.
    let origin = Origin::decode(sections.origin).unwrap_or_default();
    Ok((Commit::decode(sections.commit)?, origin))
}

impl Described {
    /// Puts the running commit into a transaction of a store that borrows from the slot, so that differences to
    /// it can be used. Returns whether all of it is there; where it isn't, its contents still are.
    pub fn put(&self, transaction: &Transaction<'_>, job: &Job) -> Result<bool> {
        let Some(root) = &self.tree else { return Ok(false) };
        let tree = self.put_root(root, transaction, job)?;
        if tree != self.commit.tree {
            job.warn("the running root is not what its commit says; only its files are of use");
            return Ok(false);
        }
        if let Some(boot) = self.commit.boot {
            let encoding = self.directories.iter().find(|bytes| TreeRef::of(bytes) == boot);
            let Some(directory) = encoding.and_then(|bytes| StoredDirectory::decode(bytes).ok()) else {
                return Ok(false);
            };
            if !is_put(transaction.put_directory(&directory))? {
                return Ok(false);
            }
        }
        is_put(transaction.put_commit(&self.commit))
    }

    /// Returns the id of the running commit.
    pub fn id(&self) -> CommitId {
        self.commit.id()
    }

    /// A tree without `/lost+found` gets one on its disk: the commit says whether it had one of its own.
    fn put_root(&self, root: &Directory, transaction: &Transaction<'_>, job: &Job) -> Result<TreeRef> {
        let mut without = root.clone();
        let name = Name::new(LOST_AND_FOUND).expect("because it is a name");
        if let Some(Node::Directory(found)) = without.entries.get(&name)
            && found.entries.is_empty()
        {
            without.entries.remove(&name);
        }
        let put = |tree: Directory| -> Result<TreeRef> {
            let sealed = tree
                .seal()
                .map_err(|errors| AgentError::Tree { problem: format!("{:?}", errors.first()) })?;
            Ok(transaction.put_tree(job, &sealed)?)
        };
        let tree = put(without)?;
        if tree == self.commit.tree { Ok(tree) } else { put(root.clone()) }
    }
}

/// Tells what is missing from what failed.
fn is_put<T>(put: std::result::Result<T, StoreError>) -> Result<bool> {
    match put {
        Ok(_) => Ok(true),
        Err(StoreError::Incomplete { .. } | StoreError::Missing { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl ContentSource for Running {
    fn data_map(&self, content: &Content) -> std::result::Result<DataMap, ContentError> {
        if let Some(bytes) = self.bytes(content) {
            let mut map = DataMap::default();
            map.scan(0, bytes);
            return Ok(map);
        }
        match self.lent.get(&content.id.0) {
            Some(Lent::File { map, .. }) => Ok(map.clone()),
            _ => Err(ContentError::Missing { id: content.id }),
        }
    }

    fn read_at(
        &self,
        content: &Content,
        offset: u64,
        buffer: &mut [u8],
    ) -> std::result::Result<(), ContentError> {
        let outside = || ContentError::Damaged {
            id: content.id,
            problem: format!("{} bytes at {offset} lie behind the end of what the slot has", buffer.len()),
        };
        if let Some(bytes) = self.bytes(content) {
            let start = usize::try_from(offset).map_err(|_| outside())?;
            let part = bytes.get(start..).and_then(|rest| rest.get(..buffer.len())).ok_or_else(outside)?;
            buffer.copy_from_slice(part);
            return Ok(());
        }
        let (Some(Lent::File { entry, .. }), Some(device)) = (self.lent.get(&content.id.0), &self.device)
        else {
            return Err(ContentError::Missing { id: content.id });
        };
        let damaged = |error| ContentError::Damaged { id: content.id, problem: whole(&error) };
        let reader = Ext4Reader::open(&**device).map_err(damaged)?;
        reader.read_at(entry, offset, buffer).map_err(damaged)?;
        let is_whole = offset == 0 && buffer.len() as u64 == content.size;
        if is_whole && BlobId::of(buffer) != content.id {
            let problem = "the running slot holds something else since it was read first".to_owned();
            return Err(ContentError::Damaged { id: content.id, problem });
        }
        Ok(())
    }
}

impl Lender for Running {
    fn has(&self, id: &Digest) -> bool {
        self.lent.contains_key(id)
    }
}

/// A part of a device that is owned, to be read only: a slot's partition where nothing verifies it block by block.
pub struct Part<D> {
    pub device: D,
    pub start: u64,
    pub size: u64,
}

impl<D: BlockDevice> BlockDevice for Part<D> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.size => self.device.read_at(self.start + offset, buffer),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a read passes the end of the slot")),
        }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the running slot is never written"))
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ImagePath;
    use crate::boot::uki::UkiParts;
    use crate::disk::MemoryDevice;
    use crate::disk::ext4::{self, Ext4Options};
    use crate::store::{Architecture, DiskSpec, Filesystem, Objects, Store};
    use crate::tree::{ContentSink, File, MemoryContents, Metadata, SealedTree};
    use std::sync::Arc;

    const PROGRAM: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

    fn host(path: &str) -> Vec<u8> {
        std::fs::read(path)
            .unwrap_or_else(|error| panic!("{path}: {error}: install the package systemd-boot-efi"))
    }

    /// A root with a large file, one with holes, two names of one file, and an empty one.
    fn root(contents: &MemoryContents) -> SealedTree {
        let mut root = Directory::default();
        let mut put = |path: &str, node: Node| {
            root.insert(&ImagePath::new(path.as_bytes()).expect("a path"), node).expect("inserted");
        };
        let large: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let mut holes = vec![0; 1 << 20];
        holes[500_000] = 1;
        for (path, bytes) in [("/usr/large", large), ("/var/holes", holes), ("/etc/empty", Vec::new())] {
            let content = contents.put(&bytes).expect("put");
            put(path, Node::File(File { metadata: Metadata::root(0o600), content }));
        }
        put("/usr/zz", Node::HardLink(ImagePath::new(b"/usr/large").expect("a path")));
        root.seal().expect("sealed")
    }

    fn slot(root: &SealedTree, contents: &MemoryContents, job: &Job) -> Box<MemoryDevice> {
        let options = Ext4Options {
            uuid: [1; 16],
            hash_seed: [2; 16],
            label: Vec::new(),
            epoch_seconds: 0,
            placement: ext4::Ext4Placement::Dense,
            size: None,
            journal: false,
            growable: false,
        };
        let layout = ext4::plan(root, contents, &options, job).expect("planned");
        let device = MemoryDevice::new(layout.size().0);
        layout.write(&device, contents, None, job).expect("written");
        Box::new(device)
    }

    fn commit(tree: TreeRef) -> Commit {
        Commit {
            tree,
            boot: None,
            disk: DiskSpec {
                layout: 1,
                architecture: Architecture::X86_64,
                filesystem: Filesystem::Ext4,
                slot_size: None,
                uki_size: None,
                data_size: 1 << 20,
                data_path: "/data".to_owned(),
                tries: 3,
            },
            epoch: 0,
            name: "test".to_owned(),
            version: None,
            recipe: Vec::new(),
            variables: Default::default(),
            lock: None,
            inputs: Vec::new(),
            parents: Vec::new(),
            tool_version: "0".to_owned(),
            annotations: Default::default(),
        }
    }

    fn uki(commit: &Commit, kernel: &[u8]) -> Vec<u8> {
        uki::build(&UkiParts {
            stub: &host(STUB),
            os_release: &uki::os_release("test", None),
            uname: "6.1.0-test",
            command_line: "quiet",
            initrd: &[7; 5001],
            kernel,
            commit: &commit.encode(),
            origin: b"",
        })
        .expect("built")
    }

    #[test]
    fn a_slot_is_read_back_as_the_commit_that_it_was_made_from_and_nothing_is_put_twice() {
        let (job, contents, folder) =
            (Job::quiet(2), MemoryContents::default(), tempfile::tempdir().expect("a folder"));
        let root = root(&contents);
        // What the commit names: its tree, as a store would have it.
        let other = Store::open(folder.path().join("other")).expect("a store");
        let making = other.begin(&job);
        for node in root.walk().map(|visit| visit.node) {
            if let Node::File(file) = node {
                making.put(&contents.read_all(&file.content).expect("read")).expect("put");
            }
        }
        let tree = making.put_tree(&job, &root).expect("put");
        let mut kernel = host(PROGRAM);
        kernel.extend_from_slice(&[1, 0, 0, 0, 0]);
        let image = uki(&commit(tree), &kernel);

        let (running, described) =
            Running::read(Some(slot(&root, &contents, &job)), image, Vec::new(), &job).expect("read back");
        let parts = [Content::of(&kernel), Content::of(&[7; 5001]), Content::of(b"6.1.0-test")];
        for content in parts {
            assert!(running.has(&content.id.0), "the kernel image lends {content:?}");
            assert_eq!(Content::of(&running.read_all(&content).expect("read")), content);
        }
        let store = Store::open(folder.path().join("store")).expect("a store").borrowing(Arc::new(running));
        let transaction = store.begin(&job);
        assert!(described.put(&transaction, &job).expect("put"), "all of the commit is there");
        assert!(transaction.has(&described.id().0));
        let back = transaction.read_tree(&job, &tree).expect("read").seal().expect("sealed");
        assert_eq!(*back, *root);
        for visit in root.walk() {
            let Node::File(file) = visit.node else { continue };
            let (content, whole) = (&file.content, contents.read_all(&file.content).expect("read"));
            assert_eq!(transaction.read_all(content).expect("lent"), whole);
            assert_eq!(
                transaction.data_map(content).expect("a map"),
                contents.data_map(content).expect("a map")
            );
            let mut end = vec![0; whole.len().min(10)];
            transaction.read_at(content, (whole.len() - end.len()) as u64, &mut end).expect("lent");
            assert_eq!(end, whole[whole.len() - end.len()..]);
        }
    }

    #[test]
    fn a_slot_that_is_not_what_its_commit_says_lends_files_and_no_tree() {
        let (job, contents, folder) =
            (Job::quiet(1), MemoryContents::default(), tempfile::tempdir().expect("a folder"));
        let root = root(&contents);
        let image = uki(&commit(TreeRef::of(b"another tree")), &host(PROGRAM));
        let (running, described) =
            Running::read(Some(slot(&root, &contents, &job)), image, Vec::new(), &job).expect("read back");
        let store = Store::open(folder.path().join("store")).expect("a store").borrowing(Arc::new(running));
        let transaction = store.begin(&job);
        assert!(!described.put(&transaction, &job).expect("nothing fails"));
        assert!(!transaction.has(&described.id().0), "no difference to it can be used");
        assert!(root.walk().all(|visit| match visit.node {
            Node::File(file) => transaction.has(&file.content.id.0),
            _ => true,
        }));
    }
}
