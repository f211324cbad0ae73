//! What maintainer scripts would have done to a tree, done without running them.
//!
//! In: the merged tree of all packages, each [`Package`] with its control files, [`Settings`]. Out: the same
//! tree with accounts, base files, alternatives, enabled units, PAM stacks, CA bundle, caches and the package
//! database; a [`Report`] of what a person may want to know.
//!
//! Two things stand in for scripts. A table ([`base_files`]) states what the scripts of Debian's base
//! do beyond unpacking. All other scripts are read ([`script`]): a reader of a part of the shell language
//! follows the way that a fresh installation takes, and does the calls that it knows on the tree as a value.
//! It never starts a program. What it does not know, or can't decide, makes the package an error, unless the
//! recipe says to ignore its scripts or to run them in the sandbox.
//!
//! On disk: nothing of its own. `var/lib/dpkg` is written as dpkg writes it ([`database`]).
//!
//! Always true
//! - The tree depends on its inputs alone: no clock, no host, no order of threads. All dates are the epoch.
//! - An account's number is a function of its name (and the recipe), never of the set of packages.
//! - No machine id, host key, random seed, log or host's `resolv.conf` gets into a tree ([`first_boot`]).
//! - Either everything is done, or all that could not be done is named.
//!
//! Not here: unpacking and merging (`packages/`), running scripts (`sandbox/`), the recipe's own users.
//!
//! Read first: this file from [`finalize`] on, then [`accounts`], [`script`], [`units`].
#![forbid(unsafe_code)]

mod accounts;
mod alternatives;
mod base_files;
pub mod caches;
mod certificates;
mod database;
mod error;
mod files;
mod first_boot;
mod order;
mod pam;
mod script;
mod shells;
mod tmpfiles;
mod units;
mod world;

use std::collections::BTreeMap;

use crate::base::Job;
use crate::base::job::Unit;
use crate::tree::{ContentSink, ContentSource, Directory};

pub use accounts::{Fragment, SysusersError, parse_sysusers};
pub use error::{FinalizeError, UnknownLine};
pub use script::{Class, read_script};
pub use units::{Install, parse_install};
use world::World;

/// One installed package.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub architecture: &'a str,
    /// The fields of its control file, in their order.
    pub fields: &'a [(String, String)],
    /// The files of `control.tar` by name: `postinst`, `md5sums`, `conffiles`.
    pub info: &'a Directory,
    /// What it brings, with the paths that the package spells.
    pub data: &'a Directory,
}

/// What becomes of a package's maintainer scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScriptPolicy {
    /// They are read; what is not understood is an error.
    #[default]
    Refuse,
    /// They are neither read nor run.
    Ignore,
    /// They are not read; the package is listed in [`Report::to_run`].
    Run,
}

/// Which package database the tree gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Database {
    /// `var/lib/dpkg/status` and `info/`, as dpkg and scanners read them.
    #[default]
    Dpkg,
    /// `var/lib/dpkg/status.d/NAME` and `NAME.md5sums`, as scanners read them in minimal images.
    StatusD,
    None,
}

/// A user whose numbers are known: they win over the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// A group whose number is known: it wins over the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownGroup {
    pub name: String,
    pub gid: u32,
}

/// What a tree's finish depends on, besides its packages.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `debian`, `ubuntu`.
    pub distribution: String,
    pub suite: String,
    /// Debian's name: `amd64`.
    pub architecture: String,
    /// Seconds since 1970, for the few files that hold a date.
    pub epoch: u64,
    /// Goes into `/etc/hostname`; none is written where it is empty.
    pub host_name: String,
    pub merged_usr: bool,
    pub database: Database,
    /// By package name; the others are refused.
    pub scripts: BTreeMap<String, ScriptPolicy>,
    pub users: Vec<KnownUser>,
    pub groups: Vec<KnownGroup>,
    /// Packages that nobody asked for by name: apt's mark for those that may go again.
    pub automatic: Vec<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Sorted.
    pub enabled_units: Vec<String>,
    /// In the order of `/etc/passwd`.
    pub users: Vec<KnownUser>,
    /// In the order of `/etc/group`.
    pub groups: Vec<KnownGroup>,
    /// Packages whose scripts the sandbox must run, a package behind those that it depends on.
    pub to_run: Vec<String>,
    /// What was left out on purpose, and other things worth a line; sorted.
    pub notes: Vec<String>,
}

/// Finishes a tree. All errors come back at once; the tree is then of no use.
///
/// `source` must know the contents of the tree and of the packages, and what goes into `sink`. Costs well
/// below a second for some hundred packages.
pub fn finalize(
    tree: &mut Directory,
    packages: &[Package<'_>],
    settings: &Settings,
    source: &dyn ContentSource,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Report, Vec<FinalizeError>> {
    let step = job.step("finalize", Some(STEPS.len() as u64), Unit::Items);
    let mut world = World::new(tree, packages, settings, source, sink, job);
    for work in STEPS {
        job.check().map_err(|cancelled| vec![cancelled.into()])?;
        if let Err(error) = work(&mut world) {
            world.errors.push(error);
        }
        step.advance(1);
    }
    world.finish()
}

/// One piece of the work.
type Finalizer = fn(&mut World<'_>) -> Result<(), FinalizeError>;

/// The finalizers, in their order. Each acts only where its package or input is there, and keeps errors that
/// it can work around in the world; one that it returns ends it, but not those behind it.
const STEPS: &[Finalizer] = &[
    accounts::found,
    base_files::write,
    script::evaluate,
    accounts::complete,
    base_files::add_users,
    tmpfiles::write,
    alternatives::write,
    units::write,
    shells::write,
    pam::write,
    certificates::write,
    first_boot::write,
    write_caches,
    accounts::write,
    database::write,
];

/// Writes the caches that tools of the tree would make.
fn write_caches(world: &mut World<'_>) -> Result<(), FinalizeError> {
    match caches::write(world.tree, world.source, world.sink, world.job) {
        Ok(notes) => world.notes.extend(notes),
        Err(errors) => world.errors.extend(errors),
    }
    Ok(())
}
