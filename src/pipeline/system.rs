//! The packages of a distribution become one finished tree: laid over each other, finished as their
//! maintainer scripts would have, and those scripts run that a recipe wants to run.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{PipelineError, Result};
use super::packages::Unpacking;
use super::requests;
use super::step::KeyBuilder;
use crate::base::{Job, StepKey};
use crate::finalize::{self, Database, KnownGroup, KnownUser, Report, ScriptPolicy};
use crate::packages::install::{self, Layout};
use crate::packages::lock::LockedPackage;
use crate::packages::rpm;
use crate::packages::{Request, Unpacked};
use crate::recipe::plan::{self, PackageDatabase, PackagesPlan, Plan};
use crate::sandbox::{self, MaintainerPackage};
use crate::store::{Objects, Transaction};
use crate::tree::Directory;

/// Name and version of this step: a change of what laying or finishing does needs a new one.
const STEP: &str = "system 1";

/// The packages of one distribution, on their way into a tree.
pub struct System<'a> {
    pub plan: &'a Plan,
    pub request: &'a Request,
    pub unpacking: &'a Unpacking<'a>,
    pub epoch: u64,
    /// A folder of the host that the sandbox may use.
    pub scratch: &'a Path,
}

impl System<'_> {
    /// Returns the tree, made now or remembered.
    pub fn tree(&self, transaction: &Transaction<'_>, job: &Job) -> Result<Directory> {
        let key = self.key();
        if let Some(tree) = self.unpacking.memo.tree(&key) {
            job.cached(format!("packages of {}", self.request.distribution));
            return Ok(transaction.read_tree(job, &tree)?);
        }
        let made = self.make(transaction, job)?;
        let sealed = made.clone().seal().map_err(PipelineError::Tree)?;
        self.unpacking.memo.later(key, transaction.put_tree(job, &sealed)?);
        Ok(made)
    }

    /// Tells whether the tree is remembered, so that nothing needs to be fetched for it.
    pub fn is_known(&self) -> bool {
        self.unpacking.memo.tree(&self.key()).is_some()
    }

    fn blocks(&self) -> impl Iterator<Item = &PackagesPlan> {
        requests::blocks(self.plan).filter(|block| block.distribution == self.request.distribution)
    }

    fn locked(&self) -> impl Iterator<Item = &LockedPackage> {
        self.unpacking.lock.installed(&self.request.distribution)
    }

    /// Digests everything that the tree follows from: packages by their hashes, and all settings.
    fn key(&self) -> StepKey {
        let mut key = KeyBuilder::new(STEP);
        key.bytes("tool", env!("CARGO_PKG_VERSION").as_bytes());
        key.bytes("sandbox", sandbox::VERSION.as_bytes());
        key.bytes("settings", format!("{:?}", self.settings()).as_bytes());
        for pattern in self.globs(|block| &block.drop) {
            key.bytes("drop", pattern.as_bytes());
        }
        for pattern in self.globs(|block| &block.keep) {
            key.bytes("keep", pattern.as_bytes());
        }
        for package in self.locked() {
            key.bytes("package", &package.sha256.0);
        }
        key.finish()
    }

    pub(super) fn globs(&self, of: impl Fn(&PackagesPlan) -> &Vec<String>) -> Vec<String> {
        self.blocks().flat_map(|block| of(block).iter().cloned()).collect()
    }

    fn make(&self, transaction: &Transaction<'_>, job: &Job) -> Result<Directory> {
        match self.request.distribution == rpm::DISTRIBUTION {
            true => self.make_of_rpm(transaction, job),
            false => self.make_of_deb(transaction, job),
        }
    }

    fn make_of_deb(&self, transaction: &Transaction<'_>, job: &Job) -> Result<Directory> {
        let packages = self.unpacking.packages(self.request, transaction, job)?;
        let settings = self.settings();
        let ignored: Vec<String> = settings
            .scripts
            .iter()
            .filter(|(_, policy)| **policy == ScriptPolicy::Ignore)
            .map(|(name, _)| name.clone())
            .collect();
        let (drop, keep) = (self.globs(|block| &block.drop), self.globs(|block| &block.keep));
        let layout = Layout {
            usr_merge: true,
            drop: &drop,
            keep: &keep,
            architecture: &self.request.architecture,
            ignored_scripts: &ignored,
        };
        let laid = install::lay(&packages, &layout, transaction, job);
        let (mut tree, _) = laid.map_err(PipelineError::Lay)?;
        let inputs: Vec<finalize::Package<'_>> = packages.iter().map(package).collect();
        let report = finalize::finalize(&mut tree, &inputs, &settings, transaction, transaction, job);
        let report = report.map_err(PipelineError::Finalize)?;
        for note in &report.notes {
            job.note(note.clone());
        }
        self.run_scripts(tree, &packages, &report, transaction, job)
    }

    /// Runs the scripts of the packages that the report names.
    fn run_scripts(
        &self,
        tree: Directory,
        packages: &[Unpacked],
        report: &Report,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        if report.to_run.is_empty() {
            return Ok(tree);
        }
        let find = |name: &String| packages.iter().find(|package| package.control.name == *name);
        let chosen: Vec<MaintainerPackage> = report.to_run.iter().filter_map(find).map(maintained).collect();
        let request = sandbox::Request {
            tree: &tree,
            source: transaction,
            commands: Vec::new(),
            environment: BTreeMap::new(),
            working_directory: crate::base::ImagePath::root(),
            inputs: Vec::new(),
            epoch: self.epoch,
            limits: sandbox::Limits::default(),
            scratch: self.scratch,
            label: format!("scripts of {}", report.to_run.join(", ")),
            program: None,
        };
        Ok(sandbox::run_scripts(&chosen, &request, transaction, job)?.tree)
    }

    pub(super) fn settings(&self) -> finalize::Settings {
        let scripts = self.blocks().flat_map(|block| &block.scripts);
        let database = self.blocks().next().map_or(PackageDatabase::Full, |block| block.database);
        let suite = self.request.sources.first().map(|source| source.suite.clone());
        finalize::Settings {
            distribution: self.request.distribution.clone(),
            suite: suite.unwrap_or_default(),
            architecture: self.request.architecture.clone(),
            epoch: self.epoch,
            host_name: self.plan.image.name.clone(),
            merged_usr: true,
            database: match database {
                PackageDatabase::Full => Database::Dpkg,
                PackageDatabase::StatusD => Database::StatusD,
                PackageDatabase::None => Database::None,
            },
            scripts: scripts.map(|(name, policy)| (name.clone(), script_policy(*policy))).collect(),
            users: self.plan.users.iter().filter_map(|user| self.known_user(user)).collect(),
            groups: self.plan.groups.iter().map(known_group).collect(),
            automatic: self.automatic(),
        }
    }

    /// A user whose group only the tree knows gets its number there.
    fn known_user(&self, user: &plan::UserPlan) -> Option<KnownUser> {
        let gid = match &user.group {
            plan::Account::Id(gid) => *gid,
            plan::Account::Name(name) if *name == user.name => user.uid,
            plan::Account::Name(name) => self.plan.groups.iter().find(|group| group.name == *name)?.gid,
        };
        Some(KnownUser { name: user.name.clone(), uid: user.uid, gid })
    }

    /// Packages that nobody asked for by name.
    fn automatic(&self) -> Vec<String> {
        let is_asked = |name: &str| self.request.roots.iter().any(|root| root.split().0 == name);
        self.locked().filter(|package| !is_asked(&package.name)).map(|package| package.name.clone()).collect()
    }
}

fn known_group(group: &plan::GroupPlan) -> KnownGroup {
    KnownGroup { name: group.name.clone(), gid: group.gid }
}

fn script_policy(policy: plan::ScriptPolicy) -> ScriptPolicy {
    match policy {
        plan::ScriptPolicy::Refuse => ScriptPolicy::Refuse,
        plan::ScriptPolicy::Ignore => ScriptPolicy::Ignore,
        plan::ScriptPolicy::Run => ScriptPolicy::Run,
    }
}

fn package(unpacked: &Unpacked) -> finalize::Package<'_> {
    let control = &unpacked.control;
    finalize::Package {
        name: &control.name,
        version: &control.version,
        architecture: &control.architecture,
        fields: &control.fields,
        info: &unpacked.info,
        data: &unpacked.tree,
    }
}

fn maintained(unpacked: &Unpacked) -> MaintainerPackage {
    let control = &unpacked.control;
    let is_same = control.field("Multi-Arch").is_some_and(|value| value.trim() == "same");
    MaintainerPackage {
        name: control.name.clone(),
        architecture: control.architecture.clone(),
        info: match is_same {
            true => format!("{}:{}", control.name, control.architecture),
            false => control.name.clone(),
        },
    }
}
