//! A nasty tree, the helper, OSTree's tools, and a look at directories of this machine.

use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use mkimage::base::{CommitId, ImagePath, Job, Name};
use mkimage::store::{
    Architecture, Commit, DiskSpec, Expected, Filesystem, Objects, RefName, RefUpdate, Store,
};
use mkimage::tree::dump::dump;
use mkimage::tree::{Content, ContentSink, Directory, File, Metadata, Node, Symlink, Xattrs};

use crate::tool::{self, succeed};

/// Returns `mkimage-ostree`: where `make` built it, else built now.
pub fn helper() -> PathBuf {
    static HELPER: OnceLock<PathBuf> = OnceLock::new();
    HELPER
        .get_or_init(|| {
            if let Some(helper) = std::env::var_os("MKIMAGE_OSTREE") {
                return helper.into();
            }
            let helper = "target/dynamic/x86_64-unknown-linux-gnu/helper/mkimage-ostree";
            succeed(Command::new("make").args(["--silent", helper]).current_dir(tool::root()));
            tool::root().join(helper)
        })
        .clone()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A place with a store and repositories, on a file system that keeps attributes.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub job: Job,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        Place { folder, job: Job::quiet(2) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> Store {
        Store::open(self.path("store")).expect("opened")
    }

    /// Prepares `mkimage … ` with this place's store and the helper.
    pub fn mkimage<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = tool::mkimage(arguments);
        command.env("MKIMAGE_STORE", self.path("store")).env("MKIMAGE_OSTREE", helper());
        command.current_dir(self.folder.path());
        command
    }

    /// Prepares a call of OSTree's own tool.
    pub fn ostree<S: AsRef<std::ffi::OsStr>>(
        &self,
        repository: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = tool::tool("ostree", [format!("--repo={repository}")]);
        command.args(arguments).current_dir(self.folder.path()).env("LC_ALL", "C");
        command
    }

    /// Puts a tree and a commit, with a boot tree and a recipe, at the ref "nasty".
    pub fn commit(&self, version: &str, fill: impl FnOnce(&mut Nasty<'_>)) -> CommitId {
        let store = self.store();
        let transaction = store.begin(&self.job);
        let mut nasty = Nasty { root: Directory::default(), sink: &transaction };
        fill(&mut nasty);
        let tree = nasty.root.seal().expect("sealed");
        let tree = transaction.put_tree(&self.job, &tree).expect("put");
        let mut boot = Nasty { root: Directory::default(), sink: &transaction };
        boot.file("/kernel", b"a kernel", Metadata::root(0o644));
        boot.file("/command-line", b"quiet", Metadata::root(0o644));
        let boot = boot.root.seal().expect("sealed");
        let boot = transaction.put_tree(&self.job, &boot).expect("put");
        let recipe = transaction.put(b"image \"nasty\" {}\n").expect("put");
        let commit = transaction.put_commit(&Commit {
            boot: Some(boot),
            recipe: vec![("nasty.hcl".to_owned(), recipe)],
            version: Some(version.to_owned()),
            ..bare_commit(tree)
        });
        let commit = commit.expect("put");
        let name = RefName::new("nasty").expect("a name");
        let update = RefUpdate { name, expected: Expected::Any, new: commit };
        transaction.commit(&[update], "a test").expect("committed");
        commit
    }

    /// Returns the dump of a commit's tree.
    pub fn dump(&self, commit: &CommitId) -> String {
        let store = self.store();
        let commit = store.read_commit(commit).expect("a commit");
        dump(&store.read_tree(&self.job, &commit.tree).expect("a tree"))
    }
}

fn bare_commit(tree: mkimage::store::TreeRef) -> Commit {
    Commit {
        tree,
        boot: None,
        disk: DiskSpec {
            layout: 1,
            architecture: Architecture::X86_64,
            filesystem: Filesystem::Ext4,
            slot_size: None,
            uki_size: None,
            data_size: 16 << 20,
            data_path: "/data".to_owned(),
            tries: 3,
        },
        epoch: 1_700_000_000,
        name: "nasty".to_owned(),
        version: None,
        recipe: Vec::new(),
        variables: Default::default(),
        lock: None,
        inputs: Vec::new(),
        parents: Vec::new(),
        tool_version: "0.1.0".to_owned(),
        annotations: Default::default(),
    }
}

/// A tree in the making.
pub struct Nasty<'a> {
    pub root: Directory,
    pub sink: &'a dyn ContentSink,
}

pub fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// Makes metadata; the numbers of users are those of this process where only root can give files away.
pub fn metadata(mode: u16, uid: u32, gid: u32, xattrs: &[(&str, &[u8])]) -> Metadata {
    let (uid, gid) = if is_root() { (uid, gid) } else { (own().0, own().1) };
    let mine = |(name, value): &(&str, &[u8])| (name.as_bytes().into(), (*value).into());
    Metadata { mode, uid, gid, xattrs: xattrs.iter().map(mine).collect() }
}

fn own() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

impl Nasty<'_> {
    pub fn put(&mut self, at: &str, node: Node) {
        self.root.insert(&path(at), node).expect("inserted");
    }

    pub fn file(&mut self, at: &str, bytes: &[u8], metadata: Metadata) {
        let content = self.sink.put(bytes).expect("put");
        self.put(at, Node::File(File { metadata, content }));
    }

    pub fn directory(&mut self, at: &str, metadata: Metadata) {
        self.put(at, Node::Directory(Directory { metadata, ..Directory::default() }));
    }

    pub fn symlink(&mut self, at: &str, target: &str, metadata: Metadata) {
        self.put(at, Node::Symlink(Symlink { metadata, target: target.as_bytes().into() }));
    }

    /// Puts everything that OSTree can hold and that has tripped somebody before.
    pub fn everything(&mut self) {
        let plain = |mode| metadata(mode, 0, 0, &[]);
        self.root.metadata = metadata(0o755, 0, 0, &[("user.root", b"/")]);
        self.file("/empty", b"", plain(0o644));
        self.file("/large", &noise(3_300_000), plain(0o600));
        self.file("/zeros", &vec![0; 1_200_000], plain(0o644));
        self.file("/locked", b"nobody may", plain(0o000));
        self.file("/bin/setuid", b"#!", metadata(0o4755, 1000, 1001, &[]));
        self.file("/bin/all", b"#!", metadata(0o7777, 4_294_967_294, 65_534, &[]));
        let binary: &[u8] = &[0, 255, 10, 0];
        let attributes = [("user.binary", binary), ("user.z", b"z"), ("user.a", b"a")];
        self.file("/attributes", b"x", metadata(0o640, 0, 42, &attributes));
        self.directory("/tmp", metadata(0o1777, 0, 0, &[]));
        self.directory("/spool/mail", metadata(0o2770, 8, 12, &[("user.d", b"directory")]));
        self.file("/names/ä \"$'\\ ö", b"1", plain(0o644));
        self.file("/names/-rf", b"2", plain(0o644));
        self.file("/names/line\nline", b"3", plain(0o644));
        self.file(&format!("/names/{}", "n".repeat(255)), b"4", plain(0o644));
        self.file(&format!("/deep{}/end", "/d".repeat(60)), b"5", plain(0o644));
        self.symlink("/links/loop", "loop", metadata(0o777, 0, 0, &[]));
        self.symlink("/links/a", "b", metadata(0o777, 0, 0, &[]));
        self.symlink("/links/b", "a", metadata(0o777, 1000, 1000, &[]));
        self.symlink("/links/out", "../../../../../etc/passwd", metadata(0o777, 0, 0, &[]));
        self.symlink("/links/long", &"x/".repeat(1000), metadata(0o777, 0, 0, &[]));
        self.symlink("/links/ünïcode", "/ä", metadata(0o777, 0, 0, &[]));
        self.file("/same/one", b"one content", metadata(0o644, 0, 0, &[]));
        self.file("/same/other-mode", b"one content", metadata(0o600, 0, 0, &[]));
        self.put("/same/linked", Node::HardLink(path("/same/one")));
        self.put("/zz/linked", Node::HardLink(path("/same/one")));
        if is_root() {
            let capability: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            self.file("/bin/capable", b"#!", metadata(0o755, 0, 0, &[("security.capability", capability)]));
            self.file("/trusted", b"t", metadata(0o644, 0, 0, &[("trusted.x", b"1")]));
        }
    }
}

/// Fills a tree with everything that is nasty.
pub fn everything(nasty: &mut Nasty<'_>) {
    nasty.everything();
}

/// Bytes that don't compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Returns a dump as clients see the tree: hard links as files of their own.
pub fn unlinked(dump: &str) -> String {
    let lines: Vec<&str> = dump.lines().collect();
    let rest = |at: &str| {
        let file =
            lines.iter().find(|line| line.starts_with(&format!("{at} f "))).expect("the file of a link");
        file[at.len()..].to_owned()
    };
    let line = |line: &&str| match line.split_once(" h = ") {
        Some((at, target)) => format!("{at}{}\n", rest(target)),
        None => format!("{line}\n"),
    };
    lines.iter().map(line).collect()
}

/// Dumps a directory of this machine as it is.
pub fn dump_host(folder: &Path) -> String {
    let mut root = Directory { metadata: host_metadata(folder), ..Directory::default() };
    let mut waiting = vec![(folder.to_owned(), ImagePath::root())];
    while let Some((folder, at)) = waiting.pop() {
        for name in mkimage::base::fs::list(&folder).expect("a directory") {
            let (host, at) = (folder.join(&name), at.join(&Name::new(name.as_bytes()).expect("a name")));
            let kind = host.symlink_metadata().expect("an entry").file_type();
            let metadata = host_metadata(&host);
            let node = if kind.is_dir() {
                waiting.push((host, at.clone()));
                Node::Directory(Directory { metadata, ..Directory::default() })
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&host).expect("a symlink");
                Node::Symlink(Symlink { metadata, target: target.as_os_str().as_bytes().into() })
            } else {
                assert!(kind.is_file(), "{}", host.display());
                Node::File(File { metadata, content: Content::of(&std::fs::read(&host).expect("read")) })
            };
            root.insert(&at, node).expect("inserted");
        }
    }
    dump(&root)
}

fn host_metadata(path: &Path) -> Metadata {
    let found = path.symlink_metadata().expect("an entry");
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names).expect("attributes");
    let mut xattrs = Xattrs::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value).expect("an attribute");
        if name != b"security.selinux" {
            xattrs.insert(name.into(), value[..length].into());
        }
    }
    Metadata { mode: (found.mode() & 0o7777) as u16, uid: found.uid(), gid: found.gid(), xattrs }
}

/// A plain HTTP server over a folder, until it is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    pub fn over(folder: &Path) -> Self {
        let mut command =
            tool::tool("python3", ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]);
        command.arg(folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("python3; `make test` installs what the tests need");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let port = line.split("port ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        Server { port: port.unwrap_or_else(|| panic!("no port in {line:?}")), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
