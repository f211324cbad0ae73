//! Which line of the recipe, and which package, a path of a tree comes from.
//!
//! All of it follows from a commit: the packages' own lists of files (dpkg's in the tree, else the trees that
//! unpacking them made, while the store remembers these), the recipe's blocks by the paths that they name, and what
//! composing adds by itself. An image answers for its packages; for the recipe a store must have its commit.

mod blocks;
mod lines;
mod owners;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::error::{PipelineError, Result};
use super::installed;
use super::load::plan_of_commit;
use crate::base::{CommitId, ImagePath, Job};
use crate::boot::origin::Origin as Carried;
use crate::packages::{Lock, LockedPackage, Reason};
use crate::recipe::plan::{Origin, PackagesPlan, Part, Plan};
use crate::recipe::{self, MemoryLoader, Settings};
use crate::store::{Commit, InputDigest, Objects, Store};
use crate::tree::follow::follow;
use crate::tree::{Content, ContentSource, Directory};
use crate::view::View;
use blocks::{Claim, Claims};
pub use lines::Lines;
use owners::Owners;

/// Knows where the paths of one tree come from.
pub struct Explanation {
    root: Directory,
    plan: Option<Plan>,
    claims: Claims,
    owners: Owners,
    versions: BTreeMap<String, String>,
    lock: Option<Lock>,
    /// What lay under all parts.
    base: Option<(Origin, CommitId, Directory)>,
}

/// Where a path comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// The block of the recipe that it is there for.
    pub part: Option<Origin>,
    /// Name and version.
    pub package: Option<(String, String)>,
    /// All of it, in sentences.
    pub sentences: Vec<String>,
}

/// Who has a path.
enum Whose<'a> {
    /// A block of the recipe, and the packages that list it too.
    Claimed(Claim, Vec<&'a str>),
    Packages(Vec<&'a str>),
    Nobody,
}

/// Why a package is there in the end, when its reasons are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    /// The recipe names it, or boots with it.
    Named(String),
    /// Every system of its distribution has it.
    Essential,
}

/// Reads the recipe of a commit again; `None` where the store lacks its texts, or they need what is not in them (an
/// environment).
fn plan_in(store: &Store, commit: &Commit) -> Option<Plan> {
    let is_here = commit.recipe.iter().all(|(_, content)| store.has(&content.id.0));
    if is_here { plan_of_commit(store, commit).ok().flatten() } else { None }
}

/// Reads the recipe that an image carries beside its commit. Each text must be the one that the commit names.
fn plan_carried(carried: &[Vec<u8>], commit: &Commit) -> Option<Plan> {
    let mut loader = MemoryLoader::default();
    if carried.len() != commit.recipe.len() {
        return None;
    }
    for ((name, content), text) in commit.recipe.iter().zip(carried) {
        let text = String::from_utf8(text.clone()).ok().filter(|_| Content::of(text) == *content)?;
        loader.texts.insert(name.clone(), text);
    }
    // What came from the environment is no variable of the recipe.
    let own = commit.variables.iter().filter(|(name, _)| !name.starts_with("env."));
    let set = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let settings = Settings { set, vars_files: Vec::new() };
    recipe::load(&commit.recipe.first()?.0, &loader, &settings).ok().map(|loaded| loaded.plan)
}

/// Returns a text of the store; `None` where it is not there.
fn text(store: &Store, content: &Content) -> Result<Option<String>> {
    if !store.has(&content.id.0) {
        return Ok(None);
    }
    Ok(String::from_utf8(store.read_all(content)?).ok())
}

/// Reads the recipe and the lock that an image carries and drops what comes of it: in a confined child, before anybody
/// else reads these texts. What is wrong with them is told by who reads them next.
pub fn rehearse(commit: &Commit, carried: &Carried) {
    drop(plan_carried(&carried.recipe, commit));
    let lock = carried.lock.as_ref().and_then(|text| std::str::from_utf8(text).ok());
    drop(lock.map(Lock::parse));
}

impl Explanation {
    /// Gathers what is known of a view. Reads lists of files, the recipe and the lock; no other file.
    pub fn of(view: &View<'_>, store: Option<&Store>, job: &Job) -> Result<Explanation> {
        let root = view.below(&ImagePath::root(), job)?;
        Self::of_tree(root, view, view.commit().map(|commit| (commit, view.carried())), store, job)
    }

    /// Gathers what is known of a commit of a store, whose tree is at hand.
    pub fn of_commit(commit: &Commit, root: Directory, store: &Store, job: &Job) -> Result<Explanation> {
        Self::of_tree(root, store, Some((commit, None)), Some(store), job)
    }

    fn of_tree(
        root: Directory,
        contents: &dyn ContentSource,
        commit: Option<(&Commit, Option<Carried>)>,
        store: Option<&Store>,
        job: &Job,
    ) -> Result<Explanation> {
        let (mut plan, mut lock, mut base) = (None, None, None);
        if let Some((commit, carried)) = commit {
            if let Some(store) = store {
                plan = plan_in(store, commit);
                lock = commit.lock.map(|content| text(store, &content)).transpose()?.flatten();
            }
            if let Some(carried) = carried {
                plan = plan.or_else(|| plan_carried(&carried.recipe, commit));
                let is_named = |text: &&Vec<u8>| commit.lock == Some(Content::of(text));
                let text = carried.lock.as_ref().filter(is_named);
                lock = lock.or_else(|| text.and_then(|text| String::from_utf8(text.clone()).ok()));
            }
            base = plan.as_ref().zip(store).and_then(|(plan, store)| self::base(plan, commit, store, job));
        }
        let lock = lock.and_then(|text| Lock::parse(&text).ok());
        let owners = Owners::of(&root, contents, lock.as_ref(), store, job)?;
        let claims = plan.as_ref().map_or_else(Claims::default, |plan| Claims::of(plan, &root));
        let versions = installed::versions_in(&root, contents)?;
        Ok(Explanation { root, plan, claims, owners, versions, lock, base })
    }

    /// Tells whether the recipe is known, and not the packages alone.
    pub fn knows_recipe(&self) -> bool {
        self.plan.is_some()
    }

    /// Returns the plan that the commit's recipe is.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Says why a package is there, as the lock has it, which is in the store of the commit.
    pub fn package(&self, name: &str) -> Result<Vec<String>> {
        match &self.lock {
            Some(lock) => Ok(lock.why(name)?),
            None => Err(PipelineError::NoLockOfCommit { package: name.to_owned() }),
        }
    }

    /// Says where a path comes from; nothing is known of what does not stand there.
    pub fn brought(&self, path: &ImagePath) -> Brought {
        let path = &real(&self.root, path);
        match self.whose(path) {
            Whose::Claimed(Claim { origin, sentence, .. }, owners) => {
                let also = |package| format!("Package {package} has it, too: the recipe's wins.");
                let sentences = [sentence].into_iter().chain(owners.first().map(also)).collect();
                Brought { part: Some(origin), package: None, sentences }
            }
            Whose::Packages(owners) => self.of_package(path, owners[0], owners.len()),
            Whose::Nobody => self.of_others(path),
        }
    }

    /// Finds out who has a path, whose links above its last name are followed: a block that brings it for sure, else
    /// packages, of which there is one at least, else a block that may have.
    fn whose(&self, path: &ImagePath) -> Whose<'_> {
        let owners = self.owners.of_path(path);
        match self.claims.of_path(path) {
            Some(claim) if claim.wins || owners.is_empty() => Whose::Claimed(claim, owners),
            _ if owners.is_empty() => Whose::Nobody,
            _ => Whose::Packages(owners),
        }
    }

    /// Finds the lock's entry of a package that is installed.
    fn locked(&self, package: &str) -> Option<(&Lock, &LockedPackage)> {
        let (bare, lock) = (bare(package), self.lock.as_ref()?);
        let mut installed = lock.packages().filter(|locked| locked.is_installed());
        Some((lock, installed.find(|locked| locked.name == bare)?))
    }

    /// Returns the block of the recipe that a package is there for, and what it is there for in the end.
    fn asked_in(&self, package: &str) -> (Option<Origin>, Option<Root>) {
        let locked = self.locked(package);
        let root = locked.and_then(|(lock, locked)| self::root_of(lock, &locked.name));
        let part = locked.and_then(|(_, locked)| self.block_of(&locked.distribution, root.as_ref()));
        (part.or_else(|| self.block_of("", None)), root)
    }

    fn of_package(&self, path: &ImagePath, package: &str, count: usize) -> Brought {
        let (bare, locked) = (bare(package), self.locked(package));
        let version = self.versions.get(package).or_else(|| self.versions.get(bare)).cloned();
        let version =
            version.or_else(|| locked.map(|(_, locked)| locked.version.clone())).unwrap_or_default();
        let others = match count {
            0 | 1 => String::new(),
            count => format!(", and {} more packages have it", count - 1),
        };
        let mut sentences = vec![format!("{path} comes with package {bare} {version}{others}.")];
        if let Some((lock, _)) = locked {
            sentences.extend(lock.why(package).or_else(|_| lock.why(bare)).unwrap_or_default());
        }
        let (part, _) = self.asked_in(package);
        if let Some(part) = &part {
            sentences.push(format!("The recipe asks for it in {part}."));
        }
        sentences.extend(self.claims.maybe_changed(path));
        Brought { part, package: Some((bare.to_owned(), version)), sentences }
    }

    /// Finds the block of packages that something is there for, or else the first of its distribution.
    fn block_of(&self, distribution: &str, root: Option<&Root>) -> Option<Origin> {
        let blocks = || {
            self.plan.iter().flat_map(|plan| &plan.parts).filter_map(|part| match part {
                Part::Packages(block) if distribution.is_empty() || block.distribution == distribution => {
                    Some(block)
                }
                _ => None,
            })
        };
        let asks = |block: &&PackagesPlan| match root {
            Some(Root::Named(name)) => block.names.iter().any(|asked| self::bare(&asked.name) == name),
            Some(Root::Essential) => block.essential,
            None => false,
        };
        blocks().find(asks).or_else(|| blocks().next()).map(|block| block.origin.clone())
    }

    /// Says where something comes from that neither a package nor a block names.
    fn of_others(&self, path: &ImagePath) -> Brought {
        let plain = |part: Option<Origin>, sentence: String| Brought {
            part,
            package: None,
            sentences: vec![sentence],
        };
        let here = self.root.get(path);
        if let Some((origin, id, base)) = &self.base
            && base.get(path).is_some()
            && base.get(path) == here
        {
            return plain(
                Some(origin.clone()),
                format!("{path} comes with commit {id}, which {origin} stands on."),
            );
        }
        if let Some(Claim { origin, sentence, .. }) = self.claims.perhaps(path) {
            return plain(Some(origin), sentence);
        }
        let directory = self.root.directory(path).filter(|_| !path.is_root());
        if let Some(first) = directory.and_then(|directory| directory.entries.keys().next()) {
            let below = self.brought(&path.join(first));
            let part = below.part.clone();
            let place = path.join(first);
            return plain(part, format!("{path} was made to hold {place} and what else lies there."));
        }
        match (&self.plan, self.block_of("", None)) {
            (None, _) => plain(
                None,
                format!("No package has {path}, and the recipe of this commit is not in the store."),
            ),
            (_, Some(origin)) => plain(
                Some(origin.clone()),
                format!("{path} was made when the packages of {origin} were finished."),
            ),
            (Some(plan), None) => plain(
                Some(plan.image.origin.clone()),
                format!("{path} is in every image: mkimage adds it where no part of the recipe does."),
            ),
        }
    }
}

/// Follows the reasons of a package to one that needs no other: the nearest.
fn root_of(lock: &Lock, package: &str) -> Option<Root> {
    let mut seen = BTreeSet::new();
    let mut waiting = VecDeque::from([package.to_owned()]);
    while let Some(name) = waiting.pop_front() {
        let found = lock.packages().find(|locked| locked.name == bare(&name));
        let Some(locked) = found.filter(|locked| seen.insert(&locked.name)) else { continue };
        for reason in &locked.why {
            match reason {
                Reason::Asked(name) => return Some(Root::Named(bare(name).to_owned())),
                Reason::Bare(name) => return Some(Root::Named(bare(name).to_owned())),
                Reason::Essential => return Some(Root::Essential),
                Reason::Needed { by, .. } => waiting.push_back(by.clone()),
            }
        }
    }
    None
}

/// Returns the name of a package without its architecture.
fn bare(package: &str) -> &str {
    package.split(':').next().unwrap_or(package)
}

/// Returns where a path is when the links above its last name are followed.
fn real(root: &Directory, path: &ImagePath) -> ImagePath {
    let parent = path.parent().and_then(|parent| follow(root, &parent));
    match (parent, path.name()) {
        (Some(parent), Some(name)) => parent.join(&name),
        _ => path.clone(),
    }
}

/// Reads the tree of the commit that an image stands on.
fn base(plan: &Plan, commit: &Commit, store: &Store, job: &Job) -> Option<(Origin, CommitId, Directory)> {
    let origin = plan.base.as_ref()?.origin.clone();
    let input = commit.inputs.iter().find(|input| input.name.starts_with("base "))?;
    let InputDigest::Blake3(id) = input.digest else { return None };
    let id = CommitId(id);
    let tree = store.read_commit(&id).ok()?.tree;
    Some((origin, id, store.read_tree(job, &tree).ok()?))
}
