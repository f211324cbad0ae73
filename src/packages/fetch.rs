//! Getting locked packages: from the caller's cache, else from a mirror, checked either way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::digest::Sha256;
use super::error::{FetchProblem, PackagesError};
use super::http::Http;
use super::lock::{LockedPackage, Wanted};
use super::mirror::{self, Location, Mirror};
use super::request::{Request, Settings};
use super::suite::Suite;
use crate::base::job::Unit;
use crate::base::parallel::Workers;
use crate::base::{Job, fs};
use crate::tree::ContentError;

/// Largest package that is fetched, in bytes: what is fetched is held in memory.
pub const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// Keeps what was fetched, by SHA-256, so that builds run offline once fetched. Used from several threads at
/// once.
pub trait PackageCache: Sync {
    /// Tells whether the bytes of this digest and size are there, without reading them.
    fn holds(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<bool, ContentError>;

    /// Returns the bytes of this digest and size; `None` where they are not there. What comes back is checked
    /// against the digest by the caller.
    fn get(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<Option<Vec<u8>>, ContentError>;

    /// Keeps bytes that have this digest.
    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError>;
}

/// Keeps packages in memory.
#[derive(Default)]
pub struct MemoryCache {
    entries: Mutex<HashMap<[u8; 32], Vec<u8>>>,
}

impl PackageCache for MemoryCache {
    fn holds(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<bool, ContentError> {
        let entries = self.entries.lock().expect("because no thread panics while it holds the map");
        Ok(entries.get(sha256).is_some_and(|bytes| bytes.len() as u64 == size_bytes))
    }

    fn get(&self, sha256: &[u8; 32], size_bytes: u64) -> Result<Option<Vec<u8>>, ContentError> {
        let entries = self.entries.lock().expect("because no thread panics while it holds the map");
        Ok(entries.get(sha256).filter(|bytes| bytes.len() as u64 == size_bytes).cloned())
    }

    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> Result<(), ContentError> {
        let mut entries = self.entries.lock().expect("because no thread panics while it holds the map");
        entries.insert(*sha256, bytes.to_vec());
        Ok(())
    }
}

/// Says what a round of fetching did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Fetched {
    /// Packages that came from a mirror.
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
}

impl<'a> Fetcher<'a> {
    /// Makes a fetcher. Nothing is asked yet.
    pub fn new(settings: Settings, cache: &'a dyn PackageCache) -> Result<Self, PackagesError> {
        let http = Http::new(&settings)?;
        Ok(Fetcher { settings, cache, http })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
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
            let found = self.ask_all(&wanted, job).inspect_err(|error| {
                is_cut_off.fetch_or(is_about_the_network(error), Ordering::Relaxed);
            })?;
            self.keep(wanted.package.sha256, &found)?;
            packages.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(found.len() as u64, Ordering::Relaxed);
            step.advance(found.len() as u64);
            Ok(())
        };
        let connections = Workers::new(self.settings.connections.clamp(1, 16).min(missing.len()));
        let result = connections.try_map(missing, fetch);
        result.map_err(|errors| PackagesError::of(self.explain(errors, wanted, job)))?;
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

    /// Returns the bytes of a package, from the cache or else from a mirror; checked.
    pub fn read(&self, wanted: &Wanted<'_>, job: &Job) -> Result<Vec<u8>, PackagesError> {
        let LockedPackage { sha256, size_bytes, .. } = wanted.package;
        if let Some(bytes) = self.cached(*sha256, *size_bytes)? {
            return Ok(bytes);
        }
        let explain = |error| PackagesError::of(self.explain(vec![error], &[*wanted], job));
        let bytes = self.ask_all(wanted, job).map_err(explain)?;
        self.keep(*sha256, &bytes)?;
        Ok(bytes)
    }

    /// Returns bytes from the cache. Bytes that are not what the digest says count as not there: a mirror
    /// brings them again.
    pub(super) fn cached(&self, sha256: Sha256, size_bytes: u64) -> Result<Option<Vec<u8>>, PackagesError> {
        let found = self.cache.get(&sha256.0, size_bytes).map_err(PackagesError::Cache)?;
        Ok(found.filter(|bytes| Sha256::of(bytes) == sha256))
    }

    pub(super) fn keep(&self, sha256: Sha256, bytes: &[u8]) -> Result<(), PackagesError> {
        self.cache.put(&sha256.0, bytes).map_err(PackagesError::Cache)
    }

    /// Asks every mirror that may have a package, best first.
    fn ask_all(&self, wanted: &Wanted<'_>, job: &Job) -> Result<Vec<u8>, PackagesError> {
        wanted.request.check()?;
        let package = wanted.package;
        let offline = || PackagesError::Offline {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256,
            filename: package.filename.clone(),
        };
        let mirrors = match mirror::candidates(wanted.request, &self.settings) {
            Err(PackagesError::NoMirror { .. }) if self.settings.offline => return Err(offline()),
            mirrors => mirrors?,
        };
        let is_reachable = |mirror: &&Mirror| !self.settings.offline || mirror.is_local();
        let mut failure = None;
        let mut asked = Vec::new();
        for mirror in mirrors.iter().filter(is_reachable) {
            let expected = Some((package.sha256, package.size_bytes));
            match self.ask(mirror, &package.filename, expected, PACKAGE_BYTES_MAX, job) {
                Ok(bytes) => return Ok(bytes),
                Err(PackagesError::Cancelled(cancelled)) => return Err(cancelled.into()),
                Err(PackagesError::Fetch { problem: FetchProblem::Missing, .. }) => {
                    asked.push(mirror.shown())
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(match failure {
            Some(failure) => failure,
            None if asked.is_empty() => offline(),
            None => PackagesError::Gone {
                package: package.to_string(),
                filename: package.filename.clone(),
                mirror: asked.join(" and "),
                now: None,
            },
        })
    }

    /// Adds to each package that is gone which version the mirror's index offers, where that can be asked. Only
    /// for the message: a build with a lock takes nothing from an index.
    fn explain(
        &self,
        mut errors: Vec<PackagesError>,
        wanted: &[Wanted<'_>],
        job: &Job,
    ) -> Vec<PackagesError> {
        let mut requests: Vec<&Request> = wanted.iter().map(|wanted| wanted.request).collect();
        requests.dedup();
        for request in requests {
            let of_request = |wanted: &&Wanted<'_>| wanted.request == request;
            let files: BTreeMap<&str, &str> = wanted
                .iter()
                .filter(of_request)
                .map(|wanted| (&*wanted.package.filename, &*wanted.package.name))
                .collect();
            let mut gone: Vec<(&str, &mut Option<String>)> = errors
                .iter_mut()
                .filter_map(|error| match error {
                    PackagesError::Gone { filename, now, .. } => Some((*files.get(&**filename)?, now)),
                    _ => None,
                })
                .collect();
            if gone.is_empty() {
                continue;
            }
            let Ok(universe) = Suite::load(request, None, self, job) else { continue };
            let names = gone.iter().map(|gone| gone.0).collect();
            let Ok(found) = universe.find(&names) else { continue };
            for (name, now) in &mut gone {
                **now = found.get(*name).map(|entry| entry.version.clone());
            }
        }
        errors
    }

    /// Gets one file of one mirror: of a digest and size that are known, or of at most `limit` bytes.
    pub(super) fn ask(
        &self,
        mirror: &Mirror,
        path: &str,
        expected: Option<(Sha256, u64)>,
        limit: u64,
        job: &Job,
    ) -> Result<Vec<u8>, PackagesError> {
        let size = expected.map(|expected| expected.1);
        let result = match mirror.locate(path) {
            _ if size.is_some_and(|size| size > limit) => Err(FetchProblem::TooLarge { limit }),
            Location::Http(_) if self.settings.offline => Err(FetchProblem::Offline),
            Location::File(path) => match fs::read_at_most(&path, size.unwrap_or(limit)) {
                Err(error) if error.is_missing() => Err(FetchProblem::Missing),
                result => result.map_err(FetchProblem::File),
            },
            Location::Http(address) => self.http.get(&address, size, limit, job),
        };
        let checked = result.and_then(|bytes| match expected {
            Some(expected) => check(bytes, expected),
            None => Ok(bytes),
        });
        checked.map_err(|problem| match problem {
            FetchProblem::Cancelled(cancelled) => cancelled.into(),
            problem => PackagesError::Fetch { what: path.to_owned(), address: mirror.shown(), problem },
        })
    }
}

/// Tells whether other requests would fail alike.
fn is_about_the_network(error: &PackagesError) -> bool {
    matches!(
        error,
        PackagesError::Fetch { problem: FetchProblem::Connection(_) | FetchProblem::Slow { .. }, .. }
    )
}

fn check(bytes: Vec<u8>, (sha256, size): (Sha256, u64)) -> Result<Vec<u8>, FetchProblem> {
    if bytes.len() as u64 != size {
        return Err(FetchProblem::Size { found: bytes.len() as u64, expected: size });
    }
    match Sha256::of(&bytes) {
        found if found == sha256 => Ok(bytes),
        found => Err(FetchProblem::Digest { found: Box::new(found), expected: Box::new(sha256) }),
    }
}
