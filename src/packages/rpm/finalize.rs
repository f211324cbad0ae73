//! Completes a tree of packages: accounts, owners of files, units, and the database of packages. No script runs: each
//! is understood, left out because the recipe says so, or handed back to be run in the sandbox.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::{Accounts, KnownAccount, path_of, text};
use super::database::{self, Installed, STATE_LEFT_OUT, STATE_NORMAL};
use super::error::FinalizeError;
use super::lay::{Read, read_all, real_path};
use super::scripts::{self, Script};
use super::shell::Effect;
use super::units::{self, SYSTEM, USER};
use super::unpack::Unpacked;
use crate::base::{ImagePath, Job};
use crate::tree::{ContentSink, ContentSource, Directory, File, Metadata, Node, Symlink};

/// Where the database lies, unless the tree's own rpm is configured otherwise.
const DATABASE: &str = "/usr/lib/sysimage/rpm";
/// Where it used to lie; what looks there is led on.
const FORMER_DATABASE: &str = "/var/lib/rpm";

/// Says what becomes of a package's scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ScriptPolicy {
    /// They must be understood.
    #[default]
    Refuse,
    /// They count as if they were not there.
    Ignore,
    /// They come back in [`Report::to_run`].
    Run,
}

/// Says how a tree is to be completed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// RPM's or Debian's name: `x86_64`, `amd64`.
    pub architecture: String,
    /// The time of everything, in seconds since 1970, before 2106.
    pub epoch: u64,
    /// Whether the database is written.
    pub database: bool,
    /// By package; the others' scripts must be understood.
    pub scripts: BTreeMap<String, ScriptPolicy>,
    /// Numbers that the recipe gives.
    pub users: Vec<KnownAccount>,
    pub groups: Vec<KnownAccount>,
}

/// Says what was done, and what is left to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    pub enabled_units: Vec<String>,
    /// `user nginx 412`, `group video 39`: what was not in the tree.
    pub accounts: Vec<String>,
    /// Caches that packages want made: `ld.so.cache`, `hwdb.bin`, `catalog`, `modules.dep`.
    pub caches: BTreeSet<&'static str>,
    /// Scripts that the sandbox must run, in order.
    pub to_run: Vec<Script>,
    /// Paths of the database, for the caller's record.
    pub database: Option<ImagePath>,
}

/// Completes a tree into which [`super::lay`] laid these packages. All errors are reported, not only the first.
pub fn finalize(
    tree: &mut Directory,
    packages: &[Unpacked],
    settings: &Settings,
    source: &dyn ContentSource,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Report, Vec<FinalizeError>> {
    let read = read_all(packages, source, job)?;
    let mut report = Report::default();
    let effects = classify(tree, &read, settings, &mut report)?;
    let one = |error: FinalizeError| vec![error];
    job.check().map_err(|cancelled| one(cancelled.into()))?;
    let mut accounts = Accounts::of(tree, source).map_err(one)?;
    accounts.know(&settings.users, &settings.groups);
    accounts.read_sysusers(tree, source).map_err(one)?;
    for (package, effect) in &effects {
        if let Effect::Account(line) = effect {
            let path = "its scripts".to_owned();
            let failed = |problem| FinalizeError::Account { package: package.clone(), path, problem };
            accounts.line(line).map_err(|problem| one(failed(problem)))?;
        }
    }
    check_owners(&read, &accounts)?;
    report.accounts = accounts.settle().map_err(one)?;
    accounts.write(tree, sink).map_err(one)?;
    give_to_owners(tree, &read, &accounts);
    report.enabled_units = enable(tree, &effects, source).map_err(one)?;
    if settings.database {
        report.database = Some(write_database(tree, &read, settings, source, sink).map_err(one)?);
    }
    Ok(report)
}

/// Reads the scripts of all packages; returns what they do, by package.
fn classify(
    tree: &Directory,
    read: &[Read<'_>],
    settings: &Settings,
    report: &mut Report,
) -> Result<Vec<(String, Effect)>, Vec<FinalizeError>> {
    let exists = |path: &str| units::exists(tree, path);
    let (mut effects, mut errors) = (Vec::new(), Vec::new());
    for package in read {
        let policy = settings.scripts.get(package.name()).copied().unwrap_or_default();
        if policy == ScriptPolicy::Ignore {
            continue;
        }
        for script in scripts::of(package, read) {
            match scripts::classify(&script, &exists) {
                Ok(found) => {
                    effects.extend(found.into_iter().map(|effect| (package.name().to_owned(), effect)))
                }
                Err(_) if policy == ScriptPolicy::Run => report.to_run.push(script),
                Err(error) => errors.push(error),
            }
        }
    }
    for (_, effect) in &effects {
        if let Effect::Cache(name) = effect {
            report.caches.insert(name);
        }
    }
    if errors.is_empty() { Ok(effects) } else { Err(errors) }
}

/// Checks that something creates every owner: on a system whose packages rely on others for an account, rpm would
/// give its files to root and say so on a terminal.
fn check_owners(read: &[Read<'_>], accounts: &Accounts) -> Result<(), Vec<FinalizeError>> {
    let mut missing = BTreeMap::new();
    for package in read {
        for file in &package.table.files {
            for (kind, name) in [("user", &file.user), ("group", &file.group)] {
                if !accounts.has(kind, name) {
                    missing.entry((kind, name.clone())).or_insert_with(|| FinalizeError::Owner {
                        package: package.name().to_owned(),
                        path: file.path.clone(),
                        kind,
                        name: name.clone(),
                    });
                }
            }
        }
    }
    let errors: Vec<FinalizeError> = missing.into_values().collect();
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Gives every file to its owner. Of several packages that share a directory, the first decides, as for its mode.
fn give_to_owners(tree: &mut Directory, read: &[Read<'_>], accounts: &Accounts) {
    let mut done = BTreeSet::new();
    for package in read {
        for file in package.table.files.iter().filter(|file| !file.is_ghost()) {
            let owner = accounts.id("user", &file.user).zip(accounts.id("group", &file.group));
            let is_directory = file.kind == super::files::FileKind::Directory;
            let (Some((uid, gid)), Ok(real)) = (owner, real_path(tree, &file.path, is_directory)) else {
                continue;
            };
            if !done.insert(real.clone()) {
                continue;
            }
            let metadata = match real.is_root() {
                true => Some(&mut tree.metadata),
                false => tree.get_mut(&real).and_then(Node::metadata_mut),
            };
            if let Some(metadata) = metadata {
                (metadata.uid, metadata.gid) = (uid, gid);
            }
        }
    }
}

fn enable(
    tree: &mut Directory,
    effects: &[(String, Effect)],
    source: &dyn ContentSource,
) -> Result<Vec<String>, FinalizeError> {
    let mut enabled = BTreeSet::new();
    let (system, user_rules) = (SYSTEM.rules(tree, source)?, USER.rules(tree, source)?);
    for (_, effect) in effects {
        let (units, user, by_preset) = match effect {
            Effect::Preset { units, user } => (units, *user, true),
            Effect::Enable { units, user } => (units, *user, false),
            _ => continue,
        };
        let (manager, rules) = if user { (&USER, &user_rules) } else { (&SYSTEM, &system) };
        for unit in units {
            if !by_preset || units::is_wanted(rules, unit) {
                manager.enable(tree, unit, source, &mut enabled)?;
            }
        }
    }
    Ok(enabled.into_iter().collect())
}

fn write_database(
    tree: &mut Directory,
    read: &[Read<'_>],
    settings: &Settings,
    source: &dyn ContentSource,
    sink: &dyn ContentSink,
) -> Result<ImagePath, FinalizeError> {
    let mut installed: Vec<(&str, Installed<'_>)> = read
        .iter()
        .map(|package| {
            let states = states(tree, package);
            (package.name(), Installed { header: &package.header, signatures: &package.signatures, states })
        })
        .collect();
    installed.sort_by_key(|installed| installed.0);
    let installed: Vec<Installed<'_>> = installed.into_iter().map(|installed| installed.1).collect();
    let architecture = if settings.architecture == "amd64" { "x86_64" } else { &settings.architecture };
    let bytes = database::write(&installed, settings.epoch, architecture);
    let folder = database_folder(tree, source)?;
    let path = path_of(&format!("{folder}/rpmdb.sqlite"));
    let real = real_path(tree, &path, false).unwrap_or(path);
    let node = Node::File(File { metadata: Metadata::root(0o644), content: sink.put(&bytes)? });
    tree.replace(&real, node)?;
    let former = path_of(FORMER_DATABASE);
    if folder == DATABASE && tree.get(&former).is_none() {
        let target = b"../../usr/lib/sysimage/rpm"[..].into();
        tree.insert(&former, Node::Symlink(Symlink { metadata: Metadata::root(0o777), target }))?;
    }
    Ok(real)
}

/// Returns a byte a file: there, or left out.
fn states(tree: &Directory, package: &Read<'_>) -> Vec<u8> {
    let is_there = |path: &ImagePath| match real_path(tree, path, false) {
        Ok(real) => real.is_root() || tree.get(&real).is_some(),
        Err(_) => false,
    };
    let state = |file: &super::files::FileEntry| match file.is_ghost() || is_there(&file.path) {
        true => STATE_NORMAL,
        false => STATE_LEFT_OUT,
    };
    package.table.files.iter().map(state).collect()
}

/// Returns the folder that the tree's own rpm uses (`%_dbpath` in its macros), else the usual one.
fn database_folder(tree: &Directory, source: &dyn ContentSource) -> Result<String, FinalizeError> {
    let macros = text(tree, "/usr/lib/rpm/macros", source)?.unwrap_or_default();
    let configured = macros.lines().find_map(|line| line.strip_prefix("%_dbpath")).map(str::trim);
    let prefix =
        |path: &str| path.replace("%{_var}", "/var").replace("%{_usr}", "/usr").replace("%{_prefix}", "/usr");
    let path =
        configured.map(prefix).filter(|path| ImagePath::new(path.as_bytes()).is_ok() && !path.contains('%'));
    Ok(path.unwrap_or_else(|| DATABASE.to_owned()))
}
