//! From names to pinned packages. So far a name means exactly the package of that name, in its highest
//! version; what a package depends on is the recipe's affair.
//!
//! One exception: a kernel's metapackage (`linux-image-cloud-amd64`) stands for the kernel that it depends on
//! (`linux-image-6.1.0-50-cloud-amd64`), one step and no further. The lock then holds the kernel, with the
//! metapackage's name among those that it was asked by; the metapackage itself has no content and is
//! not fetched.

use std::collections::{BTreeMap, BTreeSet};

use super::deb::index::IndexEntry;
use super::deb::relation::{self, Relation};
use super::error::PackagesError;
use super::fetch::Fetcher;
use super::lock::{Lock, LockedPackage};
use super::request::Request;
use super::suite::Suite;
use crate::base::Job;
use crate::base::job::Unit;

/// Starts the name of every kernel package, metapackages too.
const KERNEL: &str = "linux-image-";

/// Locks all requests. What `keep` has locked stays as it is, and suites from which nothing else is wanted are
/// not even asked; pass `None` to take the newest of all. `previous` is the lock to be replaced: a suite
/// older than what it was made from is refused.
pub fn resolve(
    requests: &[Request],
    keep: Option<&Lock>,
    previous: Option<&Lock>,
    fetcher: &Fetcher<'_>,
    job: &Job,
) -> Result<Lock, PackagesError> {
    requests.iter().try_for_each(Request::check)?;
    let mut lock = Lock::default();
    let mut errors = Vec::new();
    for group in groups(requests) {
        if let Err(error) = resolve_group(&group, keep, previous, fetcher, job, &mut lock) {
            errors.push(error);
        }
        job.check()?;
    }
    if errors.is_empty() { Ok(lock) } else { Err(PackagesError::of(errors)) }
}

/// Groups requests that ask the same indexes of the same mirror, in the order of the first of each.
fn groups(requests: &[Request]) -> Vec<Vec<&Request>> {
    let mut order = Vec::new();
    let mut groups: BTreeMap<_, Vec<&Request>> = BTreeMap::new();
    for request in requests {
        let Request { distribution, suite, components, architecture, mirror, signed_by, .. } = request;
        let key = (distribution, suite, components, architecture, mirror, signed_by);
        if !groups.contains_key(&key) {
            order.push(key);
        }
        groups.entry(key).or_default().push(request);
    }
    order.into_iter().filter_map(|key| groups.remove(&key)).collect()
}

fn resolve_group(
    group: &[&Request],
    keep: Option<&Lock>,
    previous: Option<&Lock>,
    fetcher: &Fetcher<'_>,
    job: &Job,
    lock: &mut Lock,
) -> Result<(), PackagesError> {
    let Some(first) = group.first() else { return Ok(()) };
    let Request { distribution, suite, architecture, .. } = first;
    let kept = |name: &String| keep?.find(distribution, suite, architecture, name);
    let mut names: Vec<&String> = group.iter().flat_map(|request| &request.names).collect();
    names.sort();
    names.dedup();
    let (old, new): (Vec<&String>, Vec<&String>) = names.into_iter().partition(|name| kept(name).is_some());
    if let Some(state) = keep.and_then(|keep| keep.suite(distribution, suite)) {
        lock.put_suite(distribution, suite, *state);
    }
    for name in old {
        let package = kept(name).expect("because the partition asked");
        lock.put_package(LockedPackage { asked: [name.clone()].into(), ..package.clone() });
    }
    if new.is_empty() {
        return Ok(());
    }
    let step = job.step(format!("lock {distribution} {suite}"), Some(new.len() as u64), Unit::Items);
    let universe = Suite::load(first, previous, fetcher, job)?;
    lock.put_suite(distribution, suite, universe.state);
    let wanted = new.iter().map(|name| name.as_str()).collect();
    let (mut found, kernels) = look_up(&wanted, &universe)?;
    let mut errors = Vec::new();
    for name in new {
        match pick(name, &mut found, &kernels, first, &universe) {
            Ok(entry) => lock.put_package(locked(entry, name, first)),
            Err(error) => errors.push(error),
        }
        step.advance(1);
    }
    if errors.is_empty() { Ok(()) } else { Err(PackagesError::of(errors)) }
}

type Entries = BTreeMap<String, IndexEntry>;

/// Finds packages, and the kernels for which metapackages among them stand.
fn look_up(names: &BTreeSet<&str>, universe: &Suite) -> Result<(Entries, Entries), PackagesError> {
    let found = universe.find(names)?;
    let kernels: BTreeSet<&str> = found.values().filter_map(kernel).map(|kernel| kernel.name).collect();
    let kernels = if kernels.is_empty() { Entries::new() } else { universe.find(&kernels)? };
    Ok((found, kernels))
}

/// Returns the kernel for which a metapackage stands; `None` for every other package.
fn kernel(entry: &IndexEntry) -> Option<Relation<'_>> {
    let needed = relation::first_alternatives(&entry.depends);
    needed.into_iter().find(|needed| entry.name.starts_with(KERNEL) && needed.name.starts_with(KERNEL))
}

fn pick(
    name: &str,
    found: &mut Entries,
    kernels: &Entries,
    request: &Request,
    universe: &Suite,
) -> Result<IndexEntry, PackagesError> {
    let Some(entry) = found.remove(name) else {
        return Err(PackagesError::Unknown {
            name: name.to_owned(),
            place: format!("{} ({})", request.suite, request.components.join(" ")),
            architecture: request.architecture.clone(),
            similar: universe.similar(name),
        });
    };
    let Some(kernel) = kernel(&entry) else { return Ok(entry) };
    let fits = |found: &&IndexEntry| kernel.exactly.is_none_or(|version| version == found.version);
    match kernels.get(kernel.name).filter(fits) {
        Some(found) => Ok(found.clone()),
        None => {
            let exactly = kernel.exactly.map(|version| format!(" {version}")).unwrap_or_default();
            Err(PackagesError::Metapackage {
                name: entry.name.clone(),
                version: entry.version.clone(),
                needs: format!("{}{exactly}", kernel.name),
                suite: request.suite.clone(),
            })
        }
    }
}

fn locked(entry: IndexEntry, asked: &str, request: &Request) -> LockedPackage {
    LockedPackage {
        distribution: request.distribution.clone(),
        suite: request.suite.clone(),
        architecture: entry.architecture,
        name: entry.name,
        version: entry.version,
        size_bytes: entry.size_bytes,
        sha256: entry.sha256,
        filename: entry.filename,
        asked: [asked.to_owned()].into(),
    }
}
