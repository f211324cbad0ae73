//! What the caller asks for, and what the machine and the command line say about how to get it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::deb::name;
use super::error::PackagesError;
use super::http::Patience;
use super::proxy::Proxies;

/// Asks for packages of one suite: a `packages`, `kernel` or `boot` block of a recipe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// `debian`.
    pub distribution: String,
    pub suite: String,
    pub components: Vec<String>,
    /// Debian's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    /// Exact names; a kernel's metapackage stands for the kernel (see [`super::resolve`]).
    pub names: Vec<String>,
    /// The mirror that the recipe names.
    pub mirror: Option<String>,
    /// The keyring that the recipe names.
    pub signed_by: Option<PathBuf>,
}

impl Request {
    /// Refuses names that no archive could have, before they become part of an address.
    pub(super) fn check(&self) -> Result<(), PackagesError> {
        let wrong = |kind, what: &String| Err(PackagesError::Request { kind, what: what.clone() });
        if !name::is_distribution(&self.distribution) {
            return wrong("name of a distribution", &self.distribution);
        }
        if !name::is_suite(&self.suite) {
            return wrong("name of a suite", &self.suite);
        }
        if !name::is_architecture(&self.architecture) {
            return wrong("name of an architecture", &self.architecture);
        }
        match self.components.iter().find(|component| !name::is_suite(component)) {
            Some(component) => return wrong("name of a component", component),
            None if self.components.is_empty() => return wrong("list of components", &String::new()),
            None => {}
        }
        match self.names.iter().find(|package| !name::is_package(package)) {
            Some(package) => wrong("name of a package", package),
            None => Ok(()),
        }
    }
}

/// Names a package to install.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// `name` or `name:architecture`.
    pub name: String,
    /// A pattern that the version must match, such as `1.2*`.
    pub version: Option<String>,
    /// The suite from which it must come.
    pub suite: Option<String>,
}

/// Says how packages are chosen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// What a package depends on comes with it.
    pub dependencies: bool,
    /// Every package marked `Essential: yes` comes too.
    pub essential: bool,
    /// What a package recommends comes with it, where it can.
    pub recommends: bool,
    /// Packages that are never installed.
    pub exclude: Vec<String>,
    /// A pattern of the version for each pinned package, such as `1.2*`.
    pub pins: BTreeMap<String, String>,
    /// Packages that stay at the locked version when the others are renewed.
    pub holds: Vec<String>,
    /// Package files of the host: part of the choice, and preferred.
    pub local: Vec<PathBuf>,
}

/// Holds what the machine and the command line say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mirror that a flag or `MKIMAGE_MIRROR` names: it serves every suite.
    pub mirror: Option<String>,
    /// No connection may be made; `file:` mirrors still serve.
    pub offline: bool,
    /// The folder of apt's configuration.
    pub apt: PathBuf,
    /// The folder in which `DISTRIBUTION-archive-keyring.gpg` lies.
    pub keyrings: PathBuf,
    pub proxies: Proxies,
    /// Connections at once, 1 to 16.
    pub connections: usize,
    pub patience: Patience,
    /// The time against which signatures and `Valid-Until` are checked, in seconds since 1970.
    pub now_seconds: u64,
}

impl Settings {
    /// Reads the settings of this machine: apt's configuration, and of the environment `MKIMAGE_MIRROR` and
    /// the usual proxy variables.
    pub fn of_machine(
        now_seconds: u64,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, PackagesError> {
        let apt = PathBuf::from("/etc/apt");
        let proxies = Proxies::of_machine(&apt, environment);
        let mirror = environment("MKIMAGE_MIRROR").filter(|mirror| !mirror.is_empty());
        Ok(Settings { mirror, proxies, ..Settings::bare(apt, "/usr/share/keyrings".into(), now_seconds) })
    }

    /// Makes settings without a mirror or proxy of their own.
    pub fn bare(apt: PathBuf, keyrings: PathBuf, now_seconds: u64) -> Settings {
        Settings {
            mirror: None,
            offline: false,
            apt,
            keyrings,
            proxies: Proxies::default(),
            connections: 6,
            patience: Patience::default(),
            now_seconds,
        }
    }
}
