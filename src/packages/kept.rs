//! Which locked versions stay, and how those stay of which the indexes know nothing any more.

use std::collections::BTreeMap;

use super::error::PackagesError;
use super::fetch::Fetcher;
use super::gone;
use super::local;
use super::lock::{Lock, LockedPackage, Reason, Wanted};
use super::request::{Request, SourceRequest, fits};
use super::resolve::Update;
use super::universe::Universe;
use crate::base::Job;
use crate::base::parallel::Workers;

/// What the previous lock has of a distribution, and what may change of it.
pub(super) struct Kept<'a> {
    pub request: &'a Request,
    pub previous: Option<&'a Lock>,
    pub update: &'a Update,
}

impl<'a> Kept<'a> {
    /// Returns the locked packages that stay where the recipe allows it still, local files apart: these are what
    /// they are.
    pub(super) fn packages(&self) -> impl Iterator<Item = &'a LockedPackage> {
        let packages = self.previous.into_iter().flat_map(Lock::packages);
        packages.filter(|package| self.stays(package))
    }

    fn stays(&self, package: &LockedPackage) -> bool {
        let may_change = match self.update {
            Update::None => false,
            Update::All => true,
            Update::Packages(names) => names.iter().any(|name| is_named(package, name)),
        };
        package.distribution == self.request.distribution
            && package.local_name().is_none()
            && (!may_change || self.is_held(package))
            && self.is_allowed(package)
            && self.source(package).is_some()
    }

    fn is_held(&self, package: &LockedPackage) -> bool {
        self.request.rules.holds.iter().any(|name| is_named(package, name))
    }

    /// Tells whether the recipe's pins, roots and architectures allow a locked version.
    fn is_allowed(&self, package: &LockedPackage) -> bool {
        let Request { rules, roots, .. } = self.request;
        let roots = roots.iter().filter(|root| is_named(package, &root.name));
        let patterns = roots.filter_map(|root| root.version.as_ref());
        self.request.is_of_its_architectures(&package.architecture)
            && patterns.chain(rules.pins.get(&package.name)).all(|pattern| fits(pattern, &package.version))
    }

    /// Returns the source of a locked package, if it is still the same.
    fn source(&self, package: &LockedPackage) -> Option<(usize, &'a SourceRequest)> {
        let locked = self.previous?.source(&package.distribution, &package.source)?;
        let mut sources = self.request.sources.iter().enumerate();
        sources.find(|(_, source)| source.name == package.source && source.suite == locked.suite)
    }

    /// Returns the versions to keep, by name and architecture; they are in the universe afterwards. A package that
    /// the indexes no longer have is read itself, from the cache or a mirror, if it is still there; a held one
    /// must be.
    pub(super) fn versions(
        &self,
        universe: &mut Universe,
        fetcher: &Fetcher<'_>,
        job: &Job,
    ) -> Result<BTreeMap<(String, String), String>, PackagesError> {
        let installed = self.packages().filter(|package| package.is_installed());
        let (offered, others): (Vec<_>, Vec<_>) =
            installed.partition(|package| is_offered(package, universe));
        let workers = Workers::new(others.len().clamp(1, fetcher.settings().connections.max(1)));
        let controls = workers.try_map(others, |package| {
            let control = self.control(package, fetcher, job);
            control.map(|control| control.map(|control| (package, control)))
        });
        let mut kept = offered;
        for (package, control) in controls.map_err(PackagesError::of)?.into_iter().flatten() {
            self.bring_back(package, &control, universe)?;
            kept.push(package);
        }
        let version = |package: &LockedPackage| {
            ((package.name.clone(), package.architecture.clone()), package.version.clone())
        };
        Ok(kept.into_iter().map(version).collect())
    }

    /// Returns the control text of a package that the indexes no longer have; `None` where it can't be had any
    /// more and is not held.
    fn control(
        &self,
        package: &'a LockedPackage,
        fetcher: &Fetcher<'_>,
        job: &Job,
    ) -> Result<Option<String>, PackagesError> {
        let LockedPackage { name, version, architecture, .. } = package;
        if !self.request.rules.dependencies {
            // Nobody asks what it depends on.
            let control = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n");
            return Ok(Some(control));
        }
        let state = self.previous.and_then(|lock| lock.source(&package.distribution, &package.source));
        let date_seconds = state.map_or(0, |state| state.date_seconds);
        let source = self.source(package).map(|source| source.1);
        let wanted = Wanted { request: self.request, source, package, date_seconds };
        match fetcher.bring_if_missing(&wanted, job) {
            Ok(()) => {}
            Err(error @ (PackagesError::Gone { .. } | PackagesError::Offline { .. })) => {
                if self.is_held(package) {
                    return Err(PackagesError::of(gone::explain(vec![error], &[wanted], fetcher, job)));
                }
                job.note(format!("{package} can't be had any more: what is offered takes its place"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let bytes = fetcher.cache().open(&package.sha256.0, package.size_bytes);
        let bytes = bytes.map_err(PackagesError::Cache)?.ok_or_else(|| gone::offline(package))?;
        let text = local::control_text(bytes, job);
        let failed =
            |problem| PackagesError::Unpack { package: package.to_string(), problem: Box::new(problem) };
        text.map(Some).map_err(failed)
    }

    /// Adds a paragraph of a package that the indexes no longer have.
    fn bring_back(
        &self,
        package: &LockedPackage,
        control: &str,
        universe: &mut Universe,
    ) -> Result<(), PackagesError> {
        let (index, source) = self.source(package).ok_or_else(|| gone::offline(package))?;
        let LockedPackage { filename, size_bytes, sha256, .. } = package;
        let control = control.trim_end_matches('\n');
        let paragraph = format!("{control}\nFilename: {filename}\nSize: {size_bytes}\nSHA256: {sha256}\n");
        let distribution = self.request.distribution.clone();
        let added = universe.add(index, source.priority, paragraph);
        added.map_err(|problem| PackagesError::Index { distribution, problem })
    }

    /// Returns the package that a bare name stood for, if it stays.
    pub(super) fn bare(&self, name: &str) -> Option<&'a LockedPackage> {
        let reason = Reason::Bare(name.to_owned());
        self.packages().find(|package| package.why.contains(&reason))
    }
}

fn is_offered(package: &LockedPackage, universe: &Universe) -> bool {
    universe.find(&package.name, Some(&package.architecture)).into_iter().any(|id| {
        universe.version(id) == package.version
            && universe.architecture(id) == package.architecture
            && universe.package(id).sha256 == package.sha256
    })
}

/// Tells whether a name is that of a package, or one by which it is asked for.
pub(super) fn is_named(package: &LockedPackage, name: &str) -> bool {
    let (plain, architecture) = name.split_once(':').map_or((name, None), |split| (split.0, Some(split.1)));
    let is_it = package.name == plain && architecture.is_none_or(|it| it == package.architecture);
    is_it
        || package.why.iter().any(|reason| match reason {
            Reason::Asked(asked) | Reason::Bare(asked) => asked == name,
            _ => false,
        })
}
