//! From a plan to a commit: locks, fetches, makes the parts in parallel, merges them in recipe order,
//! adds what boots, stores it all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::boot_files;
use super::error::{PipelineError, Result, whole};
use super::packages::{self, Unpacking};
use super::service;
use super::step::{KeyBuilder, Memo};
use crate::archive::{InputKind, Inputs, Limits};
use crate::base::job::Unit;
use crate::base::{CommitId, Digest, Job, StepKey};
use crate::compose::{self, Accounts, Context, Identities, Prepared};
use crate::packages::{Lock, Settings, Update};
use crate::recipe::plan::{self, Architecture, Part, Plan};
use crate::store::{
    self, Commit, DiskSpec, Expected, Input, InputDigest, Objects, RefName, RefUpdate, Store, Transaction,
    TreeRef,
};
use crate::tree::{ContentSink, Contribution, merge};

/// The epoch of images that name none: 1980-01-01, the first day of FAT.
pub const DEFAULT_EPOCH: u64 = 315_532_800;
/// The annotation that lists the app's TCP ports, parted by blanks.
pub const PORTS: &str = "ports";
/// Name and version of composing as a whole: a change of what it does needs a new one.
const STEP: &str = "compose 1";

/// What composing needs beside the plan.
pub struct Options {
    /// The recipe file: the lock lies beside it, and inputs are named as seen from its folder.
    pub recipe: PathBuf,
    /// How packages are found.
    pub packages: Settings,
    /// The binary of PID 1.
    pub init: PathBuf,
    /// What `SOURCE_DATE_EPOCH` says.
    pub epoch: Option<u64>,
}

impl Options {
    /// Returns where the lock of the recipe lies.
    pub fn lock_path(&self) -> PathBuf {
        self.recipe.with_extension("lock")
    }

    /// Returns a host path as seen from the recipe's folder, so that it means the same elsewhere.
    fn name_of(&self, path: &Path) -> String {
        let folder = self.recipe.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    }
}

/// What composing made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Composed {
    pub commit: CommitId,
    /// The ref that leads to it now.
    pub reference: RefName,
    /// False where the ref led there before.
    pub moved: bool,
    /// Host files and folders that were read.
    pub inputs: Vec<PathBuf>,
}

/// Composes a plan into a commit, stores it, and moves the image's ref to it.
pub fn compose(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Composed> {
    let lock = lock(plan, options, store, job)?;
    let accounts = Accounts::of(plan).map_err(PipelineError::Compose)?;
    let limits = Limits::default();
    let prepared = {
        let _step = job.step("look at the inputs", None, Unit::Items);
        compose::prepare_all(&plan.parts, &accounts, &limits, job).map_err(PipelineError::Compose)?
    };
    let memo = Memo::new(store);
    let unpacking = Unpacking { store, memo: &memo, lock: &lock, settings: &options.packages };
    let work = Work { plan, options, job, lock: &lock, limits, accounts, prepared, unpacking };
    let key = work.key()?;
    let transaction = store.begin(job);
    let id = match memo.commit(&key) {
        Some(id) => id,
        None => {
            let id = work.run(&transaction)?;
            memo.later_bytes(key, id.as_bytes().to_vec());
            id
        }
    };
    let inputs = work.host_paths();
    drop(work);
    let reference = RefName::new(&plan.image.name).map_err(store::StoreError::from)?;
    let update = RefUpdate { name: reference.clone(), expected: Expected::Any, new: id };
    let committed = transaction.commit(&[update], "compose")?;
    // The commit is in the store for good, and its ref leads to it: what is lost is time, the next time.
    if let Err(error) = memo.write() {
        job.warn(format!("the store can't remember the steps of this build: {}", whole(&error)));
    }
    let moved = committed.refs.iter().any(|change| change.moved);
    Ok(Composed { commit: id, reference, moved, inputs })
}

/// Returns the lock that the build goes by. Where there is none beside the recipe, one is written.
fn lock(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Lock> {
    let requests = packages::requests(plan);
    let path = options.lock_path();
    let lock = match packages::read_lock(&path)? {
        Some(lock) => lock,
        None if requests.is_empty() => return Ok(Lock::default()),
        None => {
            let written =
                packages::write_lock(store, &requests, &options.packages, &path, &Update::None, job)?;
            job.note(format!("wrote the lock {}", path.display()));
            written.0
        }
    };
    lock.select(&requests)?;
    Ok(lock)
}

/// One run of composing.
struct Work<'a> {
    plan: &'a Plan,
    options: &'a Options,
    job: &'a Job,
    lock: &'a Lock,
    limits: Limits,
    accounts: Accounts,
    prepared: Vec<Prepared>,
    unpacking: Unpacking<'a>,
}

impl Work<'_> {
    /// Digests everything that the commit follows from.
    fn key(&self) -> Result<StepKey> {
        let mut key = KeyBuilder::new(STEP);
        let plan = self.plan;
        key.bytes("tool", env!("CARGO_PKG_VERSION").as_bytes());
        key.bytes("plan", format!("{plan:?}").as_bytes());
        key.bytes("folder", self.options.name_of(&self.options.recipe).as_bytes());
        for prepared in &self.prepared {
            let digest = prepared.inputs.as_ref().map(Inputs::digest);
            key.bytes("inputs", digest.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
        }
        key.bytes("lock", self.lock.to_string().as_bytes());
        key.bytes("epoch", &self.epoch().to_le_bytes());
        if plan.kernel.is_some() {
            key.bytes("init", &self.init()?);
            for digest in boot_files::host_digests(plan, self.job)? {
                key.bytes("boot file", digest.as_bytes());
            }
        }
        Ok(key.finish())
    }

    fn run(&self, transaction: &Transaction<'_>) -> Result<CommitId> {
        self.unpacking.fetch(&packages::requests(self.plan), self.job)?;
        let (tree, identities) = self.root(transaction)?;
        let boot = self.boot(&identities, transaction)?;
        let commit = self.commit(tree, boot, transaction)?;
        Ok(transaction.put_commit(&commit)?)
    }

    /// Makes the root filesystem.
    fn root(&self, transaction: &Transaction<'_>) -> Result<(TreeRef, Identities)> {
        let contributions = self.contributions(transaction)?;
        let _step = self.job.step("merge", None, Unit::Items);
        let (mut tree, origins) = merge(contributions).map_err(PipelineError::Tree)?;
        let identities =
            compose::write_accounts(&mut tree, &origins, &self.accounts, transaction, transaction)
                .map_err(PipelineError::Compose)?;
        compose::finish(&mut tree, self.plan, transaction).map_err(PipelineError::Compose)?;
        let sealed = tree.seal().map_err(PipelineError::Tree)?;
        Ok((transaction.put_tree(self.job, &sealed)?, identities))
    }

    /// Makes all parts at once; the result is in recipe order. All errors come back.
    fn contributions(&self, transaction: &Transaction<'_>) -> Result<Vec<Contribution>> {
        let parts: Vec<(&Part, &Prepared)> = self.plan.parts.iter().zip(&self.prepared).collect();
        let made =
            self.job.workers.try_map(parts, |(part, prepared)| self.contribute(part, prepared, transaction));
        made.map(|made| made.into_iter().flatten().collect()).map_err(|errors| {
            let mut composing = Vec::new();
            for error in errors {
                match error {
                    PipelineError::Compose(errors) => composing.extend(errors),
                    other => return other,
                }
            }
            PipelineError::Compose(composing)
        })
    }

    fn contribute(
        &self,
        part: &Part,
        prepared: &Prepared,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<Contribution>> {
        if let Part::Packages(packages) = part {
            let trees = self.unpacking.trees(packages, transaction, self.job)?;
            let contribution = |(name, tree)| {
                let base = compose::remembered(part, tree);
                Contribution { origin: format!("package {name}, {}", base.origin), ..base }
            };
            return Ok(trees.into_iter().map(contribution).collect());
        }
        if let Some(tree) = prepared.key.and_then(|key| self.unpacking.memo.tree(&key)) {
            return Ok(vec![compose::remembered(part, transaction.read_tree(self.job, &tree)?)]);
        }
        let context =
            Context { sink: transaction, accounts: &self.accounts, limits: &self.limits, job: self.job };
        let made = compose::contribute(part, prepared, &context).map_err(PipelineError::Compose)?;
        let Some(contribution) = made else { return Ok(Vec::new()) };
        if let Some(key) = prepared.key {
            let sealed = contribution.tree.clone().seal().map_err(PipelineError::Tree)?;
            self.unpacking.memo.later(key, transaction.put_tree(self.job, &sealed)?);
        }
        Ok(vec![contribution])
    }

    /// Makes what boots; `None` where the recipe has no kernel.
    fn boot(&self, identities: &Identities, transaction: &Transaction<'_>) -> Result<Option<TreeRef>> {
        let Some(kernel) = &self.plan.kernel else { return Ok(None) };
        let service = service::describe(self.plan, identities);
        let request = boot_files::Request {
            kernel,
            loader: &self.plan.boot.loader,
            boot_origin: self.plan.boot.origin.as_ref(),
            command_line: &self.plan.boot.command_line,
            service: &service,
            init: &self.init()?,
            epoch: self.epoch(),
            uefi_suffix: match self.plan.image.architecture {
                Architecture::X86_64 => "x64",
                Architecture::Aarch64 => "aa64",
            },
        };
        boot_files::make(&request, &self.unpacking, transaction, self.job).map(Some)
    }

    fn commit(&self, tree: TreeRef, boot: Option<TreeRef>, transaction: &Transaction<'_>) -> Result<Commit> {
        let plan = self.plan;
        let mut recipe = Vec::new();
        for (name, text) in &plan.sources {
            recipe.push((self.options.name_of(Path::new(name)), transaction.put(text.as_bytes())?));
        }
        let lock = match packages::requests(plan).is_empty() {
            true => None,
            false => Some(transaction.put(self.lock.to_string().as_bytes())?),
        };
        Ok(Commit {
            tree,
            boot,
            disk: disk_spec(plan),
            epoch: self.epoch(),
            name: plan.image.name.clone(),
            version: plan.image.version.clone(),
            recipe,
            variables: plan.variables.clone(),
            lock,
            inputs: self.inputs()?,
            parents: Vec::new(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            annotations: annotations(plan),
        })
    }

    /// Lists what was read: host files and folders, packages, PID 1.
    fn inputs(&self) -> Result<Vec<Input>> {
        let host = self.prepared.iter().filter_map(|prepared| prepared.inputs.as_ref()).map(|inputs| Input {
            name: self.options.name_of(&inputs.root),
            digest: InputDigest::Blake3(digest_of(inputs)),
            size: inputs.bytes(),
        });
        let mut all: Vec<Input> = host.collect();
        let requests = packages::requests(self.plan);
        for wanted in self.lock.select(&requests)? {
            let digest = InputDigest::Sha256(Digest(wanted.package.sha256.0));
            all.push(Input {
                name: format!("package {}", wanted.package),
                digest,
                size: wanted.package.size_bytes,
            });
        }
        if self.plan.kernel.is_some() {
            let init = self.init()?;
            let digest = InputDigest::Blake3(Digest::of(&init));
            all.push(Input { name: "mkimage-init".to_owned(), digest, size: init.len() as u64 });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup();
        Ok(all)
    }

    fn init(&self) -> Result<Vec<u8>> {
        boot_files::read_init(&self.options.init)
    }

    fn epoch(&self) -> u64 {
        self.options.epoch.or(self.plan.image.epoch).unwrap_or(DEFAULT_EPOCH)
    }

    fn host_paths(&self) -> Vec<PathBuf> {
        let inputs = self.prepared.iter().filter_map(|prepared| prepared.inputs.as_ref());
        inputs.map(|inputs| inputs.root.clone()).collect()
    }
}

/// A file is named by its content, as everywhere; a folder by the list of what it holds.
fn digest_of(inputs: &Inputs) -> Digest {
    match inputs.entries.as_slice() {
        [only] => match &only.kind {
            InputKind::File { content, .. } => content.id.0,
            _ => inputs.digest(),
        },
        _ => inputs.digest(),
    }
}

/// What is good to know of a commit and reaches no byte but its own.
fn annotations(plan: &Plan) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if let Some(text) = &plan.image.description {
        annotations.insert("description".to_owned(), text.clone());
    }
    let app = plan.parts.iter().find_map(|part| match part {
        Part::App(app) if !app.ports.is_empty() => Some(app),
        _ => None,
    });
    if let Some(app) = app {
        let ports: Vec<String> = app.ports.iter().map(ToString::to_string).collect();
        annotations.insert(PORTS.to_owned(), ports.join(" "));
    }
    annotations
}

fn disk_spec(plan: &Plan) -> DiskSpec {
    let disk = &plan.disk;
    DiskSpec {
        layout: disk.layout,
        architecture: match plan.image.architecture {
            Architecture::X86_64 => store::Architecture::X86_64,
            Architecture::Aarch64 => store::Architecture::Aarch64,
        },
        filesystem: match disk.filesystem {
            plan::Filesystem::Ext4 => store::Filesystem::Ext4,
        },
        slot_size: disk.slot_size.map(|size| size.0),
        uki_size: disk.uki_size.map(|size| size.0),
        data_size: disk.data_size.0,
        data_path: disk.data_path.to_string(),
        tries: plan.boot.tries,
    }
}
