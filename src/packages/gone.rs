//! Messages for packages that can't be had: what is there now, and the ways out.

use std::collections::BTreeMap;

use super::date;
use super::error::PackagesError;
use super::fetch::Fetcher;
use super::lock::{LockedPackage, Wanted};
use super::suite;
use super::universe::Universe;
use crate::base::Job;

/// Says that a package is not here and may not be fetched.
pub(super) fn offline(package: &LockedPackage) -> PackagesError {
    PackagesError::Offline {
        name: package.name.clone(),
        version: package.version.clone(),
        sha256: package.sha256,
        filename: package.filename.clone(),
    }
}

/// Says that no mirror has a package any more.
pub(super) fn gone(wanted: &Wanted<'_>, asked: &[String]) -> PackagesError {
    let package = wanted.package;
    let suite = wanted.source.map_or(&package.source, |source| &source.suite);
    PackagesError::Gone {
        package: package.to_string(),
        name: package.name.clone(),
        filename: package.filename.clone(),
        suite: suite.clone(),
        date: date::compact(wanted.date_seconds),
        mirror: asked.join(" and "),
        now: None,
    }
}

/// Adds to each package that is gone which version the mirror's index offers, where that can be asked. Only
/// for the message: a build with a lock takes nothing from an index.
pub(super) fn explain(
    mut errors: Vec<PackagesError>,
    wanted: &[Wanted<'_>],
    fetcher: &Fetcher<'_>,
    job: &Job,
) -> Vec<PackagesError> {
    let by_filename: BTreeMap<&str, &Wanted<'_>> =
        wanted.iter().map(|wanted| (&*wanted.package.filename, wanted)).collect();
    let mut gone: BTreeMap<(&str, &str), Vec<(&LockedPackage, &mut Option<String>)>> = BTreeMap::new();
    for error in &mut errors {
        if let PackagesError::Gone { filename, now, .. } = error
            && let Some(wanted) = by_filename.get(&**filename)
        {
            let package = wanted.package;
            gone.entry((&package.distribution, &package.source)).or_default().push((package, now));
        }
    }
    for ((distribution, source), packages) in gone {
        let of_source = |wanted: &&Wanted<'_>| {
            wanted.package.distribution == distribution && wanted.package.source == source
        };
        if let Some(wanted) = wanted.iter().find(of_source) {
            add_versions(wanted, packages, fetcher, job);
        }
    }
    errors
}

fn add_versions(
    wanted: &Wanted<'_>,
    packages: Vec<(&LockedPackage, &mut Option<String>)>,
    fetcher: &Fetcher<'_>,
    job: &Job,
) {
    let Some(source) = wanted.source else { return };
    let seconds = wanted.date_seconds;
    let Ok(suite) = suite::load(wanted.request, source, None, seconds, fetcher, job) else { return };
    let mut universe = Universe::new(&wanted.request.architecture, &wanted.request.foreign_architectures);
    let texts = suite.indexes.into_iter().map(|text| (0, source.priority, text)).collect();
    if universe.add_all(texts, &job.workers).is_err() {
        return;
    }
    for (package, now) in packages {
        let found = universe.find(&package.name, Some(&package.architecture));
        *now = found.first().map(|id| universe.version(*id).to_owned());
    }
}
