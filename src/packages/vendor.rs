//! A folder that holds every package of a lock, for builders without a network.
//!
//! Each package lies at its path below an archive's root (`pool/…`), so that the folder also serves as a mirror
//! (`--mirror file:FOLDER`). Where another package is there already, of another archive, and for local files of
//! the recipe's machine, it lies at `by-hash/SHA256/DIGEST.deb`. Nothing else is in the folder: with a lock no
//! index is asked.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::cache::Checked;
use super::error::{FetchProblem, PackagesError};
use super::fetch::Fetcher;
use super::gone;
use super::lock::{Lock, LockedPackage, Wanted};
use super::request::Request;
use crate::base::Job;
use crate::base::fs::{self, FileError};
use crate::base::job::Unit;
use crate::base::publish::Publication;

/// Says what a round of vendoring did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Vendored {
    /// Packages that the folder holds now, of those that were asked for.
    pub packages: usize,
    /// Packages that it did not hold before.
    pub written: usize,
    /// Bytes of those.
    pub bytes: u64,
}

/// Returns where in a vendored folder a package may lie, best first.
pub(super) fn places(package: &LockedPackage) -> Vec<String> {
    let by_hash = format!("by-hash/SHA256/{}.deb", package.sha256);
    match package.local_name() {
        Some(_) => vec![by_hash],
        None => vec![package.filename.clone(), by_hash],
    }
}

/// Gathers every package that requests need in a folder. What is there is checked and stays; what is missing is
/// fetched and written whole or not at all. Nothing is removed, and no file of another content is replaced
/// unless its name is a digest that it does not have.
pub fn write(
    lock: &Lock,
    requests: &[Request],
    fetcher: &Fetcher<'_>,
    folder: &Path,
    job: &Job,
) -> Result<Vendored, PackagesError> {
    let mut wanted = lock.select(requests)?;
    wanted.sort_by_key(|wanted| wanted.package.sha256);
    wanted.dedup_by_key(|wanted| wanted.package.sha256);
    let total = wanted.iter().map(|wanted| wanted.package.size_bytes).sum();
    let step = job.step("vendor packages", Some(total), Unit::Bytes);
    let is_there = |wanted: &Wanted<'_>| {
        job.check()?;
        let place = place(wanted.package, folder)?;
        if place.is_none() {
            step.advance(wanted.package.size_bytes);
        }
        Ok::<_, PackagesError>(place)
    };
    let places = job.workers.try_map(wanted.iter().collect(), is_there);
    let places = places.map_err(PackagesError::of)?;
    let missing: Vec<(Wanted<'_>, PathBuf)> =
        wanted.iter().zip(places).filter_map(|(wanted, place)| Some((*wanted, place?))).collect();
    fetcher.fetch(&missing.iter().map(|missing| missing.0).collect::<Vec<_>>(), job)?;
    let mut vendored = Vendored { packages: wanted.len(), ..Vendored::default() };
    for (Wanted { package, .. }, place) in missing {
        // Two packages of one path: the first takes it, and the other sees that it is taken.
        let place = if place.exists() { by_hash(package, folder) } else { place };
        write_one(package, &place, fetcher, job)?;
        vendored.written += 1;
        vendored.bytes += package.size_bytes;
        step.advance(package.size_bytes);
    }
    Ok(vendored)
}

/// Lists the packages that requests need and that a folder holds.
pub fn held(lock: &Lock, requests: &[Request], folder: &Path) -> Result<Vec<PathBuf>, PackagesError> {
    let wanted = lock.select(requests)?;
    let places = wanted.iter().flat_map(|wanted| places(wanted.package)).map(|place| folder.join(place));
    Ok(places.filter(|path| path.is_file()).collect())
}

fn by_hash(package: &LockedPackage, folder: &Path) -> PathBuf {
    folder.join(format!("by-hash/SHA256/{}.deb", package.sha256))
}

/// Returns where a package must be written; `None` where it lies already.
fn place(package: &LockedPackage, folder: &Path) -> Result<Option<PathBuf>, PackagesError> {
    let mut free = None;
    for place in places(package) {
        let path = folder.join(place);
        match holds(package, &path)? {
            Some(true) => return Ok(None),
            Some(false) => {}
            None => free = free.or(Some(path)),
        }
    }
    Ok(free.or_else(|| Some(by_hash(package, folder))))
}

/// Tells whether a file holds a package; `None` where there is no file.
fn holds(package: &LockedPackage, path: &Path) -> Result<Option<bool>, PackagesError> {
    let file = match fs::open(path) {
        Err(error) if error.is_missing() => return Ok(None),
        file => file?,
    };
    let mut checked = Checked::new(file, (package.sha256, package.size_bytes));
    match std::io::copy(&mut checked, &mut std::io::sink()).map_err(FetchProblem::of_reading) {
        Ok(_) => Ok(Some(true)),
        Err(FetchProblem::Reading(source)) => Err(FileError::at("read", path)(source).into()),
        Err(_) => Ok(Some(false)),
    }
}

fn write_one(
    package: &LockedPackage,
    path: &Path,
    fetcher: &Fetcher<'_>,
    job: &Job,
) -> Result<(), PackagesError> {
    let kept = fetcher.cache().open(&package.sha256.0, package.size_bytes).map_err(PackagesError::Cache)?;
    let kept = kept.ok_or_else(|| gone::offline(package))?;
    let mut checked = Checked::new(kept, (package.sha256, package.size_bytes));
    let parent = path.parent().unwrap_or(path);
    fs::create_directories(parent)?;
    let publication = Publication::create(path)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        job.check()?;
        let read = checked.read(&mut piece).map_err(|error| PackagesError::Fetch {
            what: package.to_string(),
            address: "the store".to_owned(),
            problem: FetchProblem::of_reading(error),
        })?;
        if read == 0 {
            break;
        }
        publication.file().write_all(&piece[..read]).map_err(FileError::at("write", path))?;
    }
    Ok(publication.publish()?)
}
