//! Packages, and where they come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Origin;
use crate::base::ImagePath;

/// Where packages come from: one suite of one archive.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivePlan {
    /// The label of its block, or the suite.
    pub name: String,
    /// Empty for `rpm`, whose repositories have none.
    pub suite: String,
    pub components: Vec<String>,
    /// Base address of the archive. `None`: by flag, environment or apt's configuration.
    pub mirror: Option<String>,
    /// Keyring file that must have signed the suite. `None`: the distribution's.
    pub signed_by: Option<PathBuf>,
    /// As apt's pin priority: of two versions, that of the source with the higher one is taken.
    pub priority: i32,
}

/// `packages "DISTRIBUTION" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct PackagesPlan {
    /// `debian`, `ubuntu` or `rpm`.
    pub distribution: String,
    /// In recipe order, the block's own first.
    pub archives: Vec<ArchivePlan>,
    pub names: Vec<PackageName>,
    /// Whether what the packages need comes along.
    pub dependencies: bool,
    /// Whether the packages come along that every system of the distribution has.
    pub essential: bool,
    /// Whether what the packages recommend comes along.
    pub recommends: bool,
    /// Packages that are never taken.
    pub exclude: Vec<String>,
    /// Patterns of versions, by package.
    pub pins: BTreeMap<String, String>,
    /// Packages that stay at their locked version when the lock is updated.
    pub holds: Vec<String>,
    /// Packages that are files of the host.
    pub files: Vec<PathBuf>,
    /// Further architectures of which packages may be named, as the distribution calls them.
    pub foreign_architectures: Vec<String>,
    /// Globs of paths that stay although `drop` names them.
    pub keep: Vec<String>,
    /// Globs of paths that do not reach the image.
    pub drop: Vec<String>,
    /// What becomes of scripts that nobody knows, by package.
    pub scripts: BTreeMap<String, ScriptPolicy>,
    pub database: PackageDatabase,
    /// As in [`super::SourcePlan::allow`].
    pub allow: Vec<ImagePath>,
    pub replace: Vec<ImagePath>,
    pub origin: Origin,
}

/// `nginx-light`, `foo:i386`, `openssh-server=1:9.2*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageName {
    /// With `:ARCHITECTURE` where the recipe says one.
    pub name: String,
    /// Pattern of the version, in which `*` stands for anything.
    pub version: Option<String>,
}

/// What becomes of a maintainer script whose effect is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptPolicy {
    /// The build fails and shows it (the default).
    Refuse,
    /// It is left out.
    Ignore,
    /// It runs in the sandbox.
    Run,
}

/// How an image remembers its packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageDatabase {
    /// As the distribution's own tools do.
    Full,
    /// As images without these tools do: `var/lib/dpkg/status.d`.
    StatusD,
    None,
}

/// One package of an archive, taken without what it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct BarePackagePlan {
    pub distribution: String,
    pub archive: ArchivePlan,
    pub name: String,
    pub origin: Origin,
}
