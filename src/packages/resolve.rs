//! From requests to a lock: what stays, what is asked, what is chosen.

use std::collections::BTreeSet;

use super::error::PackagesError;
use super::fetch::Fetcher;
use super::kept::{Kept, is_named};
use super::local::{self, LocalDeb};
use super::lock::{Dependency, Lock, LockedPackage, LockedRequest, Reason};
use super::request::{LOCAL, Request};
use super::rpm;
use super::solve::{self, Kind, Problem, Why};
use super::suite::{self, Suite};
use super::universe::{Origin, PackageId, Universe};
use crate::base::Job;
use crate::base::job::Unit;

/// Most packages of the indexes that are named as left out.
const REFUSED_MAX: usize = 3;

/// Says which locked versions may change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Update {
    /// None but those that the recipe no longer allows.
    #[default]
    None,
    /// All but those that the recipe holds.
    All,
    /// Those of some packages, and what these need then; the recipe's holds stay.
    Packages(BTreeSet<String>),
}

/// Locks all requests. What the previous lock has stays, as far as `update` and the recipe allow; a distribution
/// of which nothing can change is not even asked. A suite older than what the previous lock was made from is
/// refused.
pub fn resolve(
    requests: &[Request],
    previous: Option<&Lock>,
    update: &Update,
    fetcher: &Fetcher<'_>,
    job: &Job,
) -> Result<Lock, PackagesError> {
    requests.iter().try_for_each(Request::check)?;
    check_update(update, previous)?;
    let mut lock = Lock::default();
    let mut errors = Vec::new();
    for request in requests {
        let resolving = Resolving { request, previous, update, fetcher, job };
        if let Err(error) = resolving.run(&mut lock) {
            errors.push(error);
        }
        job.check()?;
    }
    if errors.is_empty() { Ok(lock) } else { Err(PackagesError::of(errors)) }
}

/// Refuses to update what is not locked.
fn check_update(update: &Update, previous: Option<&Lock>) -> Result<(), PackagesError> {
    let Update::Packages(names) = update else { return Ok(()) };
    let is_locked = |name: &String| {
        let mut packages = previous.into_iter().flat_map(Lock::packages);
        packages.any(|package| is_named(package, name))
    };
    match names.iter().find(|name| !is_locked(name)) {
        Some(name) => Err(PackagesError::NotInLock { name: name.clone(), similar: Vec::new() }),
        None => Ok(()),
    }
}

/// One request that is being resolved.
struct Resolving<'a> {
    request: &'a Request,
    previous: Option<&'a Lock>,
    update: &'a Update,
    fetcher: &'a Fetcher<'a>,
    job: &'a Job,
}

impl Resolving<'_> {
    fn run(&self, lock: &mut Lock) -> Result<(), PackagesError> {
        if self.request.distribution == rpm::DISTRIBUTION {
            return self.run_rpm(lock);
        }
        let distribution = &self.request.distribution;
        let locals = local::read_all(self.request, self.job)?;
        if let Some(previous) = self.previous
            && *self.update == Update::None
            && previous.fits(self.request)
            && are_locked(&locals, previous, distribution)
        {
            lock.copy(previous, distribution);
            return Ok(());
        }
        lock.put_request(distribution, LockedRequest::of(self.request));
        let suites = suite::load_all(self.request, self.previous, self.fetcher, self.job)?;
        for (source, suite) in self.request.sources.iter().zip(&suites) {
            lock.put_source(distribution, &source.name, suite.state.clone());
        }
        let _step = self.job.step(format!("solve {distribution}"), None, Unit::Items);
        let mut universe = self.universe(suites, locals)?;
        let kept = Kept { request: self.request, previous: self.previous, update: self.update };
        self.install(&mut universe, &kept, lock)?;
        self.add_bare(&universe, &kept, lock)
    }

    /// Packages that stay go in as versions that are preferred.
    fn run_rpm(&self, lock: &mut Lock) -> Result<(), PackagesError> {
        let distribution = &self.request.distribution;
        if let Some(previous) = self.previous.filter(|previous| previous.fits(self.request))
            && *self.update == Update::None
        {
            lock.copy(previous, distribution);
            return Ok(());
        }
        let holds = &self.request.rules.holds;
        let stays = |package: &&LockedPackage| match self.update {
            Update::None => true,
            Update::All => holds.contains(&package.name),
            Update::Packages(names) => holds.contains(&package.name) || !names.contains(&package.name),
        };
        let previous = self.previous.into_iter().flat_map(|previous| previous.installed(distribution));
        let locked = previous.filter(stays).map(|package| (package.name.clone(), package.version.clone()));
        let request = rpm::Request::of(self.request, locked.collect());
        let now = self.fetcher.settings().now_seconds;
        let resolved = rpm::resolve(&request, self.fetcher, now, self.job);
        let resolved = resolved.map_err(|problem| PackagesError::Rpm(Box::new(problem)))?;
        lock.put_request(distribution, LockedRequest::of(self.request));
        for state in resolved.states {
            lock.put_source(distribution, &state.source, state.locked());
        }
        for chosen in resolved.packages {
            lock.put_package(chosen.locked(distribution));
        }
        Ok(())
    }

    fn universe(&self, suites: Vec<Suite>, locals: Vec<LocalDeb>) -> Result<Universe, PackagesError> {
        let Request { distribution, architecture, foreign_architectures, sources, .. } = self.request;
        let mut universe = Universe::new(architecture, foreign_architectures);
        let mut texts = Vec::new();
        for (index, (source, suite)) in sources.iter().zip(suites).enumerate() {
            universe.name_source(index, &source.suite);
            texts.extend(suite.indexes.into_iter().map(|text| (index, source.priority, text)));
        }
        let added = universe.add_all(texts, &self.job.workers);
        added.map_err(|problem| PackagesError::Index { distribution: distribution.clone(), problem })?;
        for refused in universe.refused().iter().take(REFUSED_MAX) {
            self.job.note(format!("left out of the indexes of {distribution}: {refused}"));
        }
        for LocalDeb { path, control, size_bytes, sha256, .. } in locals {
            let added = universe.add_local(control, &path, size_bytes, sha256);
            added.map_err(|problem| PackagesError::Local { path, problem })?;
        }
        Ok(universe)
    }

    /// Locks what the root filesystem holds.
    fn install(
        &self,
        universe: &mut Universe,
        kept: &Kept<'_>,
        lock: &mut Lock,
    ) -> Result<(), PackagesError> {
        let mut roots = self.request.roots.clone();
        roots.sort();
        roots.dedup();
        let locked = kept.versions(universe, self.fetcher, self.job)?;
        let problem = Problem { roots, rules: self.request.rules.clone(), locked };
        let solution = solve::solve(universe, &problem).map_err(|problem| PackagesError::Unsolvable {
            distribution: self.request.distribution.clone(),
            problem: Box::new(problem),
        })?;
        solution.notes.into_iter().for_each(|note| self.job.note(note));
        for chosen in solution.packages {
            lock.put_package(self.locked(universe, chosen.id, reason(chosen.why)));
        }
        Ok(())
    }

    /// Locks kernels and loaders.
    fn add_bare(&self, universe: &Universe, kept: &Kept<'_>, lock: &mut Lock) -> Result<(), PackagesError> {
        for name in BTreeSet::from_iter(&self.request.bare) {
            let reason = Reason::Bare(name.clone());
            let package = match kept.bare(name) {
                Some(kept) => LockedPackage { why: [reason].into(), ..kept.clone() },
                None => {
                    let id = universe.bare(name, &self.request.rules.pins).map_err(|problem| {
                        PackagesError::Bare { distribution: self.request.distribution.clone(), problem }
                    })?;
                    self.locked(universe, id, reason)
                }
            };
            lock.join_package(package);
        }
        Ok(())
    }

    fn locked(&self, universe: &Universe, id: PackageId, reason: Reason) -> LockedPackage {
        let entry = universe.package(id);
        let source = match universe.origin(id) {
            Origin::Source(index) => self.request.sources[index].name.clone(),
            Origin::Local(_) => LOCAL.to_owned(),
        };
        LockedPackage {
            distribution: self.request.distribution.clone(),
            name: entry.name,
            architecture: entry.architecture,
            version: entry.version,
            source,
            size_bytes: entry.size_bytes,
            sha256: entry.sha256,
            filename: entry.filename,
            why: [reason].into(),
        }
    }
}

fn reason(why: Why) -> Reason {
    match why {
        Why::Asked(name) => Reason::Asked(name),
        Why::Essential => Reason::Essential,
        Why::Needed { by, relation, .. } => {
            let kind = match relation {
                Kind::PreDepends => Dependency::PreDepends,
                Kind::Depends => Dependency::Depends,
                Kind::Recommends => Dependency::Recommends,
            };
            Reason::Needed { by, kind }
        }
    }
}

/// Tells whether a lock has the local files as they are.
fn are_locked(locals: &[LocalDeb], lock: &Lock, distribution: &str) -> bool {
    let is_locked = |local: &LocalDeb| {
        let mut packages = lock.packages().filter(|package| package.distribution == distribution);
        packages.all(|package| package.local_name() != Some(&local.file) || package.sha256 == local.sha256)
    };
    locals.iter().all(is_locked)
}
