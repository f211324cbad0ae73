//! The 147-package set, as mmdebstrap installs it: its tree, and the packages that it was made of.

use std::io::Read;
use std::path::PathBuf;
use std::sync::OnceLock;

use mkimage::archive::{Ar, Limits, Options, allow_all, decompress, read_tar};
use mkimage::base::{ImagePath, Job};
use mkimage::packages::unpack::Control;
use mkimage::packages::unpack::Share;
use mkimage::tree::{Contribution, Directory, MemoryContents, Metadata, Node, Symlink, merge};

use crate::tool::{kept, succeed, tool};

/// What the set is asked for by, beside all essential packages.
pub const ROOTS: &str = "systemd-sysv,linux-image-cloud-amd64,udev,dbus,kmod,iproute2,ca-certificates,\
                         openssh-server,nginx-light,python3-minimal,base-files,base-passwd,bash,coreutils,libc-bin";
/// Seconds since 1970 at which the reference tree says it was made.
pub const EPOCH: u64 = 1_700_000_000;

/// Returns the folder with `tree.tar` and `debs/`, made once: half a minute and 79 MB of packages.
pub fn folder() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = kept("reference-s147");
            if !folder.join("tree.tar").exists() {
                make(&folder);
            }
            folder
        })
        .clone()
}

fn make(folder: &std::path::Path) {
    let (made, debs) = (folder.join("tree.new.tar"), folder.join("debs"));
    std::fs::create_dir_all(&debs).expect("a folder");
    let hook = format!("--customize-hook=cp \"$1\"/var/cache/apt/archives/*.deb {}/", debs.display());
    let mut command = tool(
        "mmdebstrap",
        [
            "--variant=essential",
            "--format=tar",
            &format!("--include={ROOTS}"),
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=APT::Keep-Downloaded-Packages \"true\"",
            "--skip=essential/unlink,cleanup/apt/cache,download/empty",
            &hook,
            "bookworm",
        ],
    );
    succeed(command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).arg(&made));
    mkimage::base::fs::rename(&made, &folder.join("tree.tar")).expect("renamed");
}

/// A package as the room wants it.
pub struct Unpacked {
    pub control: Control,
    pub info: Directory,
    pub data: Directory,
}

/// The packages, unpacked and merged, with their contents in memory.
pub struct Set {
    pub packages: Vec<Unpacked>,
    pub tree: Directory,
    /// mmdebstrap's tree, devices left out.
    pub reference: Directory,
    pub contents: MemoryContents,
}

/// Returns the set, read once a test run.
pub fn set() -> &'static Set {
    static SET: OnceLock<Set> = OnceLock::new();
    SET.get_or_init(|| {
        let contents = MemoryContents::default();
        let job = Job::quiet(0);
        let debs = folder().join("debs");
        let names = mkimage::base::fs::list(&debs).expect("a list").into_iter();
        let mut paths: Vec<PathBuf> = names.map(|name| debs.join(name)).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "deb"));
        assert!(paths.len() > 100, "{} packages beside the reference", paths.len());
        let packages =
            job.workers.map(paths, |path| unpack(&std::fs::read(path).expect("a package"), &contents));
        let tree = merged(&packages);
        let tar = std::fs::File::open(folder().join("tree.tar")).expect("the reference");
        let mut reference = read(tar, &contents);
        reference.remove(&path("/dev"));
        Set { packages, tree, reference, contents }
    })
}

pub fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

fn read(reader: impl Read + Send, contents: &MemoryContents) -> Directory {
    let options =
        Options { label: "test".into(), policy: &allow_all, limits: Limits::default(), ..Options::default() };
    read_tar(reader, &options, contents, &Job::quiet(1)).expect("a tar")
}

/// Unpacks the bytes of a `.deb`.
pub fn unpack(bytes: &[u8], contents: &MemoryContents) -> Unpacked {
    let limits = Limits::default();
    let mut ar = Ar::new(bytes, &limits).expect("an ar");
    let mut trees = Vec::new();
    while let Some(member) = ar.next_member().expect("a member") {
        if member.name.starts_with("control.tar") || member.name.starts_with("data.tar") {
            let (_, unpacked) = decompress(&mut ar, &limits).expect("decompressed");
            trees.push(read(unpacked, contents));
        } else {
            std::io::copy(&mut ar, &mut std::io::sink()).expect("read");
        }
    }
    let data = trees.pop().expect("data.tar");
    let info = trees.pop().expect("control.tar");
    let control = {
        let job = Job::quiet(1);
        mkimage::packages::unpack::deb(bytes, Share::ONE, contents, &job).expect("a package").control
    };
    Unpacked { control, info, data }
}

/// Lays packages over each other, `/bin` and its kin as links into `/usr`.
fn merged(packages: &[Unpacked]) -> Directory {
    let mut base = Directory::default();
    for name in ["bin", "sbin", "lib", "lib64"] {
        base.insert(&path(&format!("/usr/{name}")), Node::Directory(Directory::default())).expect("inserted");
        let target = format!("usr/{name}").into_bytes().into();
        let link = Symlink { metadata: Metadata::root(0o777), target };
        base.insert(&path(&format!("/{name}")), Node::Symlink(link)).expect("inserted");
    }
    let part = |origin: &str, tree: &Directory| Contribution {
        origin: origin.to_owned(),
        tree: tree.clone(),
        replaces: Vec::new(),
        explicit: Vec::new(),
    };
    let mut parts = vec![part("base", &base)];
    parts.extend(packages.iter().map(|package| part(&package.control.name, &package.data)));
    merge(parts).expect("merged").0
}
