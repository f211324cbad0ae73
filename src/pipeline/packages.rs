//! Packages of a plan: locked, fetched into the store, unpacked into trees that are kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use super::error::{PipelineError, Result};
use super::step::Memo;
use crate::base::job::Unit;
use crate::base::publish::publish_bytes;
use crate::base::{Digest, Job, StepKey, fs};
use crate::packages::lock::LOCK_BYTES_MAX;
use crate::packages::unpack::{self, Share};
use crate::packages::{
    self, Fetcher, Lock, LockedPackage, PackageCache, PackagesError, Request, Settings, Unpacked, Wanted,
    unpack_key,
};
use crate::recipe::plan::{
    Architecture, ArchivePlan, BarePackagePlan, KernelSource, LoaderSource, PackagesPlan, Part, Plan,
};
use crate::store::{Objects, Store, Transaction, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{Content, ContentError, ContentSink, ContentSource, Directory};

/// Lists what a plan asks of package archives, in recipe order.
pub fn requests(plan: &Plan) -> Vec<Request> {
    let mut requests = Vec::new();
    for part in &plan.parts {
        if let Part::Packages(packages) = part {
            requests.push(request_of(packages, plan.image.architecture));
        }
    }
    if let Some(KernelSource::Package(package)) = plan.kernel.as_ref().map(|kernel| &kernel.source) {
        requests.push(bare_request(package, plan.image.architecture));
    }
    if let LoaderSource::Package(package) = &plan.boot.loader {
        requests.push(bare_request(package, plan.image.architecture));
    }
    requests
}

fn request_of(plan: &PackagesPlan, architecture: Architecture) -> Request {
    let names = plan.names.iter().map(|name| name.name.clone()).collect();
    request(&plan.distribution, &plan.archives[0], names, architecture)
}

fn bare_request(plan: &BarePackagePlan, architecture: Architecture) -> Request {
    request(&plan.distribution, &plan.archive, vec![plan.name.clone()], architecture)
}

fn request(
    distribution: &str,
    archive: &ArchivePlan,
    names: Vec<String>,
    architecture: Architecture,
) -> Request {
    let architecture = match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
    };
    Request {
        distribution: distribution.to_owned(),
        suite: archive.suite.clone(),
        components: archive.components.clone(),
        architecture: architecture.to_owned(),
        names,
        mirror: archive.mirror.clone(),
        signed_by: archive.signed_by.clone(),
    }
}

/// What became of a lock.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Locked {
    /// Packages that are pinned.
    pub packages: Vec<String>,
    /// False where the file said this already: then it was not touched.
    pub changed: bool,
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

/// Asks the archives what there is and writes the lock. Packages that are locked stay as they are, unless
/// `update` is set; what the plan no longer asks for is dropped.
pub fn write_lock(
    store: &Store,
    requests: &[Request],
    settings: &Settings,
    path: &Path,
    update: bool,
    job: &Job,
) -> Result<(Lock, Locked)> {
    let previous = read_lock(path)?;
    let cache = StoreCache::new(store, job);
    let fetcher = Fetcher::new(settings.clone(), &cache)?;
    let keep = previous.as_ref().filter(|_| !update);
    let lock = packages::resolve(requests, keep, previous.as_ref(), &fetcher, job)?;
    drop(fetcher);
    cache.finish()?;
    let changed = previous.as_ref() != Some(&lock);
    if changed {
        publish_bytes(path, lock.to_string().as_bytes())?;
    }
    let packages = lock.packages().map(ToString::to_string).collect();
    Ok((lock, Locked { packages, changed }))
}

/// Unpacks locked packages, each once ever: the trees are kept in the store.
pub struct Unpacking<'a> {
    pub store: &'a Store,
    pub memo: &'a Memo<'a>,
    pub lock: &'a Lock,
    pub settings: &'a Settings,
    pub architecture: Architecture,
}

impl Unpacking<'_> {
    /// Returns the keys of unpacking the packages of a plan, in its order.
    pub fn keys(&self, plan: &BarePackagePlan) -> Result<Vec<StepKey>> {
        let requests = [bare_request(plan, self.architecture)];
        let wanted = self.lock.select(&requests)?;
        Ok(wanted.iter().map(|wanted| key(wanted.package)).collect())
    }

    /// Brings everything into the store that is neither there nor unpacked already, over several
    /// connections at once.
    pub fn fetch(&self, requests: &[Request], job: &Job) -> Result<()> {
        let wanted = self.lock.select(requests)?;
        let cache = StoreCache::new(self.store, job);
        let missing = |wanted: &Wanted<'_>| {
            let package = wanted.package;
            let unpacked = self.memo.tree(&key(package)).is_some();
            Ok::<_, ContentError>(!unpacked && !cache.holds(&package.sha256.0, package.size_bytes)?)
        };
        let mut needed = Vec::new();
        for wanted in wanted {
            if missing(&wanted)? {
                needed.push(wanted);
            }
        }
        if !needed.is_empty() {
            Fetcher::new(self.settings.clone(), &cache)?.fetch(&needed, job)?;
        }
        cache.finish()
    }

    /// Returns the trees of the packages of a plan, each with the package's name and version, in order.
    pub fn trees(
        &self,
        plan: &PackagesPlan,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Vec<(String, Directory)>> {
        self.trees_of(request_of(plan, self.architecture), transaction, job)
    }

    fn trees_of(
        &self,
        request: Request,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Vec<(String, Directory)>> {
        let requests = [request];
        let wanted = self.lock.select(&requests)?;
        let size = |wanted: &Wanted<'_>| wanted.package.size_bytes;
        let trees = unpack::largest_first(wanted, size, job, |wanted, share| {
            let tree = self.unpacked(wanted.package, share, transaction, job)?;
            let kept = transaction.read_tree(job, &tree)?;
            let unpacked = Unpacked::from_tree(kept, transaction);
            let unpacked = unpacked.map_err(|problem| PackagesError::Unpack {
                package: wanted.package.to_string(),
                problem: Box::new(problem),
            })?;
            Ok((wanted.package.to_string(), unpacked.tree))
        });
        trees.map_err(PipelineError::first)
    }

    /// Returns the tree of one package, for looking into.
    pub fn tree(
        &self,
        plan: &BarePackagePlan,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Directory> {
        let trees = self.trees_of(bare_request(plan, self.architecture), transaction, job)?;
        Ok(trees.into_iter().next().map(|(_, tree)| tree).unwrap_or_default())
    }

    fn unpacked(
        &self,
        package: &LockedPackage,
        share: Share,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<TreeRef> {
        let key = key(package);
        if let Some(tree) = self.memo.tree(&key) {
            return Ok(tree);
        }
        let step = job.step(format!("unpack {package}"), Some(package.size_bytes), Unit::Bytes);
        let cache = StoreCache::new(self.store, job);
        let content = cache.find(&package.sha256.0, package.size_bytes);
        let content = content.ok_or_else(|| PackagesError::Offline {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256,
            filename: package.filename.clone(),
        })?;
        let reader = ContentReader::new(transaction, content);
        let unpacked = unpack::locked_deb(reader, package, share, transaction, job)?;
        let sealed = unpacked.to_tree().seal().map_err(PipelineError::Tree)?;
        let tree = transaction.put_tree(job, &sealed)?;
        step.advance(package.size_bytes);
        self.memo.later(key, tree);
        Ok(tree)
    }
}

fn key(package: &LockedPackage) -> StepKey {
    unpack_key(&package.sha256)
}

/// Keeps what was fetched in the store: objects by their ids, and a table from SHA-256 to id.
struct StoreCache<'a> {
    store: &'a Store,
    transaction: Transaction<'a>,
    new: Mutex<HashMap<[u8; 32], Content>>,
}

impl<'a> StoreCache<'a> {
    fn new(store: &'a Store, job: &Job) -> Self {
        StoreCache { store, transaction: store.begin(job), new: Mutex::default() }
    }

    fn find(&self, sha256: &[u8; 32], size_bytes: u64) -> Option<Content> {
        let new = self.new.lock().expect("because nothing panics while it holds the table");
        if let Some(content) = new.get(sha256) {
            return Some(*content);
        }
        let record = self.store.memo_get(&table_key(sha256))?;
        let (id, size) = record.split_first_chunk::<32>()?;
        let content = Content { id: (*id).into(), size: u64::from_le_bytes(size.try_into().ok()?) };
        (content.size == size_bytes && self.store.has(&content.id.0)).then_some(content)
    }

    /// Makes what was put durable, then enters it into the table.
    fn finish(self) -> Result<()> {
        let new = self.new.into_inner().expect("because nothing panics while it holds the table");
        self.transaction.commit(&[], "packages")?;
        for (sha256, content) in new {
            let record = [&content.id.as_bytes()[..], &content.size.to_le_bytes()].concat();
            self.store.memo_put(&table_key(&sha256), &record)?;
        }
        Ok(())
    }
}

fn table_key(sha256: &[u8; 32]) -> StepKey {
    StepKey(Digest::derive("mkimage 2026 sha256 table v1", sha256))
}

impl PackageCache for StoreCache<'_> {
    fn holds(&self, sha256: &[u8; 32], size_bytes: u64) -> std::result::Result<bool, ContentError> {
        Ok(self.find(sha256, size_bytes).is_some())
    }

    fn get(&self, sha256: &[u8; 32], size_bytes: u64) -> std::result::Result<Option<Vec<u8>>, ContentError> {
        match self.find(sha256, size_bytes) {
            Some(content) => self.transaction.read_all(&content).map(Some),
            None => Ok(None),
        }
    }

    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> std::result::Result<(), ContentError> {
        let content = self.transaction.put(bytes)?;
        self.new.lock().expect("because nothing panics while it holds the table").insert(*sha256, content);
        Ok(())
    }
}
