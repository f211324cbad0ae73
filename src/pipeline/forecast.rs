//! What a build would do, without doing it: nothing is written, fetched or run.

use super::compose::{Options, Work};
use super::error::{PipelineError, Result};
use super::package_cache::StoreCache;
use super::packages::{self, Unpacking};
use super::requests::requests;
use super::step::Memo;
use super::update;
use crate::base::{CommitId, Job};
use crate::image::{Image, PartitionFacts};
use crate::packages::{Lock, PackageCache, Request};
use crate::recipe::plan::{Part, Plan};
use crate::store::{Objects, RefName, Store};

/// What a build would do.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Forecast {
    pub name: String,
    pub version: Option<String>,
    /// The commit, where one was composed of just this before.
    pub commit: Option<CommitId>,
    pub steps: Vec<ForecastStep>,
    /// Bytes that would come over the network.
    pub fetch_bytes: u64,
    pub disk: Option<ForecastDisk>,
}

/// One thing that a build does.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ForecastStep {
    /// The block of the recipe, or what is done.
    pub step: String,
    pub state: StepState,
    /// Bytes that it reads of the host or fetches, where that is known.
    pub bytes: Option<u64>,
    pub detail: String,
}

/// Whether a step has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its result is known.
    Cached,
    /// It will be done.
    Runs,
    /// It depends on what steps before it make.
    Depends,
    /// It takes no time worth remembering.
    Instant,
    /// The build will stop here.
    Fails,
}

/// The disk of the image.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ForecastDisk {
    /// False where it is the disk of the last build, which this one may exceed.
    pub exact: bool,
    pub size_bytes: u64,
    /// Bytes of the root filesystem and its hash tree.
    pub root_bytes: u64,
    pub uki_bytes: u64,
    pub partitions: Vec<PartitionFacts>,
}

/// Says what building a plan would do. Reads the inputs of the host, the lock and the store.
pub fn forecast(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Forecast> {
    let plan = &update::extended(plan)?;
    let requests = requests(plan);
    let found = packages::read_lock(&options.lock_path())?;
    let lock = found.clone().unwrap_or_default();
    let memo = Memo::looking(store);
    let unpacking = Unpacking { store, memo: &memo, lock: &lock, settings: &options.packages };
    let work = Work::new(plan, options, &requests, unpacking, job)?;
    let mut steps = Vec::new();
    let locked = lock_step(found.as_ref(), &requests, options, &mut steps);
    let commit = if locked { memo.commit(&work.key()?) } else { None };
    let mut forecast = Forecast {
        name: plan.image.name.clone(),
        version: plan.image.version.clone(),
        commit,
        steps,
        fetch_bytes: 0,
        disk: None,
    };
    if locked {
        forecast.fetch_bytes = fetch_step(&work, &memo, &lock, &requests, store, job, &mut forecast.steps)?;
    }
    for (index, part) in plan.parts.iter().enumerate() {
        forecast.steps.push(part_step(&work, &memo, index, part, &requests, locked, commit));
    }
    forecast.steps.extend(last_steps(plan, commit));
    forecast.disk = disk(plan, store, commit, job);
    Ok(forecast)
}

/// Looks at the lock; returns whether it fits the recipe.
fn lock_step(
    lock: Option<&Lock>,
    requests: &[Request],
    options: &Options,
    steps: &mut Vec<ForecastStep>,
) -> bool {
    if requests.is_empty() {
        return true;
    }
    let path = options.lock_path();
    let step =
        |state, detail| ForecastStep { step: format!("lock {}", path.display()), state, bytes: None, detail };
    match lock.map(|lock| lock.select(requests)) {
        None => {
            steps.push(step(
                StepState::Runs,
                "there is none yet: the archives' indexes are read, and one is written".into(),
            ));
            false
        }
        Some(Err(error)) => {
            steps.push(step(StepState::Fails, error.to_string()));
            false
        }
        Some(Ok(wanted)) => {
            steps.push(step(StepState::Cached, format!("pins {} packages", wanted.len())));
            true
        }
    }
}

/// Counts the packages that would be fetched.
fn fetch_step(
    work: &Work<'_>,
    memo: &Memo<'_>,
    lock: &Lock,
    requests: &[Request],
    store: &Store,
    job: &Job,
    steps: &mut Vec<ForecastStep>,
) -> Result<u64> {
    let cache = StoreCache::looking(store, job);
    let (mut count, mut bytes) = (0u64, 0u64);
    for request in requests {
        let is_known = work.system(request).is_known();
        for wanted in lock.select(std::slice::from_ref(request))? {
            let package = wanted.package;
            let is_done = is_known && package.is_installed() || memo.tree(&packages::key(package)).is_some();
            if !is_done && !cache.holds(&package.sha256.0, package.size_bytes)? {
                count += 1;
                bytes += package.size_bytes;
            }
        }
    }
    let state = if count == 0 { StepState::Cached } else { StepState::Runs };
    let detail = match count {
        0 => "every package is in the store".to_owned(),
        count => format!("{count} packages are not in the store"),
    };
    if !requests.is_empty() {
        steps.push(ForecastStep { step: "fetch packages".into(), state, bytes: Some(bytes), detail });
    }
    Ok(bytes)
}

fn part_step(
    work: &Work<'_>,
    memo: &Memo<'_>,
    index: usize,
    part: &Part,
    requests: &[Request],
    locked: bool,
    commit: Option<CommitId>,
) -> ForecastStep {
    let prepared = work.prepared(index);
    let inputs: Vec<_> = prepared.all_inputs().collect();
    let bytes = (!inputs.is_empty()).then(|| inputs.iter().map(|inputs| inputs.bytes()).sum());
    let names: Vec<String> = inputs.iter().map(|inputs| inputs.root.display().to_string()).collect();
    let (state, detail) = match part {
        _ if commit.is_some() => (StepState::Cached, names.join(", ")),
        Part::Packages(block) => {
            let request = requests.iter().find(|request| request.distribution == block.distribution);
            let is_known = locked && request.is_some_and(|request| work.system(request).is_known());
            let state = if is_known { StepState::Cached } else { StepState::Runs };
            (state, format!("{} names", block.names.len()))
        }
        Part::Run(_) => {
            (StepState::Depends, "runs in the sandbox where the tree before it is a new one".to_owned())
        }
        _ => match prepared.key {
            Some(key) if memo.tree(&key).is_some() => (StepState::Cached, names.join(", ")),
            Some(_) => (StepState::Runs, names.join(", ")),
            None => (StepState::Instant, names.join(", ")),
        },
    };
    ForecastStep { step: part.origin().to_string(), state, bytes, detail }
}

fn last_steps(plan: &Plan, commit: Option<CommitId>) -> Vec<ForecastStep> {
    let state = if commit.is_some() { StepState::Cached } else { StepState::Runs };
    let step =
        |step: &str, detail: String| ForecastStep { step: step.to_owned(), state, bytes: None, detail };
    let mut steps = vec![step("merge the parts", format!("{} parts", plan.parts.len()))];
    if let Some(kernel) = &plan.kernel {
        steps.push(step("boot files", format!("kernel, initrd and loader for {}", kernel.origin)));
    }
    let detail = commit.map_or("a new one".to_owned(), |commit| commit.to_string());
    steps.push(step("commit", detail));
    steps
}

/// Places the disk of the commit, or of the last build.
fn disk(plan: &Plan, store: &Store, commit: Option<CommitId>, job: &Job) -> Option<ForecastDisk> {
    let last = || {
        let name = RefName::new(&plan.image.name).ok()?;
        store.read_ref(&name).ok().flatten().map(|value| value.commit)
    };
    let id = commit.or_else(last)?;
    place(store, id, commit.is_some(), job).ok()
}

fn place(store: &Store, id: CommitId, exact: bool, job: &Job) -> Result<ForecastDisk> {
    if store.read_commit(&id)?.boot.is_none() {
        return Err(PipelineError::NoKernel);
    }
    let image = Image::of(store, id, job)?;
    let placed = image.place(job)?;
    Ok(ForecastDisk {
        exact,
        size_bytes: placed.disk.size.0,
        root_bytes: crate::image::slot_bytes(&placed.root),
        uki_bytes: image.uki_bytes(&placed.root)?,
        partitions: placed.disk.table.partitions.iter().map(PartitionFacts::from).collect(),
    })
}
