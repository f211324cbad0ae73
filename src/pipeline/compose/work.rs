//! One run of composing: the parts, the tree that they make, what boots it.

use std::collections::BTreeMap;

use super::super::boot_files;
use super::super::budget;
use super::super::error::{PipelineError, Result};
use super::super::numbers;
use super::super::packages::Unpacking;
use super::super::run::{self, Steps};
use super::super::service;
use super::super::step::KeyBuilder;
use super::super::system::System;
use super::super::update;
use super::Options;
use crate::archive::{Inputs, Limits};
use crate::base::job::Unit;
use crate::base::{CommitId, Job, StepKey};
use crate::compose::{self, Accounts, Context, Identities, Prepared};
use crate::packages::{Lock, Request};
use crate::recipe::plan::{self, Architecture, BasePlan, PackagesPlan, Part, Plan};
use crate::store::{Commit, Objects, Store, Transaction, TreeRef};
use crate::tree::{Contribution, Merging};

/// Name and version of composing as a whole: a change of what it does needs a new one.
const STEP: &str = "compose 1";

/// One run of composing.
pub(in super::super) struct Work<'a> {
    pub(super) plan: &'a Plan,
    /// What lies under all parts.
    pub(super) base: Option<Base>,
    pub(super) options: &'a Options,
    job: &'a Job,
    pub(super) lock: &'a Lock,
    pub(super) requests: &'a [Request],
    limits: Limits,
    accounts: Accounts,
    pub(super) prepared: Vec<Prepared>,
    /// By the index of their part: what steps in the sandbox read of the host.
    pub(super) stepped: BTreeMap<usize, Vec<Inputs>>,
    /// What boots and comes from the host.
    pub(super) boot_inputs: Vec<Inputs>,
    /// PID 1 of app images; empty where the recipe has no kernel.
    pub(super) init: Vec<u8>,
    /// What updates the machine; empty where nothing does.
    pub(super) agent: Vec<u8>,
    /// Our own boot loader, where the recipe has it and no file of its own for it.
    pub(super) own_loader: Option<Vec<u8>>,
    pub(super) unpacking: Unpacking<'a>,
}

/// The commit that an image stands on.
pub(super) struct Base {
    pub id: CommitId,
    pub commit: Commit,
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
    pub(in super::super) fn new(
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
    pub(in super::super) fn prepared(&self, index: usize) -> &Prepared {
        &self.prepared[index]
    }
}

impl Work<'_> {
    /// Digests everything that the commit follows from.
    pub(in super::super) fn key(&self) -> Result<StepKey> {
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

    pub(super) fn run(&self, transaction: &Transaction<'_>) -> Result<CommitId> {
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

    pub(in super::super) fn system<'b>(&'b self, request: &'b Request) -> System<'b> {
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
}

/// Returns the update block of a plan whose agent was read.
fn plan_update<'a>(plan: &'a Plan, agent: &[u8]) -> Option<&'a plan::UpdatePlan> {
    plan.update.as_ref().filter(|_| !agent.is_empty())
}
