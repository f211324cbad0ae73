//! What the finalizers share: the tree, and what they have gathered for those behind them.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::Accounts;
use super::alternatives::Alternatives;
use super::units::Units;
use super::{FinalizeError, KnownGroup, KnownUser, Package, Report, Settings};
use crate::base::{ImagePath, Job};
use crate::tree::{ContentSink, ContentSource, Directory};

/// A tree under work.
pub(super) struct World<'a> {
    pub tree: &'a mut Directory,
    /// In the order of the database: by name, then architecture.
    pub packages: Vec<Package<'a>>,
    pub settings: &'a Settings,
    pub source: &'a dyn ContentSource,
    pub sink: &'a dyn ContentSink,
    pub job: &'a Job,
    pub accounts: Accounts,
    /// By path: who diverted it, and to where.
    pub diversions: BTreeMap<ImagePath, Diversion>,
    pub alternatives: Alternatives,
    /// By path: owners and modes that hold whatever a package says (`dpkg-statoverride(1)`).
    pub overrides: BTreeMap<ImagePath, Override>,
    pub units: Units,
    /// Names of fragments of tmpfiles.d(5) that scripts asked for.
    pub tmpfiles: Vec<String>,
    /// Login shells that scripts added.
    pub shells: Vec<String>,
    pub to_run: Vec<String>,
    pub errors: Vec<FinalizeError>,
    pub notes: BTreeSet<String>,
}

/// An owner, a group and a mode that hold whatever a package says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Override {
    pub user: String,
    pub group: String,
    pub mode: u16,
}

/// A path whose place is another one for all packages but one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Diversion {
    /// The package that it does not hold for; none for a local one.
    pub package: Option<String>,
    pub to: ImagePath,
}

impl<'a> World<'a> {
    pub fn new(
        tree: &'a mut Directory,
        packages: &[Package<'a>],
        settings: &'a Settings,
        source: &'a dyn ContentSource,
        sink: &'a dyn ContentSink,
        job: &'a Job,
    ) -> Self {
        let mut packages = packages.to_vec();
        packages.sort_by_key(|package| (package.name, package.architecture));
        World {
            tree,
            packages,
            settings,
            source,
            sink,
            job,
            accounts: Accounts::default(),
            diversions: BTreeMap::new(),
            alternatives: Alternatives::default(),
            overrides: BTreeMap::new(),
            units: Units::default(),
            tmpfiles: Vec::new(),
            shells: Vec::new(),
            to_run: Vec::new(),
            errors: Vec::new(),
            notes: BTreeSet::new(),
        }
    }

    /// Returns an installed package by name.
    pub fn package(&self, name: &str) -> Option<&Package<'a>> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Tells whether a package brings a path that the tree has not got.
    pub fn is_left_out(&self, path: &ImagePath) -> bool {
        if self.exists(path) {
            return false;
        }
        let brings = |path: &ImagePath| self.packages.iter().any(|package| package.data.get(path).is_some());
        brings(path) || other_spelling(path).is_some_and(|other| brings(&other))
    }

    /// Returns where a package's path stands in the tree.
    pub fn diverted(&self, package: &str, path: &ImagePath) -> ImagePath {
        match self.diversions.get(path) {
            Some(diversion) if diversion.package.as_deref() != Some(package) => diversion.to.clone(),
            _ => path.clone(),
        }
    }

    /// Adds an override, and where asked does to the tree what it says.
    pub fn add_override(&mut self, path: &ImagePath, made: Override, now: bool) -> Result<(), FinalizeError> {
        let ids = (self.accounts.uid(&made.user), self.accounts.gid(&made.group));
        let (Some(uid), Some(gid)) = ids else {
            let problem = format!("there is no account {:?} or {:?}", made.user, made.group);
            return Err(FinalizeError::Place { path: path.clone(), problem });
        };
        if let Some(metadata) = self.metadata_mut(path).filter(|_| now) {
            (metadata.uid, metadata.gid, metadata.mode) = (uid, gid, made.mode);
        }
        self.overrides.insert(path.clone(), made);
        Ok(())
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.insert(note.into());
    }

    /// Ends the work: the report, or all errors.
    pub fn finish(self) -> Result<Report, Vec<FinalizeError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let users = self.accounts.users().iter();
        let groups = self.accounts.groups().iter();
        Ok(Report {
            users: users
                .map(|user| KnownUser { name: user.name.clone(), uid: user.uid, gid: user.gid })
                .collect(),
            groups: groups.map(|group| KnownGroup { name: group.name.clone(), gid: group.gid }).collect(),
            enabled_units: self.units.enabled(),
            to_run: self.to_run,
            notes: self.notes.into_iter().collect(),
        })
    }
}

impl Package<'_> {
    /// Returns a field of the control file; names count without case.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1.as_str())
    }

    /// Returns the name that dpkg gives the package's control files: with the architecture where several may
    /// be installed at once.
    pub(super) fn file_stem(&self) -> String {
        match self.field("Multi-Arch") {
            Some("same") => format!("{}:{}", self.name, self.architecture),
            _ => self.name.to_owned(),
        }
    }
}

/// Makes a path out of a text of this program.
pub(super) fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because it is a path of this program")
}

/// Returns the other spelling of a path in a tree whose `/bin` and kin are links into `/usr`.
pub(super) fn other_spelling(path: &ImagePath) -> Option<ImagePath> {
    let bytes = path.as_bytes();
    let other = match bytes.strip_prefix(b"/usr") {
        Some(rest) => rest.to_vec(),
        None => [b"/usr", bytes].concat(),
    };
    ImagePath::new(&other).ok()
}
