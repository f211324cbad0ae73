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
use crate::packages::unpack::{self, Options};
use crate::packages::{
    self, DEFAULT_PRIORITY, Fetcher, Lock, LockedPackage, PackageCache, PackagesError, Request, Root,
    Settings, SourceRequest, Update, Wanted, unpack_key,
};
use crate::recipe::plan::{Architecture, KernelSource, LoaderSource, PackagesPlan, Part, Plan};
use crate::store::{Objects, Store, Transaction, TreeRef};
use crate::tree::content::ContentReader;
use crate::tree::{Content, ContentError, ContentSink, ContentSource, Directory};

/// Lists what a plan asks of package archives: one request for each distribution, in recipe order.
pub fn requests(plan: &Plan) -> Vec<Request> {
    let mut requests = Vec::new();
    for part in &plan.parts {
        if let Part::Packages(packages) = part {
            let roots = packages.names.iter();
            let roots = roots.map(|name| Root { name: name.clone(), version: None, suite: None });
            unite(&mut requests, packages, plan).roots.extend(roots);
        }
    }
    if let Some(KernelSource::Package(packages)) = plan.kernel.as_ref().map(|kernel| &kernel.source) {
        unite(&mut requests, packages, plan).bare.extend(packages.names.iter().cloned());
    }
    if let LoaderSource::Package(packages) = &plan.boot.loader {
        unite(&mut requests, packages, plan).bare.extend(packages.names.iter().cloned());
    }
    requests
}

/// Returns the request of a distribution, with the source of a block among its sources.
fn unite<'a>(requests: &'a mut Vec<Request>, packages: &PackagesPlan, plan: &Plan) -> &'a mut Request {
    let index = requests.iter().position(|request| request.distribution == packages.distribution);
    let index = index.unwrap_or_else(|| {
        requests.push(Request {
            distribution: packages.distribution.clone(),
            architecture: architecture(plan).to_owned(),
            ..Request::default()
        });
        requests.len() - 1
    });
    let request = &mut requests[index];
    let PackagesPlan { suite, components, mirror, signed_by, .. } = packages;
    let is_same = |source: &&mut SourceRequest| {
        source.suite == *suite && source.mirror == *mirror && source.signed_by == *signed_by
    };
    match request.sources.iter_mut().find(is_same) {
        Some(source) => {
            let new = components.iter().filter(|component| !source.components.contains(component));
            let new: Vec<String> = new.cloned().collect();
            source.components.extend(new);
        }
        None => {
            let of_suite = request.sources.iter().filter(|source| source.suite == *suite).count();
            let name = if of_suite == 0 { suite.clone() } else { format!("{suite}.{}", of_suite + 1) };
            request.sources.push(SourceRequest {
                name,
                suite: suite.clone(),
                components: components.clone(),
                mirror: mirror.clone(),
                signed_by: signed_by.clone(),
                priority: DEFAULT_PRIORITY,
            });
        }
    }
    request
}

fn architecture(plan: &Plan) -> &'static str {
    match plan.image.architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
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
    /// Returns the keys of unpacking the packages of a plan, in its order.
    pub fn keys(&self, plan: &PackagesPlan) -> Result<Vec<StepKey>> {
        Ok(self.packages(plan)?.into_iter().map(key).collect())
    }

    /// Returns the packages of a block of the plan, in its order.
    fn packages(&self, plan: &PackagesPlan) -> Result<Vec<&LockedPackage>> {
        let find = |name: &String| {
            let bare = self.lock.bare(&plan.distribution, name);
            bare.or_else(|| self.lock.find(&plan.distribution, name)).ok_or_else(|| {
                let (name, distribution) = (name.clone(), plan.distribution.clone());
                let architecture =
                    self.lock.request(&distribution).map(|request| request.architecture.clone());
                let architecture = architecture.unwrap_or_default();
                PackagesError::NotLocked { name, distribution, architecture }.into()
            })
        };
        plan.names.iter().map(find).collect()
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
        let mut packages: Vec<(usize, &LockedPackage)> =
            self.packages(plan)?.into_iter().enumerate().collect();
        packages.sort_by_key(|(_, package)| std::cmp::Reverse(package.size_bytes));
        let unpacked = job.workers.try_map(packages, |(index, package)| {
            let tree = self.unpacked(package, transaction, job)?;
            Ok((index, package.to_string(), transaction.read_tree(job, &tree)?))
        });
        let mut trees = unpacked.map_err(PipelineError::first)?;
        trees.sort_by_key(|tree| tree.0);
        Ok(trees.into_iter().map(|(_, name, tree)| (name, tree)).collect())
    }

    /// Returns the packages of a plan in one tree, for looking into: what several bring is the last one's.
    pub fn tree(&self, plan: &PackagesPlan, transaction: &Transaction<'_>, job: &Job) -> Result<Directory> {
        let mut trees = self.trees(plan, transaction, job)?.into_iter().map(|(_, tree)| tree);
        let mut united = trees.next().unwrap_or_default();
        for tree in trees {
            for (path, node) in tree.paths() {
                if !matches!(node, crate::tree::Node::Directory(_)) {
                    united.replace(&path, node.clone()).map_err(|error| PipelineError::Tree(vec![error]))?;
                }
            }
        }
        Ok(united)
    }

    fn unpacked(&self, package: &LockedPackage, transaction: &Transaction<'_>, job: &Job) -> Result<TreeRef> {
        let key = key(package);
        if let Some(tree) = self.memo.tree(&key) {
            return Ok(tree);
        }
        let step = job.step(format!("unpack {package}"), Some(package.size_bytes), Unit::Bytes);
        let cache = StoreCache::new(self.store, job);
        let bytes = cache.get(&package.sha256.0, package.size_bytes)?;
        let bytes = bytes.ok_or_else(|| PackagesError::Offline {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256,
            filename: package.filename.clone(),
        })?;
        let unpacked = unpack::locked_deb(&bytes, package, &Options::default(), transaction, job)?;
        let sealed = unpacked.tree.seal().map_err(PipelineError::Tree)?;
        let tree = transaction.put_tree(job, &sealed)?;
        step.advance(package.size_bytes);
        self.memo.later(key, tree);
        Ok(tree)
    }
}

fn key(package: &LockedPackage) -> StepKey {
    unpack_key(&package.sha256, &Options::default())
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

    fn open(&self, sha256: &[u8; 32], size_bytes: u64) -> ContentResult<Option<Box<dyn Read + '_>>> {
        let content = self.find(sha256, size_bytes);
        Ok(content.map(|content| Box::new(ContentReader::new(&self.transaction, content)) as Box<dyn Read>))
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
