//! Getting locked packages: from the caller's cache, else from a vendored folder or a mirror, checked either
//! way. A package is a stream: what is held of it in memory does not depend on its size.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::cache::{Checked, PackageCache};
use super::digest::Sha256;
use super::download::Download;
use super::error::{FetchProblem, PackagesError};
use super::gone;
use super::http::Http;
use super::keyring::Keyring;
use super::lock::{LockedPackage, Wanted};
use super::mirror::{self, Location, Mirror};
use super::settings::Settings;
use super::vendor;
use crate::base::job::Unit;
use crate::base::parallel::Workers;
use crate::base::{Job, fs};
use crate::tree::ContentError;

/// Largest package that is fetched, in bytes.
pub const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// Says what a round of fetching did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Fetched {
    /// Packages that came from a mirror or a folder.
    pub packages: usize,
    pub bytes: u64,
    /// Packages that were in the cache.
    pub cached: usize,
}

/// Gets files of archives. Shared among threads.
pub struct Fetcher<'a> {
    settings: Settings,
    cache: &'a dyn PackageCache,
    http: Http,
    keyrings: Mutex<HashMap<PathBuf, Arc<Keyring>>>,
}

impl<'a> Fetcher<'a> {
    /// Makes a fetcher. Nothing is asked yet.
    pub fn new(settings: Settings, cache: &'a dyn PackageCache) -> Result<Self, PackagesError> {
        let http = Http::new(&settings)?;
        Ok(Fetcher { settings, cache, http, keyrings: Mutex::default() })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn cache(&self) -> &dyn PackageCache {
        self.cache
    }

    /// Brings all packages into the cache that are not there, over several connections at once, the largest
    /// first. All failures are reported, not only the first; but once a mirror can't be reached, nothing more is
    /// asked for.
    pub fn fetch(&self, wanted: &[Wanted<'_>], job: &Job) -> Result<Fetched, PackagesError> {
        let (missing, cached) = self.missing(wanted)?;
        let fetched = Fetched { cached, ..Fetched::default() };
        if missing.is_empty() {
            return Ok(fetched);
        }
        let total = missing.iter().map(|wanted| wanted.package.size_bytes).sum();
        let step = job.step("fetch packages", Some(total), Unit::Bytes);
        let (packages, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let is_cut_off = AtomicBool::new(false);
        let fetch = |wanted: Wanted<'_>| {
            if is_cut_off.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.bring(&wanted, job).inspect_err(|error| {
                is_cut_off.fetch_or(is_about_the_network(error), Ordering::Relaxed);
            })?;
            packages.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(wanted.package.size_bytes, Ordering::Relaxed);
            step.advance(wanted.package.size_bytes);
            Ok(())
        };
        let connections = Workers::new(self.settings.connections.clamp(1, 16).min(missing.len()));
        let result = connections.try_map(missing, fetch);
        result.map_err(|errors| PackagesError::of(gone::explain(errors, wanted, self, job)))?;
        Ok(Fetched { packages: packages.into_inner(), bytes: bytes.into_inner(), ..fetched })
    }

    /// Returns what is not in the cache, each package once, the largest first; and how much is.
    fn missing<'b>(&self, wanted: &[Wanted<'b>]) -> Result<(Vec<Wanted<'b>>, usize), PackagesError> {
        let mut unique: Vec<Wanted<'b>> = wanted.to_vec();
        unique.sort_by_key(|wanted| (std::cmp::Reverse(wanted.package.size_bytes), wanted.package.sha256));
        unique.dedup_by_key(|wanted| wanted.package.sha256);
        let mut missing = Vec::new();
        let mut cached = 0;
        for wanted in unique {
            let LockedPackage { sha256, size_bytes, .. } = wanted.package;
            match self.cache.holds(&sha256.0, *size_bytes).map_err(PackagesError::Cache)? {
                true => cached += 1,
                false => missing.push(wanted),
            }
        }
        Ok((missing, cached))
    }

    /// Returns the bytes of a package, from the cache or else from a mirror; checked. Costs memory for all of
    /// them.
    pub fn read(&self, wanted: &Wanted<'_>, job: &Job) -> Result<Vec<u8>, PackagesError> {
        let LockedPackage { sha256, size_bytes, .. } = wanted.package;
        if let Some(bytes) = self.cached(*sha256, *size_bytes)? {
            return Ok(bytes);
        }
        let explain = |error| PackagesError::of(gone::explain(vec![error], &[*wanted], self, job));
        self.bring(wanted, job).map_err(explain)?;
        self.cached(*sha256, *size_bytes)?.ok_or_else(|| gone::offline(wanted.package))
    }

    /// Returns bytes from the cache. Bytes that are not what the digest says count as not there: a mirror
    /// brings them again.
    pub(super) fn cached(&self, sha256: Sha256, size_bytes: u64) -> Result<Option<Vec<u8>>, PackagesError> {
        let found = self.cache.get(&sha256.0, size_bytes).map_err(PackagesError::Cache)?;
        Ok(found.filter(|bytes| Sha256::of(bytes) == sha256))
    }

    /// Reads a keyring file once.
    pub(super) fn keyring(&self, path: &Path) -> Result<Arc<Keyring>, PackagesError> {
        let mut keyrings = self.keyrings.lock().expect("because no thread panics while it reads a keyring");
        if let Some(keyring) = keyrings.get(path) {
            return Ok(keyring.clone());
        }
        let keyring = Arc::new(Keyring::open(path)?);
        keyrings.insert(path.to_owned(), keyring.clone());
        Ok(keyring)
    }

    /// Brings one package into the cache unless it is there.
    pub(super) fn bring_if_missing(&self, wanted: &Wanted<'_>, job: &Job) -> Result<(), PackagesError> {
        let LockedPackage { sha256, size_bytes, .. } = wanted.package;
        match self.cache.holds(&sha256.0, *size_bytes).map_err(PackagesError::Cache)? {
            true => Ok(()),
            false => self.bring(wanted, job),
        }
    }

    /// Brings a package into the cache: from this machine, the vendored folder, or the mirrors that may have it.
    fn bring(&self, wanted: &Wanted<'_>, job: &Job) -> Result<(), PackagesError> {
        wanted.request.check()?;
        let package = wanted.package;
        if package.size_bytes > PACKAGE_BYTES_MAX {
            let problem = FetchProblem::TooLarge { limit: PACKAGE_BYTES_MAX };
            let address = package.filename.clone();
            return Err(PackagesError::Fetch { what: package.to_string(), address, problem });
        }
        let damaged = match &self.settings.vendor {
            None => None,
            Some(folder) => match self.put_placed(package, folder) {
                Ok(()) => return Ok(()),
                Err(FetchProblem::Missing) => None,
                Err(problem) => Some(self.failed(package, format!("file:{}", folder.display()), problem)),
            },
        };
        let result = match package.local_name() {
            Some(name) => self.bring_local(wanted, name),
            None => self.bring_remote(wanted, job),
        };
        match (result, damaged) {
            (Err(PackagesError::Offline { .. }), Some(damaged)) => Err(damaged),
            (result, _) => result,
        }
    }

    fn bring_local(&self, wanted: &Wanted<'_>, name: &str) -> Result<(), PackagesError> {
        let package = wanted.package;
        let path = wanted.request.local(name).ok_or_else(|| gone::offline(package))?;
        let put = self.put_file(package, path);
        put.map_err(|problem| match problem {
            FetchProblem::Digest { .. } | FetchProblem::Size { .. } | FetchProblem::TooLarge { .. } => {
                PackagesError::LocalChanged { path: path.clone(), package: package.to_string() }
            }
            problem => self.failed(package, format!("file:{}", path.display()), problem),
        })
    }

    /// Takes a package from a folder, where it may lie in several places: what has its name may be another
    /// archive's.
    fn put_placed(&self, package: &LockedPackage, folder: &Path) -> Result<(), FetchProblem> {
        let mut failure = FetchProblem::Missing;
        for place in vendor::places(package) {
            match self.put_file(package, &folder.join(place)) {
                Ok(()) => return Ok(()),
                Err(FetchProblem::Missing) => {}
                Err(
                    problem @ (FetchProblem::Digest { .. }
                    | FetchProblem::Size { .. }
                    | FetchProblem::TooLarge { .. }),
                ) => failure = problem,
                Err(problem) => return Err(problem),
            }
        }
        Err(failure)
    }

    fn bring_remote(&self, wanted: &Wanted<'_>, job: &Job) -> Result<(), PackagesError> {
        let package = wanted.package;
        let Some(source) = wanted.source else { return Err(gone::offline(package)) };
        let seconds = wanted.date_seconds;
        let mirrors = match mirror::candidates(wanted.request, source, seconds, &self.settings) {
            Err(PackagesError::NoMirror { .. }) if self.settings.offline => {
                return Err(gone::offline(package));
            }
            mirrors => mirrors?,
        };
        let is_reachable = |mirror: &&Mirror| !self.settings.offline || mirror.folder().is_some();
        let mut failure = None;
        let mut asked = Vec::new();
        for mirror in mirrors.iter().filter(is_reachable) {
            match self.transfer(package, mirror, job) {
                Ok(()) => return Ok(()),
                Err(FetchProblem::Cancelled(cancelled)) => return Err(cancelled.into()),
                Err(FetchProblem::Missing) => asked.push(mirror.shown()),
                Err(problem) => failure = Some(self.failed(package, mirror.shown(), problem)),
            }
        }
        Err(match failure {
            Some(failure) => failure,
            None if asked.is_empty() => gone::offline(package),
            None => gone::gone(wanted, &asked),
        })
    }

    /// Gets a package from one mirror. Where a resumed one is not what was locked, it is read once more in one
    /// piece: the file may have changed in between.
    fn transfer(&self, package: &LockedPackage, mirror: &Mirror, job: &Job) -> Result<(), FetchProblem> {
        if let Some(folder) = mirror.folder() {
            return self.put_placed(package, folder);
        }
        let Location::Http(address) = mirror.locate(&package.filename) else {
            return Err(FetchProblem::Missing);
        };
        for may_resume in [true, false] {
            let download = Download::new(&self.http, &address, package.size_bytes, may_resume, job);
            let mut checked = Checked::new(download, (package.sha256, package.size_bytes));
            match self.put(package, &mut checked) {
                Err(FetchProblem::Digest { .. }) if may_resume && checked.get().is_resumed() => {}
                result => return result,
            }
        }
        Err(FetchProblem::Missing)
    }

    fn put_file(&self, package: &LockedPackage, path: &Path) -> Result<(), FetchProblem> {
        let file = match fs::open(path) {
            Err(error) if error.is_missing() => return Err(FetchProblem::Missing),
            file => file?,
        };
        self.put(package, &mut Checked::new(file, (package.sha256, package.size_bytes)))
    }

    fn put(&self, package: &LockedPackage, reader: &mut dyn Read) -> Result<(), FetchProblem> {
        match self.cache.put_stream(&package.sha256.0, reader) {
            Ok(()) => Ok(()),
            Err(ContentError::Input(error)) => Err(FetchProblem::of_reading(error)),
            Err(ContentError::Cancelled(cancelled)) => Err(cancelled.into()),
            Err(error) => Err(FetchProblem::Cache(Box::new(error))),
        }
    }

    fn failed(&self, package: &LockedPackage, address: String, problem: FetchProblem) -> PackagesError {
        match problem {
            FetchProblem::Cancelled(cancelled) => cancelled.into(),
            FetchProblem::Cache(error) => PackagesError::Cache(*error),
            problem => PackagesError::Fetch { what: package.filename.clone(), address, problem },
        }
    }

    /// Gets one small file of one mirror into memory: of a digest and size that are known, or of at most `limit`
    /// bytes.
    pub(super) fn ask(
        &self,
        mirror: &Mirror,
        path: &str,
        expected: Option<(Sha256, u64)>,
        limit: u64,
        job: &Job,
    ) -> Result<Vec<u8>, PackagesError> {
        let result = self.ask_once(mirror, path, expected, limit, job);
        result.map_err(|problem| match problem {
            FetchProblem::Cancelled(cancelled) => cancelled.into(),
            problem => PackagesError::Fetch { what: path.to_owned(), address: mirror.shown(), problem },
        })
    }

    fn ask_once(
        &self,
        mirror: &Mirror,
        path: &str,
        expected: Option<(Sha256, u64)>,
        limit: u64,
        job: &Job,
    ) -> Result<Vec<u8>, FetchProblem> {
        let read = |reader: &mut dyn Read| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes).map_err(FetchProblem::of_reading)
        };
        match (mirror.locate(path), expected) {
            (_, Some((_, size))) if size > limit => Err(FetchProblem::TooLarge { limit }),
            (Location::Http(_), _) if self.settings.offline => Err(FetchProblem::Offline),
            (Location::Http(address), None) => self.http.get(&address, limit, job),
            (Location::Http(address), Some(expected)) => {
                let download = Download::new(&self.http, &address, expected.1, true, job);
                read(&mut Checked::new(download, expected))
            }
            (Location::File(path), expected) => {
                let file = match fs::open(&path) {
                    Err(error) if error.is_missing() => return Err(FetchProblem::Missing),
                    file => file?,
                };
                match expected {
                    Some(expected) => read(&mut Checked::new(file, expected)),
                    None => Ok(fs::read_at_most(&path, limit)?),
                }
            }
        }
    }
}

/// Tells whether other requests would fail alike.
fn is_about_the_network(error: &PackagesError) -> bool {
    matches!(
        error,
        PackagesError::Fetch { problem: FetchProblem::Connection(_) | FetchProblem::Slow { .. }, .. }
    )
}
