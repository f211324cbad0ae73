//! Packages of a plan: locked, fetched into the store, unpacked into trees that are kept.

use std::collections::HashMap;
use std::io::Read;
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
    self, Fetcher, Lock, LockedPackage, PackageCache, PackagesError, Request, Root, Rules, Settings,
    SourceRequest, Unpacked, Update, Wanted, unpack_key,
};
use crate::recipe::plan::{
    Architecture, ArchivePlan, BarePackagePlan, KernelSource, LoaderSource, PackageName, PackagesPlan, Part,
    Plan,
};
use crate::store::{Objects, Store, Transaction, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{Content, ContentError, ContentSink, ContentSource, Directory};

/// Lists what a plan asks of package archives: one request for each distribution, in recipe order.
pub fn requests(plan: &Plan) -> Vec<Request> {
    let mut requests = Vec::new();
    for part in &plan.parts {
        if let Part::Packages(packages) = part {
            let request = request_of(&mut requests, &packages.distribution, plan);
            packages.archives.iter().for_each(|archive| add_source(request, archive));
            request.roots.extend(packages.names.iter().map(root));
            request.foreign_architectures = packages.foreign_architectures.clone();
            request.rules = rules(packages);
        }
    }
    let kernel = plan.kernel.as_ref().map(|kernel| &kernel.source);
    let kernel = kernel.and_then(|source| match source {
        KernelSource::Package(package) => Some(package),
        KernelSource::Host { .. } => None,
    });
    let loader = match &plan.boot.loader {
        LoaderSource::Package(package) => Some(package),
        _ => None,
    };
    for package in kernel.into_iter().chain(loader) {
        let request = request_of(&mut requests, &package.distribution, plan);
        add_source(request, &package.archive);
        request.bare.push(package.name.clone());
    }
    requests
}

fn root(name: &PackageName) -> Root {
    Root { name: name.name.clone(), version: name.version.clone(), suite: None }
}

fn rules(plan: &PackagesPlan) -> Rules {
    Rules {
        dependencies: plan.dependencies,
        essential: plan.essential,
        recommends: plan.recommends,
        exclude: plan.exclude.clone(),
        pins: plan.pins.clone(),
        holds: plan.holds.clone(),
        local: plan.files.clone(),
    }
}

/// Returns the request of a distribution.
fn request_of<'a>(requests: &'a mut Vec<Request>, distribution: &str, plan: &Plan) -> &'a mut Request {
    let index = requests.iter().position(|request| request.distribution == distribution);
    let index = index.unwrap_or_else(|| {
        let architecture = match plan.image.architecture {
            Architecture::X86_64 => "amd64",
            Architecture::Aarch64 => "arm64",
        };
        requests.push(Request {
            distribution: distribution.to_owned(),
            architecture: architecture.to_owned(),
            ..Request::default()
        });
        requests.len() - 1
    });
    &mut requests[index]
}

/// Adds a source unless it is there. One of a suite that another one has too is numbered.
fn add_source(request: &mut Request, archive: &ArchivePlan) {
    let ArchivePlan { suite, components, mirror, signed_by, priority } = archive;
    let is_same = |source: &&mut SourceRequest| {
        (&source.suite, &source.mirror, &source.signed_by, source.priority)
            == (suite, mirror, signed_by, *priority)
    };
    if let Some(source) = request.sources.iter_mut().find(is_same) {
        for component in components {
            if !source.components.contains(component) {
                source.components.push(component.clone());
            }
        }
        return;
    }
    let others = request.sources.iter().filter(|source| source.suite == *suite).count();
    request.sources.push(SourceRequest {
        name: if others == 0 { suite.clone() } else { format!("{suite}.{}", others + 1) },
        suite: suite.clone(),
        components: components.clone(),
        mirror: mirror.clone(),
        signed_by: signed_by.clone(),
        priority: *priority,
    });
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

/// Asks the archives what there is and writes the lock. Packages that are locked stay as far as `update` says;
/// what the plan no longer asks for is dropped.
pub fn write_lock(
    store: &Store,
    requests: &[Request],
    settings: &Settings,
    path: &Path,
    update: &Update,
    job: &Job,
) -> Result<(Lock, Locked)> {
    let previous = read_lock(path)?;
    let cache = StoreCache::new(store, job);
    let fetcher = Fetcher::new(settings.clone(), &cache)?;
    let lock = packages::resolve(requests, previous.as_ref(), update, &fetcher, job)?;
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
}

impl Unpacking<'_> {
    /// Returns the keys of unpacking the package of a plan.
    pub fn keys(&self, plan: &BarePackagePlan) -> Result<Vec<StepKey>> {
        Ok(vec![key(self.bare(plan)?)])
    }

    fn bare(&self, plan: &BarePackagePlan) -> Result<&LockedPackage> {
        let package = self.lock.bare(&plan.distribution, &plan.name);
        package.ok_or_else(|| self.not_locked(&plan.distribution, &plan.name))
    }

    /// Returns the packages of a block, in its order; where it takes what they need, all of the distribution.
    fn packages(&self, plan: &PackagesPlan) -> Result<Vec<&LockedPackage>> {
        let distribution = &plan.distribution;
        if plan.dependencies || plan.essential {
            return Ok(self.lock.installed(distribution).collect());
        }
        let find = |name: &PackageName| {
            let package = self.lock.find(distribution, &name.name);
            package.ok_or_else(|| self.not_locked(distribution, &name.name))
        };
        plan.names.iter().map(find).collect()
    }

    fn not_locked(&self, distribution: &str, name: &str) -> PipelineError {
        let request = self.lock.request(distribution);
        PackagesError::NotLocked {
            name: name.to_owned(),
            distribution: distribution.to_owned(),
            architecture: request.map(|request| request.architecture.clone()).unwrap_or_default(),
        }
        .into()
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
        self.trees_of(self.packages(plan)?, transaction, job)
    }

    fn trees_of(
        &self,
        packages: Vec<&LockedPackage>,
        transaction: &Transaction<'_>,
        job: &Job,
    ) -> Result<Vec<(String, Directory)>> {
        let size = |package: &&LockedPackage| package.size_bytes;
        let trees = unpack::largest_first(packages, size, job, |package, share| {
            let tree = self.unpacked(package, share, transaction, job)?;
            let kept = transaction.read_tree(job, &tree)?;
            let unpacked = Unpacked::from_tree(kept, transaction);
            let unpacked = unpacked.map_err(|problem| PackagesError::Unpack {
                package: package.to_string(),
                problem: Box::new(problem),
            })?;
            Ok((package.to_string(), unpacked.tree))
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
        let trees = self.trees_of(vec![self.bare(plan)?], transaction, job)?;
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
    new: Mutex<HashMap<StepKey, Content>>,
}

type ContentResult<T> = std::result::Result<T, ContentError>;

impl<'a> StoreCache<'a> {
    fn new(store: &'a Store, job: &Job) -> Self {
        StoreCache { store, transaction: store.begin(job), new: Mutex::default() }
    }

    fn find(&self, sha256: &[u8; 32], size_bytes: u64) -> Option<Content> {
        self.look_up(&table_key(sha256)).filter(|content| content.size == size_bytes)
    }

    fn look_up(&self, key: &StepKey) -> Option<Content> {
        let new = self.new.lock().expect("because nothing panics while it holds the table");
        if let Some(content) = new.get(key) {
            return Some(*content);
        }
        let record = self.store.memo_get(key)?;
        let (id, size) = record.split_first_chunk::<32>()?;
        let content = Content { id: (*id).into(), size: u64::from_le_bytes(size.try_into().ok()?) };
        self.store.has(&content.id.0).then_some(content)
    }

    fn enter(&self, key: StepKey, content: Content) {
        self.new.lock().expect("because nothing panics while it holds the table").insert(key, content);
    }

    /// Makes what was put durable, then enters it into the table.
    fn finish(self) -> Result<()> {
        let new = self.new.into_inner().expect("because nothing panics while it holds the table");
        self.transaction.commit(&[], "packages")?;
        for (key, content) in new {
            let record = [&content.id.as_bytes()[..], &content.size.to_le_bytes()].concat();
            self.store.memo_put(&key, &record)?;
        }
        Ok(())
    }
}

fn derived_key(key: &[u8; 32]) -> StepKey {
    StepKey(Digest::derive("mkimage 2026 derived table v1", key))
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

    fn open(&self, sha256: &[u8; 32], size_bytes: u64) -> ContentResult<Option<Box<dyn Read + Send + '_>>> {
        let content = self.find(sha256, size_bytes);
        Ok(content
            .map(|content| Box::new(ContentReader::new(&self.transaction, content)) as Box<dyn Read + Send>))
    }

    fn put(&self, sha256: &[u8; 32], bytes: &[u8]) -> ContentResult<()> {
        self.put_stream(sha256, &mut &*bytes)
    }

    fn put_stream(&self, sha256: &[u8; 32], reader: &mut dyn Read) -> ContentResult<()> {
        let content = self.transaction.put_reader(reader)?;
        self.enter(table_key(sha256), content);
        Ok(())
    }

    fn derived(&self, key: &[u8; 32]) -> ContentResult<Option<Vec<u8>>> {
        match self.look_up(&derived_key(key)) {
            Some(content) => self.transaction.read_all(&content).map(Some),
            None => Ok(None),
        }
    }

    fn put_derived(&self, key: &[u8; 32], bytes: &[u8]) -> ContentResult<()> {
        let content = self.transaction.put(bytes)?;
        self.enter(derived_key(key), content);
        Ok(())
    }
}
