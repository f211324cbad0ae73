//! Packages of a plan: locked, fetched into the store, unpacked into trees that are kept.

use std::path::Path;

use super::error::{PipelineError, Result};
use super::package_cache::StoreCache;
use super::step::Memo;
use crate::base::job::Unit;
use crate::base::publish::publish_bytes;
use crate::base::{Job, StepKey, fs};
use crate::packages::lock::LOCK_BYTES_MAX;
use crate::packages::rpm::{self, RpmError};
use crate::packages::unpack::{self, Share};
use crate::packages::{
    self, Fetcher, Lock, LockedPackage, PackageCache, PackagesError, Request, Settings, Unpacked, Update,
    unpack_key,
};
use crate::recipe::plan::BarePackagePlan;
use crate::store::{Objects, Store, Transaction, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{Content, ContentSource, Directory};

/// What became of a lock.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Locked {
    /// Packages that are pinned.
    pub packages: Vec<String>,
    /// False where the file said this already: then it was not touched.
    pub changed: bool,
    /// Whether there was no lock before.
    pub is_new: bool,
    /// What differs from the lock that was there, a line each, as a changelog would say it.
    pub changes: Vec<String>,
}

/// Reads the lock beside a recipe; `None` where there is none.
pub fn read_lock(path: &Path) -> Result<Option<Lock>> {
    let bytes = match fs::read_at_most(path, LOCK_BYTES_MAX as u64) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    let problem = |problem: String| PipelineError::Lock { path: path.to_owned(), problem };
    let text = String::from_utf8(bytes).map_err(|_| problem("it is no UTF-8 text".to_owned()))?;
    Lock::parse(&text).map(Some).map_err(|error| problem(error.to_string()))
}

/// How a lock is to be made.
pub struct Locking<'a> {
    pub settings: &'a Settings,
    /// Where the lock lies.
    pub path: &'a Path,
    /// Which locked versions may change.
    pub update: Update,
    /// Whether the file is written; else only what would change is told.
    pub write: bool,
}

/// Asks the archives what there is and writes the lock. Packages that are locked stay as far as the update
/// says; what the plan no longer asks for is dropped.
pub fn write_lock(
    store: &Store,
    requests: &[Request],
    locking: &Locking<'_>,
    job: &Job,
) -> Result<(Lock, Locked)> {
    let previous = match read_lock(locking.path) {
        // What can't be read is replaced where everything is asked anew.
        Err(error @ PipelineError::Lock { .. }) if locking.update == Update::All => {
            job.warn(format!("{} is replaced", crate::base::whole(&error)));
            None
        }
        previous => previous?,
    };
    let cache = StoreCache::new(store, job);
    let fetcher = Fetcher::new(locking.settings.clone(), &cache)?;
    let lock = packages::resolve(requests, previous.as_ref(), &locking.update, &fetcher, job)?;
    drop(fetcher);
    cache.finish()?;
    let changed = previous.as_ref() != Some(&lock);
    if changed && locking.write {
        publish_bytes(locking.path, lock.to_string().as_bytes())?;
    }
    let is_new = previous.is_none();
    let changes = Lock::changes(&previous.unwrap_or_default(), &lock);
    let locked = Locked {
        is_new,
        packages: lock.packages().map(ToString::to_string).collect(),
        changed,
        changes: changes.iter().map(ToString::to_string).collect(),
    };
    Ok((lock, locked))
}

/// Gathers all packages of a lock in a folder, for a builder without a network.
pub fn vendor(
    store: &Store,
    lock: &Lock,
    requests: &[Request],
    settings: &Settings,
    folder: &Path,
    job: &Job,
) -> Result<packages::Vendored> {
    let cache = StoreCache::new(store, job);
    let fetcher = Fetcher::new(settings.clone(), &cache)?;
    let vendored = packages::vendor::write(lock, requests, &fetcher, folder, job)?;
    drop(fetcher);
    cache.finish()?;
    Ok(vendored)
}

/// Unpacks locked packages, each once ever: they are kept in the store.
pub struct Unpacking<'a> {
    pub store: &'a Store,
    pub memo: &'a Memo<'a>,
    pub lock: &'a Lock,
    pub settings: &'a Settings,
}

impl Unpacking<'_> {
    /// Returns the key of unpacking one package that is taken without what it needs.
    pub fn key(&self, plan: &BarePackagePlan) -> Result<StepKey> {
        Ok(key(self.bare(plan)?))
    }

    fn bare(&self, plan: &BarePackagePlan) -> Result<&LockedPackage> {
        let found = self.lock.bare(&plan.distribution, &plan.name);
        found.ok_or_else(|| {
            let (name, distribution) = (plan.name.clone(), plan.distribution.clone());
            let request = self.lock.request(&distribution);
            let architecture = request.map(|request| request.architecture.clone()).unwrap_or_default();
            PackagesError::NotLocked { name, distribution, architecture }.into()
        })
    }

    /// Brings everything into the store that is neither there nor unpacked already, over several connections
    /// at once. Of a request whose tree is known, only packages that what boots is taken from are needed.
    pub fn fetch(&self, requests: &[Request], is_known: impl Fn(&Request) -> bool, job: &Job) -> Result<()> {
        let cache = StoreCache::new(self.store, job);
        let mut needed = Vec::new();
        for request in requests {
            let is_known = is_known(request);
            for wanted in self.lock.select(std::slice::from_ref(request))? {
                let package = wanted.package;
                let is_done = is_known && package.is_installed() || self.memo.tree(&key(package)).is_some();
                if !is_done && !cache.holds(&package.sha256.0, package.size_bytes)? {
                    needed.push(wanted);
                }
            }
        }
        if !needed.is_empty() {
            Fetcher::new(self.settings.clone(), &cache)?.fetch(&needed, job)?;
        }
        cache.finish()
    }

    /// Returns the packages of a distribution that are to be installed, in the order of the lock.
    pub fn packages(
        &self,
        request: &Request,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Vec<Unpacked>> {
        let packages: Vec<&LockedPackage> = self.lock.installed(&request.distribution).collect();
        let size = |package: &&LockedPackage| package.size_bytes;
        let unpacked = unpack::largest_first(packages, size, job, |package, share| {
            self.unpacked(package, share, transaction, job)
        });
        unpacked.map_err(PipelineError::first)
    }

    /// Returns the tree of one package that is taken without what it needs.
    pub fn tree(
        &self,
        plan: &BarePackagePlan,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        let size = |package: &&LockedPackage| package.size_bytes;
        let unpacked = unpack::largest_first(vec![self.bare(plan)?], size, job, |package, share| {
            self.unpacked(package, share, transaction, job)
        });
        let unpacked = unpacked.map_err(PipelineError::first)?.pop();
        Ok(unpacked.expect("because one package gives one tree").tree)
    }

    fn unpacked(
        &self,
        package: &LockedPackage,
        share: Share,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Unpacked> {
        let tree = self.kept(package, share, transaction, job)?;
        let kept = transaction.read_tree(job, &tree)?;
        let unpacked = Unpacked::from_tree(kept, transaction);
        let problem =
            |problem| PackagesError::Unpack { package: package.to_string(), problem: Box::new(problem) };
        Ok(unpacked.map_err(problem)?)
    }

    fn kept(
        &self,
        package: &LockedPackage,
        share: Share,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<TreeRef> {
        let key = key(package);
        if let Some(tree) = self.memo.tree(&key) {
            job.cached(format!("unpack {package}"));
            return Ok(tree);
        }
        let step = job.step(format!("unpack {package}"), Some(package.size_bytes), Unit::Bytes);
        let content = StoreCache::new(self.store, job).find(&package.sha256.0, package.size_bytes);
        let content = content.ok_or_else(|| PackagesError::Offline {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256,
            filename: package.filename.clone(),
        })?;
        let whole = match package.distribution == rpm::DISTRIBUTION {
            true => self.unpack_rpm(package, content, transaction, job)?,
            false => {
                let reader = ContentReader::new(transaction, content);
                unpack::locked_deb(reader, package, share, transaction, job)?.to_tree()
            }
        };
        let sealed = whole.seal().map_err(PipelineError::Tree)?;
        let tree = transaction.put_tree(job, &sealed)?;
        step.advance(package.size_bytes);
        self.memo.later(key, tree);
        Ok(tree)
    }

    fn unpack_rpm(
        &self,
        package: &LockedPackage,
        content: Content,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        let bytes = transaction.read_all(&content)?;
        let LockedPackage { name, version, architecture, .. } = package;
        let unpacked = rpm::locked(&bytes, (name, version, architecture), transaction, job);
        let problem = |problem| broken_rpm(package, problem);
        Ok(unpacked.map_err(problem)?.to_tree())
    }

    /// Returns the packages of a request of RPM repositories, in the order of the lock.
    pub fn rpm_packages(
        &self,
        request: &Request,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Vec<rpm::Unpacked>> {
        let packages: Vec<&LockedPackage> = self.lock.installed(&request.distribution).collect();
        let size = |package: &&LockedPackage| package.size_bytes;
        let unpacked = unpack::largest_first(packages, size, job, |package, share| {
            let tree = self.kept(package, share, transaction, job)?;
            let kept = transaction.read_tree(job, &tree)?;
            let unpacked = rpm::Unpacked::from_tree(kept, transaction);
            Ok(unpacked.map_err(|problem| broken_rpm(package, problem))?)
        });
        unpacked.map_err(PipelineError::first)
    }
}

/// Returns the key of unpacking a package.
pub fn key(package: &LockedPackage) -> StepKey {
    match package.distribution == rpm::DISTRIBUTION {
        true => rpm::unpack_key(&package.sha256),
        false => unpack_key(&package.sha256),
    }
}

fn broken_rpm(package: &LockedPackage, problem: RpmError) -> PackagesError {
    PackagesError::UnpackRpm { package: package.to_string(), problem: Box::new(problem) }
}
