//! From a plan to a commit: locks, fetches, makes the parts in parallel, merges them in recipe order,
//! adds what boots, stores it all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::boot_files;
use super::budget;
use super::depfile::Depfile;
use super::error::{PipelineError, Result};
use super::numbers;
use super::packages::{self, Locking, Unpacking};
use super::requests::requests;
use super::run::{self, Steps};
use super::service;
use super::step::{KeyBuilder, Memo};
use super::system::System;
use super::update;
use crate::archive::{InputKind, Inputs, Limits};
use crate::base::job::Unit;
use crate::base::{CommitId, Digest, Job, StepKey, whole};
use crate::compose::{self, Accounts, Context, Identities, Prepared};
use crate::image::PORTS;
use crate::packages::{Lock, Request, Settings, Update, vendor};
use crate::recipe::plan::{self, Architecture, BasePlan, PackagesPlan, Part, Plan};
use crate::store::{
    self, Commit, DiskSpec, Expected, Input, InputDigest, Objects, RefChange, RefName, RefUpdate, Store,
    Transaction, TreeRef,
};
use crate::tree::{ContentSink, Contribution, Merging};

/// The epoch of images that name none: 1980-01-01, the first day of FAT.
pub const DEFAULT_EPOCH: u64 = 315_532_800;
/// The annotation that lists the app's TCP ports, parted by blanks.
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
    /// The binary of the agent that updates machines.
    pub agent: PathBuf,
    /// What `SOURCE_DATE_EPOCH` says: goes before the epoch of the recipe, and is noted in the commit.
    pub epoch: Option<u64>,
    /// A folder in which the sandbox may lay out a tree that is too large for memory.
    pub scratch: PathBuf,
    /// Notes that go into the commit. They change its id, and no byte of an image.
    pub annotations: BTreeMap<String, String>,
    /// Where all that was read is written down for make.
    pub depfile: Option<Depfile>,
    /// The commit of the base, where that is known: else its ref is asked.
    pub base: Option<CommitId>,
}

impl Options {
    /// Returns where the lock of the recipe lies.
    pub fn lock_path(&self) -> PathBuf {
        lock_path(&self.recipe)
    }

    /// Returns a host path as seen from the recipe's folder, so that it means the same elsewhere.
    pub(super) fn name_of(&self, path: &Path) -> String {
        let folder = self.recipe.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    }
}

/// Returns where the lock of a recipe lies: beside it.
pub fn lock_path(recipe: &Path) -> PathBuf {
    recipe.with_extension("lock")
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
    let reference = RefName::new(&plan.image.name).map_err(store::StoreError::from)?;
    let (commit, changes, inputs) = make(plan, options, store, Some(&reference), job)?;
    let moved = changes.iter().any(|change| change.moved);
    Ok(Composed { commit, reference, moved, inputs })
}

/// Composes a plan again, so that the store holds what it makes; no ref moves.
pub fn recompose(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<CommitId> {
    Ok(make(plan, options, store, None, job)?.0)
}

/// What an attempt made: the commit, the move, and what was read.
type Made = (CommitId, Vec<RefChange>, Vec<PathBuf>);

/// Makes the commit of a plan and moves a ref to it. Where garbage was collected meanwhile, something may have
/// gone that the work had found in the store: then it is done once more.
fn make(
    plan: &Plan,
    options: &Options,
    store: &Store,
    reference: Option<&RefName>,
    job: &Job,
) -> Result<Made> {
    let before = store.collections();
    match attempt(plan, options, store, reference, job) {
        Err(_) if store.collections() != before && job.check().is_ok() => {
            job.note("garbage was collected in the store meanwhile: composing once more");
            attempt(plan, options, store, reference, job)
        }
        result => result,
    }
}

fn attempt(
    plan: &Plan,
    options: &Options,
    store: &Store,
    reference: Option<&RefName>,
    job: &Job,
) -> Result<Made> {
    let lock = lock(plan, options, store, job)?;
    let plan = &update::extended(plan)?;
    let requests = requests(plan);
    let memo = Memo::new(store);
    let unpacking = Unpacking { store, memo: &memo, lock: &lock, settings: &options.packages };
    let work = Work::new(plan, options, &requests, unpacking, job)?;
    let key = work.key()?;
    let transaction = store.begin(job);
    let id = match memo.commit(&key) {
        Some(id) => {
            job.cached("compose");
            id
        }
        None => {
            let id = work.run(&transaction)?;
            memo.later_bytes(key, id.as_bytes().to_vec());
            id
        }
    };
    let inputs = work.host_paths();
    // Before an image has its name: one without its dependency file would look finished to make.
    if let Some(depfile) = &options.depfile {
        depfile.write(work.dependencies()?)?;
    }
    drop(work);
    let updates = reference.map(|name| RefUpdate { name: name.clone(), expected: Expected::Any, new: id });
    let committed = transaction.commit(updates.as_slice(), "compose")?;
    // The commit is in the store for good, and its ref leads to it: what is lost is time, the next time.
    if let Err(error) = memo.write() {
        job.warn(format!("the store can't remember the steps of this build: {}", whole(&error)));
    }
    Ok((id, committed.refs, inputs))
}

/// Returns the lock that the build goes by. Where there is none beside the recipe, one is written.
pub(super) fn lock(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Lock> {
    let requests = requests(plan);
    let path = options.lock_path();
    let lock = match packages::read_lock(&path)? {
        Some(lock) => lock,
        None if requests.is_empty() => return Ok(Lock::default()),
        None => {
            let settings = &options.packages;
            let locking = Locking { settings, path: &path, update: Update::None, write: true };
            let written = packages::write_lock(store, &requests, &locking, job)?;
            job.note(format!("wrote the lock {}", path.display()));
            written.0
        }
    };
    lock.select(&requests)?;
    Ok(lock)
}

/// One run of composing.
pub(super) struct Work<'a> {
    plan: &'a Plan,
    /// What lies under all parts.
    base: Option<Base>,
    options: &'a Options,
    job: &'a Job,
    lock: &'a Lock,
    requests: &'a [Request],
    limits: Limits,
    accounts: Accounts,
    prepared: Vec<Prepared>,
    /// By the index of their part: what steps in the sandbox read of the host.
    stepped: BTreeMap<usize, Vec<Inputs>>,
    /// What boots and comes from the host.
    boot_inputs: Vec<Inputs>,
    /// PID 1 of app images; empty where the recipe has no kernel.
    init: Vec<u8>,
    /// What updates the machine; empty where nothing does.
    agent: Vec<u8>,
    /// Our own boot loader, where the recipe has it and no file of its own for it.
    own_loader: Option<Vec<u8>>,
    unpacking: Unpacking<'a>,
}

/// The commit that an image stands on.
struct Base {
    id: CommitId,
    commit: Commit,
    origin: String,
}

/// Finds what a ref leads to now: from here on, the commit counts.
fn base(plan: &BasePlan, known: Option<CommitId>, store: &Store) -> Result<Base> {
    let failed = |source| {
        let (origin, source) = (plan.origin.clone(), Box::new(source));
        PipelineError::Base { origin, source }
    };
    let id = known.map_or_else(|| store.resolve(&plan.commit), Ok).map_err(failed)?;
    let commit = store.read_commit(&id).map_err(failed)?;
    Ok(Base { id, commit, origin: plan.origin.to_string() })
}

/// Digests what the steps of a plan read of the host.
fn digest_steps(plan: &Plan, job: &Job) -> Result<BTreeMap<usize, Vec<Inputs>>> {
    let mut stepped = BTreeMap::new();
    for (index, part) in plan.parts.iter().enumerate() {
        if let Part::Run(step) = part {
            stepped.insert(index, run::digest(step, job)?);
        }
    }
    Ok(stepped)
}

impl<'a> Work<'a> {
    /// Looks at everything that the plan reads of the host. Nothing is written.
    pub(super) fn new(
        plan: &'a Plan,
        options: &'a Options,
        requests: &'a [Request],
        unpacking: Unpacking<'a>,
        job: &'a Job,
    ) -> Result<Self> {
        let accounts = Accounts::of(plan).map_err(PipelineError::Compose)?;
        let limits = Limits::default();
        let prepared = {
            let _step = job.step("look at the inputs", None, Unit::Items);
            compose::prepare_all(&plan.parts, &accounts, &limits, job).map_err(PipelineError::Compose)?
        };
        let base = plan.base.as_ref().map(|base| self::base(base, options.base, unpacking.store));
        let init = plan.kernel.as_ref().map(|_| boot_files::read_init(&options.init)).transpose()?;
        let agent = match &plan.update {
            Some(_) if plan.kernel.is_some() => boot_files::read_agent(&options.agent)?,
            _ => Vec::new(),
        };
        let work = Work {
            plan,
            base: base.transpose()?,
            options,
            job,
            lock: unpacking.lock,
            requests,
            limits,
            accounts,
            prepared,
            stepped: digest_steps(plan, job)?,
            boot_inputs: boot_files::host_inputs(plan, job)?,
            init: init.unwrap_or_default(),
            agent,
            own_loader: boot_files::own_loader(plan)?,
            unpacking,
        };
        Ok(work)
    }

    /// Returns what is known of a part before it is made.
    pub(super) fn prepared(&self, index: usize) -> &Prepared {
        &self.prepared[index]
    }
}

impl Work<'_> {
    /// Digests everything that the commit follows from.
    pub(super) fn key(&self) -> Result<StepKey> {
        let mut key = KeyBuilder::new(STEP);
        let plan = self.plan;
        key.bytes("tool", env!("CARGO_PKG_VERSION").as_bytes());
        key.bytes("plan", format!("{plan:?}").as_bytes());
        if let Some(base) = &self.base {
            key.bytes("base", base.id.as_bytes());
        }
        key.bytes("folder", self.options.name_of(&self.options.recipe).as_bytes());
        for prepared in &self.prepared {
            let digest = prepared.inputs.as_ref().map(Inputs::digest);
            key.bytes("inputs", digest.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
            for taken in &prepared.along.taken {
                key.bytes("taken along", taken.inputs.digest().as_bytes());
            }
        }
        for inputs in self.stepped.values().flatten() {
            key.bytes("step's inputs", inputs.digest().as_bytes());
        }
        key.bytes("lock", self.lock.to_string().as_bytes());
        key.bytes("epoch", &self.epoch().to_le_bytes());
        for (name, value) in &self.options.annotations {
            key.bytes("annotation", name.as_bytes());
            key.bytes("says", value.as_bytes());
        }
        if plan.kernel.is_some() {
            key.bytes("init", &self.init);
            if !self.agent.is_empty() {
                key.bytes("agent", &self.agent);
            }
            key.bytes("loader", self.own_loader.as_deref().unwrap_or_default());
            for inputs in &self.boot_inputs {
                key.bytes("boot file", inputs.digest().as_bytes());
            }
        }
        Ok(key.finish())
    }

    fn run(&self, transaction: &Transaction<'_>) -> Result<CommitId> {
        let is_known = |request: &Request| self.system(request).is_known();
        self.unpacking.fetch(self.requests, is_known, self.job)?;
        let (tree, identities) = self.root(transaction)?;
        let boot = self.boot(&identities, transaction)?;
        self.check_budget(&tree, boot.as_ref(), transaction)?;
        let commit = self.commit(tree, boot, transaction)?;
        Ok(transaction.put_commit(&commit)?)
    }

    /// Holds what was made against the recipe's budget. Of a build that does not keep it nothing stays.
    fn check_budget(
        &self,
        tree: &TreeRef,
        boot: Option<&TreeRef>,
        transaction: &Transaction<'_>,
    ) -> Result<()> {
        let Some(budget) = &self.plan.budget else { return Ok(()) };
        let root = transaction.read_tree(self.job, tree)?;
        let boot = boot.map(|boot| transaction.read_tree(self.job, boot)).transpose()?;
        let excesses = budget::check(budget, &root, boot.as_ref());
        if excesses.is_empty() { Ok(()) } else { Err(PipelineError::Budget(excesses)) }
    }

    /// Makes the root filesystem.
    fn root(&self, transaction: &Transaction<'_>) -> Result<(TreeRef, Identities)> {
        let contributions = self.contributions(transaction)?;
        let step = self.job.step("merge", None, Unit::Items);
        let steps = Steps { memo: self.unpacking.memo, epoch: self.epoch(), scratch: &self.options.scratch };
        let mut merging = match &self.base {
            Some(Base { commit, origin, .. }) => {
                let mut tree = transaction.read_tree(self.job, &commit.tree)?;
                compose::forget_name(&mut tree, &commit.name, commit.version.as_deref());
                Merging::on(tree, origin)
            }
            None => Merging::default(),
        };
        for (index, contributions) in contributions.into_iter().enumerate() {
            if let Part::Run(plan) = &self.plan.parts[index] {
                let tree = merging.so_far().map_err(PipelineError::Tree)?;
                let made = steps.run(plan, &self.stepped[&index], tree, transaction, self.job)?;
                merging.become_tree(made, &plan.origin.to_string());
            }
            contributions.iter().for_each(|contribution| merging.lay(contribution));
        }
        if let Some(update) = plan_update(self.plan, &self.agent) {
            merging.lay(&update::program(update, &self.agent, transaction)?);
        }
        let (mut tree, origins) = merging.finish().map_err(PipelineError::Tree)?;
        drop(step);
        let identities =
            compose::write_accounts(&mut tree, &origins, &self.accounts, transaction, transaction)
                .map_err(PipelineError::Compose)?;
        compose::finish(&mut tree, self.plan, transaction).map_err(PipelineError::Compose)?;
        compose::check_closures(&tree, self.plan, transaction).map_err(PipelineError::Compose)?;
        numbers::check(&tree, &self.plan.image.name, self.unpacking.store, transaction, self.job)?;
        let sealed = tree.seal().map_err(PipelineError::Tree)?;
        Ok((transaction.put_tree(self.job, &sealed)?, identities))
    }

    pub(super) fn system<'b>(&'b self, request: &'b Request) -> System<'b> {
        System {
            plan: self.plan,
            request,
            unpacking: &self.unpacking,
            epoch: self.epoch(),
            scratch: &self.options.scratch,
        }
    }

    /// Makes all parts at once, but for steps; the result is in recipe order. All errors come back.
    fn contributions(&self, transaction: &Transaction<'_>) -> Result<Vec<Vec<Contribution>>> {
        let parts: Vec<(usize, &Prepared)> = self.prepared.iter().enumerate().collect();
        let make = |(index, prepared)| self.contribute(index, prepared, transaction);
        self.job.workers.try_map(parts, make).map_err(|errors| {
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
        index: usize,
        prepared: &Prepared,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<Contribution>> {
        let part = &self.plan.parts[index];
        match part {
            Part::Packages(packages) => return self.packages(index, packages, transaction),
            Part::Run(_) => return Ok(Vec::new()),
            _ => {}
        }
        if let Some(tree) = prepared.key.and_then(|key| self.unpacking.memo.tree(&key)) {
            self.job.cached(part.origin().block.clone());
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

    /// The packages of a distribution come with the first of its blocks.
    fn packages(
        &self,
        index: usize,
        packages: &PackagesPlan,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<Contribution>> {
        let is_same = |part: &Part| match part {
            Part::Packages(other) => other.distribution == packages.distribution,
            _ => false,
        };
        if self.plan.parts[..index].iter().any(is_same) {
            return Ok(Vec::new());
        }
        let request = self.requests.iter().find(|request| request.distribution == packages.distribution);
        let request = request.expect("because every block has its request");
        let tree = self.system(request).tree(transaction, self.job)?;
        let same = self.plan.parts.iter().filter(|part| is_same(part));
        let replaces = same.flat_map(|part| match part {
            Part::Packages(block) => block.replace.clone(),
            _ => Vec::new(),
        });
        let base = compose::remembered(&self.plan.parts[index], tree);
        Ok(vec![Contribution { replaces: replaces.collect(), ..base }])
    }

    /// Makes what boots; `None` where the recipe has no kernel.
    fn boot(&self, identities: &Identities, transaction: &Transaction<'_>) -> Result<Option<TreeRef>> {
        let Some(kernel) = &self.plan.kernel else { return Ok(None) };
        let service = service::describe(self.plan, identities);
        let request = boot_files::Request {
            kernel,
            loader: &self.plan.boot.loader,
            own_loader: self.own_loader.as_deref(),
            boot_origin: self.plan.boot.origin.as_ref(),
            command_line: &self.plan.boot.command_line,
            service: &service,
            init: &self.init,
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
        let lock = match self.requests.is_empty() {
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
            variables: self.variables(),
            lock,
            inputs: self.inputs()?,
            // The same inputs make the same commit, wherever its ref led before: the log of the ref is the
            // history of builds. Parents are for who imports commits of a system that has them.
            parents: Vec::new(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            annotations: annotations(plan, &self.options.annotations)?,
        })
    }

    /// Lists what was read: host files and folders, packages, the base, PID 1.
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        let host = self.host_inputs().chain(&self.boot_inputs).map(|inputs| Input {
            name: self.options.name_of(&inputs.root),
            digest: InputDigest::Blake3(digest_of(inputs)),
            size: inputs.bytes(),
        });
        let mut all: Vec<Input> = host.collect();
        for wanted in self.lock.select(self.requests)? {
            let digest = InputDigest::Sha256(Digest(wanted.package.sha256.0));
            all.push(Input {
                name: format!("package {}", wanted.package),
                digest,
                size: wanted.package.size_bytes,
            });
        }
        if let Some((base, plan)) = self.base.as_ref().zip(self.plan.base.as_ref()) {
            let (name, size) = (format!("base {}", plan.commit), base.commit.encode().len() as u64);
            all.push(Input { name, digest: InputDigest::Blake3(base.id.0), size });
        }
        let own = [("mkimage-init", &self.init)].into_iter().filter(|_| self.plan.kernel.is_some());
        for (name, bytes) in own.chain(self.own_loader.as_ref().map(|bytes| ("mkimage-loader", bytes))) {
            let digest = InputDigest::Blake3(Digest::of(bytes));
            all.push(Input { name: name.to_owned(), digest, size: bytes.len() as u64 });
        }
        if !self.agent.is_empty() {
            let digest = InputDigest::Blake3(Digest::of(&self.agent));
            all.push(Input { name: "mkimage-agent".to_owned(), digest, size: self.agent.len() as u64 });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup();
        Ok(all)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.options.epoch.or(self.plan.image.epoch).unwrap_or(DEFAULT_EPOCH)
    }

    /// Returns the variables that the commit follows from: a time stamp from outside is one of them.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.plan.variables.clone();
        if let Some(epoch) = self.options.epoch {
            variables.insert("env.SOURCE_DATE_EPOCH".to_owned(), format!("\"{epoch}\""));
        }
        variables
    }

    /// Returns what was read of the host.
    fn host_inputs(&self) -> impl Iterator<Item = &Inputs> {
        let parts = self.prepared.iter().flat_map(Prepared::all_inputs);
        parts.chain(self.stepped.values().flatten())
    }

    fn host_paths(&self) -> Vec<PathBuf> {
        self.host_inputs().map(|inputs| inputs.root.clone()).collect()
    }

    /// Lists every file that composing reads, and every directory whose listing it reads, the recipe first.
    fn dependencies(&self) -> Result<Vec<PathBuf>> {
        let mut paths: Vec<PathBuf> = self.plan.sources.iter().map(|(name, _)| name.into()).collect();
        if !self.requests.is_empty() {
            paths.push(self.options.lock_path());
        }
        if self.plan.kernel.is_some() {
            paths.push(self.options.init.clone());
        }
        paths.extend(self.host_inputs().chain(&self.boot_inputs).flat_map(Inputs::paths));
        paths.extend(self.requests.iter().flat_map(|request| request.rules.local.clone()));
        if let Some(folder) = &self.options.packages.vendor {
            paths.extend(vendor::held(self.lock, self.requests, folder)?);
        }
        // A base is a ref: the file of the store that says where it leads.
        let base = self.plan.base.iter().filter_map(|base| base.commit.split(['~', ':']).next());
        let base = base.map(|name| self.unpacking.store.path().join("refs").join(name));
        paths.extend(base.filter(|path| path.is_file()));
        Ok(paths)
    }
}

/// Returns the update block of a plan whose agent was read.
fn plan_update<'a>(plan: &'a Plan, agent: &[u8]) -> Option<&'a plan::UpdatePlan> {
    plan.update.as_ref().filter(|_| !agent.is_empty())
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
pub(super) fn annotations(plan: &Plan, added: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
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
    for (name, value) in added {
        if let Some(recipe) = annotations.insert(name.clone(), value.clone()) {
            return Err(PipelineError::Annotated { name: name.clone(), recipe, value: value.clone() });
        }
    }
    Ok(annotations)
}

pub(super) fn disk_spec(plan: &Plan) -> DiskSpec {
    let disk = &plan.disk;
    DiskSpec {
        layout: disk.layout,
        architecture: match plan.image.architecture {
            Architecture::X86_64 => store::Architecture::X86_64,
            Architecture::Aarch64 => store::Architecture::Aarch64,
        },
        filesystem: match (disk.filesystem, disk.placement) {
            (plan::Filesystem::Ext4, plan::Placement::Dense) => store::Filesystem::Ext4,
            (plan::Filesystem::Ext4, plan::Placement::Stable) => store::Filesystem::Ext4Stable,
        },
        slot_size: disk.slot_size.map(|size| size.0),
        uki_size: disk.uki_size.map(|size| size.0),
        data_size: disk.data_size.0,
        data_path: disk.data_path.to_string(),
        tries: plan.boot.tries,
    }
}
