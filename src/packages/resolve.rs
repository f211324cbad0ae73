//! From requests to a lock: what stays, what is asked, what is chosen.

use std::collections::BTreeSet;

use super::error::PackagesError;
use super::exact;
use super::fetch::Fetcher;
use super::local::{self, LocalDeb};
use super::lock::{Lock, LockedPackage, LockedRequest, Reason};
use super::request::{Request, Root};
use super::suite;
use crate::base::Job;
use crate::base::job::Unit;

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

/// Tells whether a name is that of a package, or one by which it is asked for.
fn is_named(package: &LockedPackage, name: &str) -> bool {
    let (plain, architecture) = name.split_once(':').map_or((name, None), |split| (split.0, Some(split.1)));
    let is_it = package.name == plain && architecture.is_none_or(|it| it == package.architecture);
    is_it
        || package.why.iter().any(|reason| match reason {
            Reason::Asked(asked) | Reason::Bare(asked) => asked == name,
            _ => false,
        })
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
        let names = (self.request.roots.len() + self.request.bare.len()) as u64;
        let _step = self.job.step(format!("lock {distribution}"), Some(names), Unit::Items);
        let suites = suite::load_all(self.request, self.previous, self.fetcher, self.job)?;
        for (source, suite) in self.request.sources.iter().zip(&suites) {
            lock.put_source(distribution, &source.name, suite.state.clone());
        }
        let mut errors = Vec::new();
        for (root, reason) in self.exact_roots() {
            let kept = self.kept(&root, &reason).filter(|kept| self.has_source(kept));
            let local = locals.iter().find(|local| local.is(&root, self.request));
            let picked = match (local, kept) {
                (Some(local), _) => Ok(local.locked(self.request, reason)),
                (None, Some(kept)) => Ok(LockedPackage { why: [reason].into(), ..kept.clone() }),
                (None, None) => exact::pick(&root, self.request, &suites, reason),
            };
            match picked {
                Ok(package) => lock.put_package(package),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(PackagesError::of(errors)) }
    }

    /// Returns what is asked for by exact names, with why.
    fn exact_roots(&self) -> Vec<(Root, Reason)> {
        let roots = self.request.roots.iter();
        let roots = roots.map(|root| (root.clone(), Reason::Asked(root.name.clone())));
        let bare = self.request.bare.iter();
        let bare = bare.map(|name| {
            (Root { name: name.clone(), version: None, suite: None }, Reason::Bare(name.clone()))
        });
        roots.chain(bare).collect()
    }

    /// Returns the package that the previous lock has for a name and that must stay.
    fn kept(&self, root: &Root, reason: &Reason) -> Option<&LockedPackage> {
        let mut packages = self.previous?.packages();
        let kept = packages.find(|package| {
            package.distribution == self.request.distribution
                && package.why.contains(reason)
                && self.request.is_of_its_architectures(&package.architecture)
        })?;
        let may_change = match self.update {
            Update::None => false,
            Update::All => true,
            Update::Packages(names) => names.iter().any(|name| is_named(kept, name)),
        };
        let is_held = self.request.rules.holds.iter().any(|name| is_named(kept, name));
        let pin = self.request.rules.pins.get(&kept.name);
        let is_allowed =
            root.version.iter().chain(pin).all(|pattern| super::request::fits(pattern, &kept.version));
        ((is_held || !may_change) && is_allowed && kept.local_name().is_none()).then_some(kept)
    }

    fn has_source(&self, package: &LockedPackage) -> bool {
        let suite = self.previous.and_then(|lock| lock.source(&package.distribution, &package.source));
        let source = self.request.source(&package.source);
        source.zip(suite).is_some_and(|(source, locked)| source.suite == locked.suite)
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
