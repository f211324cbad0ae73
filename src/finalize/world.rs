//! What the finalizers share: the tree, and what they have gathered for those behind them.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::Accounts;
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
    pub errors: Vec<FinalizeError>,
    pub notes: BTreeSet<String>,
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
            errors: Vec::new(),
            notes: BTreeSet::new(),
        }
    }

    /// Returns an installed package by name.
    pub fn package(&self, name: &str) -> Option<&Package<'a>> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// Returns where a package's path stands in the tree.
    pub fn diverted(&self, package: &str, path: &ImagePath) -> ImagePath {
        match self.diversions.get(path) {
            Some(diversion) if diversion.package.as_deref() != Some(package) => diversion.to.clone(),
            _ => path.clone(),
        }
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
            notes: self.notes.into_iter().collect(),
            ..Report::default()
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
