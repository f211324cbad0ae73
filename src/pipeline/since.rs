//! Which input changed since the last build.

use std::collections::BTreeMap;

use super::compare::{self, Difference, PackageDifference};
use super::compose::{self, Options, Work};
use super::error::Result;
use super::packages::{self, Unpacking};
use super::requests::requests;
use super::step::Memo;
use super::update;
use crate::base::{CommitId, Job};
use crate::recipe::plan::Plan;
use crate::store::{Commit, Input, Objects, RefName, Store};
use crate::tree::{Content, ContentSource};

/// What differs from the last build, before anything is built.
#[derive(Clone, Debug, Default)]
pub struct Since {
    /// The commit of the last build; `None` where there was none.
    pub last: Option<CommitId>,
    /// Version, epoch, disk, variables, the tool and the like.
    pub settings: Vec<Difference>,
    /// Recipe texts that differ: their names, what they said, what they say now.
    pub texts: Vec<ChangedText>,
    /// Files and folders of the host, PID 1, the base.
    pub inputs: Vec<Difference>,
    pub packages: Vec<PackageDifference>,
    /// The lock does not fit the recipe, or is not there.
    pub lock: Option<String>,
}

/// A text of the recipe that differs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChangedText {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl Since {
    /// Tells whether the last build would be found again.
    pub fn is_empty(&self) -> bool {
        self.last.is_some()
            && self.settings.is_empty()
            && self.texts.is_empty()
            && self.inputs.is_empty()
            && self.packages.is_empty()
            && self.lock.is_none()
    }
}

/// Holds what a recipe, its lock and its inputs are now against the commit that the image's ref leads to. Writes
/// nothing.
pub fn since_last_build(plan: &Plan, options: &Options, store: &Store, job: &Job) -> Result<Since> {
    let name = RefName::new(&plan.image.name).map_err(crate::store::StoreError::from)?;
    let Some(value) = store.read_ref(&name)? else { return Ok(Since::default()) };
    let last = store.read_commit(&value.commit)?;
    let plan = &update::extended(plan)?;
    let requests = requests(plan);
    let lock = packages::read_lock(&options.lock_path())?;
    let memo = Memo::looking(store);
    let locked = lock.clone().unwrap_or_default();
    let unpacking = Unpacking { store, memo: &memo, lock: &locked, settings: &options.packages };
    let work = Work::new(plan, options, &requests, unpacking, job)?;
    let mut rebuilt = Since { last: Some(value.commit), ..Since::default() };
    rebuilt.texts = texts(plan, options, store, &last)?;
    let (inputs, lock_problem) = match (&lock, work.inputs()) {
        (None, _) if !requests.is_empty() => {
            (Vec::new(), Some("there is none: the next build writes one".to_owned()))
        }
        (_, Ok(inputs)) => (inputs, None),
        (_, Err(error)) => (Vec::new(), Some(error.to_string())),
    };
    rebuilt.lock = lock_problem;
    let now = Commit {
        disk: compose::disk_spec(plan),
        epoch: work.epoch(),
        name: plan.image.name.clone(),
        version: plan.image.version.clone(),
        variables: work.variables(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        annotations: compose::annotations(plan, &options.annotations)?,
        inputs: inputs.clone(),
        ..last.clone()
    };
    rebuilt.settings = compare::settings_between(&last, &now);
    if rebuilt.lock.is_none() {
        rebuilt.inputs = compare::inputs_between(&last, &now);
        rebuilt.packages = packages_between(&last.inputs, &inputs);
    }
    Ok(rebuilt)
}

fn texts(plan: &Plan, options: &Options, store: &Store, last: &Commit) -> Result<Vec<ChangedText>> {
    let now: BTreeMap<String, String> = plan
        .sources
        .iter()
        .map(|(name, text)| (options.name_of(std::path::Path::new(name)), text.clone()))
        .collect();
    let before: BTreeMap<&String, &Content> =
        last.recipe.iter().map(|(name, content)| (name, content)).collect();
    let mut changed = Vec::new();
    for (name, text) in &now {
        let old = before.get(name).copied();
        if old != Some(&Content::of(text.as_bytes())) {
            let old = old.map(|content| read(store, content)).transpose()?;
            changed.push(ChangedText { name: name.clone(), old, new: Some(text.clone()) });
        }
    }
    for (name, content) in before.into_iter().filter(|(name, _)| !now.contains_key(*name)) {
        changed.push(ChangedText { name: name.clone(), old: Some(read(store, content)?), new: None });
    }
    Ok(changed)
}

fn read(store: &Store, content: &Content) -> Result<String> {
    Ok(String::from_utf8_lossy(&store.read_all(content)?).into_owned())
}

/// Compares packages by what the inputs of two commits say of them: `package NAME VERSION`.
fn packages_between(old: &[Input], new: &[Input]) -> Vec<PackageDifference> {
    let versions = |inputs: &[Input]| -> BTreeMap<String, (String, Input)> {
        let named = inputs.iter().filter_map(|input| {
            let (name, version) = input.name.strip_prefix("package ")?.split_once(' ')?;
            Some((name.to_owned(), (version.to_owned(), input.clone())))
        });
        named.collect()
    };
    let (old, new) = (versions(old), versions(new));
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let version = |found: Option<&(String, Input)>| found.map(|(version, _)| version.clone());
    differ
        .map(|name| PackageDifference {
            package: name.clone(),
            old: version(old.get(name)),
            new: version(new.get(name)),
            downgraded: false,
        })
        .collect()
}
