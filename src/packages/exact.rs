//! Packages by their exact names, without what they depend on: kernels and loaders, and what a recipe wants
//! as it stands.
//!
//! A kernel's metapackage (`linux-image-cloud-amd64`) stands for the kernel that it depends on
//! (`linux-image-6.1.0-50-cloud-amd64`), one step and no further. The metapackage itself has no content and is
//! not locked.

use std::collections::BTreeSet;

use super::deb::index::{self, IndexEntry};
use super::deb::relation::{self, Relation};
use super::deb::version;
use super::error::{PackagesError, SuiteProblem};
use super::lock::{LockedPackage, Reason};
use super::request::{Request, Root, fits};
use super::suite::Suite;

/// Starts the name of every kernel package, metapackages too.
const KERNEL: &str = "linux-image-";

/// Holds a package that a source offers.
#[derive(Clone)]
pub(super) struct Offer {
    /// Index into the sources of the request.
    pub source: usize,
    pub entry: IndexEntry,
}

/// Returns all packages of some names, in the order of the sources. Costs one pass over the indexes.
pub(super) fn offers(suites: &[Suite], names: &BTreeSet<&str>) -> Result<Vec<Offer>, PackagesError> {
    let mut offers = Vec::new();
    for (source, suite) in suites.iter().enumerate() {
        for text in &suite.indexes {
            let entries = index::find(&text.text, names).map_err(|problem| PackagesError::Suite {
                suite: suite.state.suite.clone(),
                mirror: suite.mirror.clone(),
                problem: Box::new(SuiteProblem::Index { path: text.path.clone(), problem }),
            })?;
            offers.extend(entries.into_iter().map(|entry| Offer { source, entry }));
        }
    }
    Ok(offers)
}

/// Returns the best of some offers: of the highest priority, then the highest version, then the first.
pub(super) fn best<'a>(offers: impl Iterator<Item = &'a Offer>, priorities: &[i32]) -> Option<&'a Offer> {
    let priority = |offer: &Offer| priorities.get(offer.source).copied().unwrap_or_default();
    let mut best: Option<&Offer> = None;
    for offer in offers.filter(|offer| priority(offer) >= 0) {
        let is_better = |there: &&Offer| {
            let versions = || version::compare(&offer.entry.version, &there.entry.version);
            priority(offer).cmp(&priority(there)).then_with(versions).is_gt()
        };
        if best.as_ref().is_none_or(is_better) {
            best = Some(offer);
        }
    }
    best
}

/// Locks one package by its exact name; a kernel's metapackage stands for its kernel.
pub(super) fn pick(
    root: &Root,
    request: &Request,
    suites: &[Suite],
    reason: Reason,
) -> Result<LockedPackage, PackagesError> {
    let chosen = choose(root, request, suites)?;
    let Some(kernel) = kernel(&chosen.entry) else { return Ok(locked(&chosen, request, reason)) };
    let (_, architecture) = root.split();
    let name = architecture.map_or_else(|| kernel.name.to_owned(), |it| format!("{}:{it}", kernel.name));
    let needed = Root { name, version: kernel.exactly.map(str::to_owned), suite: None };
    match choose(&needed, request, suites) {
        Ok(found) => Ok(locked(&found, request, reason)),
        Err(PackagesError::Unknown { .. }) => Err(PackagesError::Metapackage {
            name: chosen.entry.name.clone(),
            version: chosen.entry.version.clone(),
            needs: [Some(kernel.name), kernel.exactly].into_iter().flatten().collect::<Vec<_>>().join(" "),
            suite: request.sources[chosen.source].suite.clone(),
        }),
        Err(error) => Err(error),
    }
}

fn choose(root: &Root, request: &Request, suites: &[Suite]) -> Result<Offer, PackagesError> {
    let (name, architecture) = root.split();
    let architecture = architecture.unwrap_or(&request.architecture);
    let pin = request.rules.pins.get(name);
    let found = offers(suites, &BTreeSet::from([name]))?;
    let is_good = |offer: &&Offer| {
        let Offer { source, entry } = offer;
        (entry.architecture == architecture || entry.architecture == "all")
            && root.version.iter().chain(pin).all(|pattern| fits(pattern, &entry.version))
            && root.suite.as_ref().is_none_or(|suite| request.sources[*source].suite == *suite)
    };
    let priorities: Vec<i32> = request.sources.iter().map(|source| source.priority).collect();
    best(found.iter().filter(is_good), &priorities).cloned().ok_or_else(|| {
        let mut versions: Vec<String> = found.iter().map(|offer| offer.entry.version.clone()).collect();
        versions.sort_by(|a, b| version::compare(a, b));
        versions.dedup();
        PackagesError::Unknown {
            name: [Some(name), root.version.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" "),
            place: place(request),
            architecture: architecture.to_owned(),
            similar: if versions.is_empty() { similar(name, suites) } else { versions },
        }
    })
}

/// Names the sources of a request: `bookworm (main), bookworm-security (main)`.
fn place(request: &Request) -> String {
    let one = |source: &super::request::SourceRequest| {
        format!("{} ({})", source.suite, source.components.join(" "))
    };
    request.sources.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn similar(name: &str, suites: &[Suite]) -> Vec<String> {
    let indexes = suites.iter().flat_map(|suite| &suite.indexes);
    let mut names: Vec<String> = Vec::new();
    for other in indexes.flat_map(|text| index::similar(&text.text, name)) {
        if !names.iter().any(|known| known == other) {
            names.push(other.to_owned());
        }
    }
    names.truncate(3);
    names
}

/// Returns the kernel for which a metapackage stands; `None` for every other package.
fn kernel(entry: &IndexEntry) -> Option<Relation<'_>> {
    let needed = relation::first_alternatives(&entry.depends);
    needed.into_iter().find(|needed| entry.name.starts_with(KERNEL) && needed.name.starts_with(KERNEL))
}

fn locked(offer: &Offer, request: &Request, reason: Reason) -> LockedPackage {
    let IndexEntry { name, version, architecture, filename, size_bytes, sha256, .. } = offer.entry.clone();
    LockedPackage {
        distribution: request.distribution.clone(),
        name,
        architecture,
        version,
        source: request.sources[offer.source].name.clone(),
        size_bytes,
        sha256,
        filename,
        why: [reason].into(),
    }
}
