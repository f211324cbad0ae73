//! What a recipe asks for, checked and with every default filled in. No text is parsed after this.

mod checks;
mod machine;
mod packages;

use std::collections::BTreeMap;
use std::fmt;

pub use checks::{BudgetPlan, FileTest, HttpTest, TestPlan};
pub use machine::{
    BootPlan, DEFAULT_MODULES, DiskPlan, Filesystem, KernelPlan, KernelSource, LoaderProgram, LoaderSource,
    Placement, UpdatePlan, UpdateReboot,
};
pub use packages::{ArchivePlan, BarePackagePlan, PackageDatabase, PackageName, PackagesPlan, ScriptPolicy};

use crate::base::{Bytes, ImagePath};

/// Holds everything that a recipe says, in recipe order where order matters.
///
/// Paths of the host are as written: relative ones are relative to the folder of the recipe file that
/// names them, and already joined with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub image: ImagePlan,
    /// What lies under all parts.
    pub base: Option<BasePlan>,
    /// Parts that bring files, in recipe order: later ones are laid over earlier ones.
    pub parts: Vec<Part>,
    pub users: Vec<UserPlan>,
    pub groups: Vec<GroupPlan>,
    /// The kernel. Absent where the recipe makes a tree that nobody boots: then only `compose` works.
    pub kernel: Option<KernelPlan>,
    pub boot: BootPlan,
    pub disk: DiskPlan,
    pub budget: Option<BudgetPlan>,
    pub tests: Vec<TestPlan>,
    /// How machines of this image update themselves. Absent: they don't.
    pub update: Option<UpdatePlan>,
    /// Every variable with the value it got, for provenance: sorted by name, as recipe text.
    pub variables: BTreeMap<String, String>,
    /// Every recipe text that was read: name as shown in messages, and the text. The main one first.
    pub sources: Vec<(String, String)>,
}

/// Where in a recipe something was asked for. Prints as `hello.hcl:12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The block, as people name it: `app "hello"`.
    pub block: String,
    pub file: String,
    /// From 1 on.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.block, self.file, self.line)
    }
}

/// `image "NAME" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePlan {
    /// `[a-z0-9][a-z0-9._-]{0,63}`: also the ref that `build` and `compose` move, and the host name.
    pub name: String,
    pub version: Option<String>,
    pub description: Option<String>,
    pub architecture: Architecture,
    /// Seconds since 1970 of every time stamp, 0 to 4354819199 (FAT's last second). `None`: 1980-01-01. The
    /// environment's `SOURCE_DATE_EPOCH` goes before both.
    pub epoch: Option<u64>,
    /// The tree's own init, for images that are a whole system. `None`: our PID 1 runs the app.
    pub init: Option<ImagePath>,
    pub origin: Origin,
}

/// `base { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct BasePlan {
    /// A ref of the store or the beginning of an id, as written.
    pub commit: String,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Aarch64,
}

/// A part of the recipe that brings files.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    App(AppPlan),
    Tree(TreePlan),
    File(FilePlan),
    Directory(DirectoryPlan),
    Symlink(SymlinkPlan),
    HardLink(HardLinkPlan),
    Device(DevicePlan),
    Packages(PackagesPlan),
    Run(RunPlan),
}

impl Part {
    /// Returns where the part was asked for.
    pub fn origin(&self) -> &Origin {
        match self {
            Part::App(part) => &part.origin,
            Part::Tree(part) => &part.origin,
            Part::File(part) => &part.origin,
            Part::Directory(part) => &part.origin,
            Part::Symlink(part) => &part.origin,
            Part::HardLink(part) => &part.origin,
            Part::Device(part) => &part.origin,
            Part::Packages(part) => &part.origin,
            Part::Run(part) => &part.origin,
        }
    }
}

/// Host input that is a file, a directory or an archive (plain, gzip, zstd or xz tar).
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePlan {
    /// Host path; what it is is seen when it is read.
    pub path: std::path::PathBuf,
    /// Where it goes: a file's own path, or the directory that a directory or archive fills.
    pub target: ImagePath,
    /// Leading components to drop from each path of an archive.
    pub strip_components: u32,
    /// Paths inside the image that may have setuid or setgid bits, be devices, or carry file
    /// capabilities or `trusted.*` attributes. Everything else that does is refused.
    pub allow: Vec<ImagePath>,
    /// Paths inside the image that may take over what an earlier part brought.
    pub replace: Vec<ImagePath>,
    /// Owner of every entry. `None`: the archive's numeric owner; root for a file or directory of the
    /// host, whose owner is an accident.
    pub owner: Option<Owner>,
    /// Permission bits, for a source that is one file. `None`: 0755 where its owner may execute it on the
    /// host, else 0644. (Of a host directory the executable bit counts too, and nothing else of a mode.)
    pub mode: Option<u16>,
}

/// `app "NAME" { … }`: what the machine runs, as its own unprivileged user. At most one an image, none
/// where `image.init` is given.
#[derive(Clone, Debug, PartialEq)]
pub struct AppPlan {
    pub name: String,
    pub source: SourcePlan,
    /// Program and arguments; the program is an absolute path inside the image.
    pub command: Vec<String>,
    /// A user of the recipe, or the one that the app brings along: `app` with id 1000 where none is named.
    pub user: String,
    pub working_directory: ImagePath,
    pub environment: BTreeMap<String, String>,
    /// TCP ports that `mkimage run` forwards.
    pub ports: Vec<u16>,
    /// Ambient capabilities, upper case, such as `CAP_NET_BIND_SERVICE`.
    pub capabilities: Vec<String>,
    pub restart: Restart,
    pub stop_signal: String,
    pub stop_timeout_seconds: u32,
    pub health: Option<HealthPlan>,
    pub configuration: Option<ConfigurationPlan>,
    pub log: Option<LogPlan>,
    /// What of the libraries comes along that the app needs.
    pub closure: Option<Closure>,
    pub origin: Origin,
}

/// What happens when the app exits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start it again, whatever it returned (the default).
    Always,
    /// Start it again unless it returned 0; then power off.
    OnFailure,
    /// Power off.
    Never,
}

/// How what an app needs is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closure {
    /// The loader and the libraries that its ELF files name.
    Elf,
}

/// `health { … }` in an app, or in `boot`.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthPlan {
    pub check: HealthCheck,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
    /// How long the check must hold before a trial slot is blessed.
    pub hold_seconds: u32,
    /// How long the app has to become healthy before the machine gives the slot up and reboots.
    pub start_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// GET this path on this port of the loopback address; 200 to 399 is healthy.
    Http { port: u16, path: String },
    /// This port of the loopback address accepts a connection.
    Tcp { port: u16 },
    /// This command returns 0.
    Command(Vec<String>),
    /// This unit of systemd is active; in whole systems only.
    Unit(String),
}

/// `configuration { … }` in an app: what it is told at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationPlan {
    /// In the order in which they are asked.
    pub metadata: Vec<MetadataSource>,
    /// How long the app waits for metadata.
    pub wait_seconds: u32,
    /// Whether the app is not started without metadata.
    pub required: bool,
    /// Names of credentials that the app gets as files.
    pub credentials: Vec<String>,
}

/// A place of cloud metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataSource {
    Ec2,
    Nocloud,
    ConfigDrive,
}

/// `log { … }` in an app: where its output goes besides the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// `tcp://HOST:PORT` for syslog, `http://…` for a collector. `None`: only where the machine is told one.
    pub address: Option<String>,
    /// Most bytes of lines that wait for the collector.
    pub buffer: Bytes,
}

/// `tree "NAME" { … }`: a directory or archive laid into the image.
#[derive(Clone, Debug, PartialEq)]
pub struct TreePlan {
    pub name: String,
    pub source: SourcePlan,
    pub origin: Origin,
}

/// Mode, owner and attributes of an inode that the recipe states.
#[derive(Clone, Debug, PartialEq)]
pub struct InodePlan {
    pub path: ImagePath,
    pub mode: u16,
    pub owner: Owner,
    /// By full name; values are text, or bytes given as `hex("…")`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// File capabilities, upper case (`CAP_NET_RAW`): permitted and effective.
    pub capabilities: Vec<String>,
    /// May take over what an earlier part brought.
    pub replace: bool,
}

/// A user and a group, each by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub user: Account,
    pub group: Account,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    Id(u32),
    Name(String),
}

/// `file "/path" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct FilePlan {
    pub inode: InodePlan,
    pub content: FileContent,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FileContent {
    Inline(String),
    /// A file of the host.
    Host(std::path::PathBuf),
}

/// `directory "/path" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct DirectoryPlan {
    pub inode: InodePlan,
    pub origin: Origin,
}

/// `symlink "/path" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct SymlinkPlan {
    pub inode: InodePlan,
    pub target: String,
    pub origin: Origin,
}

/// `hard_link "/path" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct HardLinkPlan {
    pub path: ImagePath,
    pub target: ImagePath,
    pub replace: bool,
    pub origin: Origin,
}

/// `device "/path" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    pub inode: InodePlan,
    pub kind: DeviceNode,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNode {
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// `user "NAME" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct UserPlan {
    pub name: String,
    pub uid: u32,
    /// Primary group; a group of the same name and id is made where the recipe has none.
    pub group: Account,
    /// Further groups, by name.
    pub groups: Vec<String>,
    pub home: String,
    pub shell: String,
    pub comment: String,
    pub origin: Origin,
}

/// `group "NAME" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPlan {
    pub name: String,
    pub gid: u32,
    pub origin: Origin,
}

/// `run "NAME" { … }`: commands in the sandbox, on the tree so far.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Host files and folders that the commands see, read-only, by where they see them.
    pub inputs: Vec<(ImagePath, std::path::PathBuf)>,
    pub environment: BTreeMap<String, String>,
    pub working_directory: ImagePath,
    /// Globs of paths that may change; a change elsewhere is an error.
    pub outputs: Vec<String>,
    pub timeout_seconds: u32,
    pub origin: Origin,
}
