//! What a bill or a report is made of: a commit of the store, which an image may name, or a lock, with all that is known
//! of it.

use std::path::Path;

use super::super::failure::{Failure, Kind};
use super::Context;
use crate::base::{CommitId, Digest, fs};
use crate::image::Inspection;
use crate::packages::Lock;
use crate::packages::lock::LOCK_BYTES_MAX;
use crate::pipeline::{self, Explanation};
use crate::recipe::plan::{self, Plan};
use crate::report::{DiskMap, Part, PartKind, Subject, Timeline, What};
use crate::store::{Commit, Objects, Store, StoreError};
use crate::tree::{ContentSource, Directory};
use crate::view::begins_like_an_image;

/// Everything that is known of a commit, or of a lock.
pub struct Opened {
    store: Store,
    commit: Option<(CommitId, Commit)>,
    /// Name and digest of a lock that stands alone.
    alone: Option<(String, Digest)>,
    tree: Directory,
    boot: Option<Directory>,
    lock: Option<Lock>,
    parts: Vec<Part>,
    unknown: Vec<String>,
    /// What an image holds, where one was named.
    inspection: Option<Inspection>,
}

impl Opened {
    /// Opens what the command line names.
    pub fn open(context: &Context, text: &str) -> Result<Opened, Failure> {
        let path = Path::new(text);
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("hcl" | "lock") if path.is_file() => Opened::of_lock(context, path),
            _ if is_image(path) => Opened::of_image(context, path),
            _ => {
                let store = context.store()?;
                let id = store.resolve(text).map_err(Failure::from)?;
                Opened::of_commit(context, store, id)
            }
        }
    }

    /// Opens the commit that an image names: that of the slot which boots next. The store must know it.
    fn of_image(context: &Context, path: &Path) -> Result<Opened, Failure> {
        let inspection = context.inspect(path, false)?;
        let next = inspection.next.as_ref().map(|next| next.slot.as_str());
        let slot = inspection.slots.iter().find(|slot| Some(slot.slot.as_str()) == next);
        let Some(id) = slot.and_then(|slot| slot.commit) else {
            let problem = format!("{} names no commit: nothing in it can boot", path.display());
            return Err(Failure::new(Kind::Input, problem));
        };
        let store = context.store()?;
        if !store.has_by_now(&id.0) {
            let problem = format!("the store does not know commit {id}, which {} names", path.display());
            let hint = "`mkimage pull` brings it here; `--store` names another store";
            return Err(Failure::new(Kind::NotFound, problem).hint(hint));
        }
        let opened = Opened::of_commit(context, store, id)?;
        Ok(Opened { inspection: Some(inspection), ..opened })
    }

    fn of_commit(context: &Context, store: Store, id: CommitId) -> Result<Opened, Failure> {
        let mut unknown = Vec::new();
        let commit = store.read_commit(&id).map_err(Failure::from)?;
        let tree = store.read_tree(&context.job, &commit.tree).map_err(Failure::from)?;
        let boot = commit.boot.as_ref().map(|boot| store.read_tree(&context.job, boot));
        let boot = boot.transpose().map_err(Failure::from)?;
        let lock = commit.lock.as_ref().map(|lock| store.read_all(lock)).transpose();
        let lock = lock.map_err(StoreError::from).map_err(Failure::from)?;
        let lock = match lock.map(|bytes| Lock::parse(&String::from_utf8_lossy(&bytes))) {
            Some(Err(error)) => {
                unknown.push(format!("the lock of the commit can't be read: {error}"));
                None
            }
            lock => lock.and_then(Result::ok),
        };
        let plan = pipeline::plan_of_commit(&store, &commit).unwrap_or_else(|_| {
            unknown
                .push("the recipe of the commit can't be read any more: its parts are left out".to_owned());
            None
        });
        let parts = plan.as_ref().map(parts).unwrap_or_default();
        let commit = Some((id, commit));
        Ok(Opened { store, commit, alone: None, tree, boot, lock, parts, unknown, inspection: None })
    }

    fn of_lock(context: &Context, path: &Path) -> Result<Opened, Failure> {
        let path = if path.extension().is_some_and(|it| it == "hcl") {
            pipeline::lock_path(path)
        } else {
            path.to_owned()
        };
        let bytes = fs::read_at_most(&path, LOCK_BYTES_MAX as u64)?;
        let problem =
            |problem: String| Failure::new(Kind::Input, format!("{} is no lock: {problem}", path.display()));
        let text = String::from_utf8(bytes).map_err(|_| problem("it is no UTF-8 text".to_owned()))?;
        let lock = Lock::parse(&text).map_err(|error| problem(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Opened {
            store: context.store()?,
            commit: None,
            alone: Some((name, Digest::of(text.as_bytes()))),
            tree: Directory::default(),
            boot: None,
            lock: Some(lock),
            parts: Vec::new(),
            unknown: Vec::new(),
            inspection: None,
        })
    }

    /// Returns what the store noted of the time that making the commit took.
    pub fn noted_timeline(&self) -> Option<Timeline> {
        Timeline::remembered(&self.store, &self.commit.as_ref()?.0)
    }

    /// Maps the disk: of an image what it holds, of a commit what it makes; `None` for what is no disk.
    pub fn disk(&self, context: &Context) -> Result<Option<DiskMap>, Failure> {
        if let Some(inspection) = &self.inspection {
            return Ok(Some(DiskMap::of_image(inspection)));
        }
        let bootable = self.commit.as_ref().filter(|(_, commit)| commit.boot.is_some());
        let map = bootable.map(|(id, _)| DiskMap::of_commit(&self.store, *id, &context.job));
        Ok(map.transpose()?)
    }

    /// Returns what is known of where the files come from; `None` of a lock that stands alone.
    pub fn explanation(&self, context: &Context) -> Result<Option<Explanation>, Failure> {
        let of_commit = |(_, commit): &(CommitId, Commit)| {
            Explanation::of_commit(commit, self.tree.clone(), &self.store, &context.job)
        };
        self.commit.as_ref().map(of_commit).transpose().map_err(|error| context.failure(error))
    }

    /// Returns what a bill is made of.
    pub fn subject(&self) -> Subject<'_> {
        let subject = match (&self.commit, &self.alone) {
            (Some((id, commit)), _) => Subject::of_commit(*id, commit, &self.tree, &self.store),
            (None, alone) => {
                let (name, digest) = alone.clone().unwrap_or((String::new(), Digest::of(b"")));
                Subject::named(What::Lock(digest), &name, &self.tree, &self.store)
            }
        };
        Subject {
            boot: self.boot.as_ref(),
            lock: self.lock.as_ref(),
            kept: Some(&self.store),
            parts: self.parts.clone(),
            unknown: self.unknown.clone(),
            ..subject
        }
    }
}

/// Tells whether a path is that of an image: a file that is named with a slash, or one that begins like an image. So a
/// ref never changes its meaning by a file that happens to lie in the folder.
fn is_image(path: &Path) -> bool {
    path.exists() && !path.is_dir() && (path.components().count() > 1 || begins_like_an_image(path))
}

/// Lists the parts of a plan that bring files.
fn parts(plan: &Plan) -> Vec<Part> {
    let part = |part: &plan::Part| {
        let (kind, name, path) = match part {
            plan::Part::App(app) => (PartKind::App, app.name.clone(), Some(app.source.target.clone())),
            plan::Part::Tree(tree) => (PartKind::Files, tree.name.clone(), Some(tree.source.target.clone())),
            plan::Part::File(file) => (PartKind::Files, String::new(), Some(file.inode.path.clone())),
            plan::Part::HardLink(link) => (PartKind::Files, String::new(), Some(link.path.clone())),
            plan::Part::Packages(packages) => (PartKind::Packages, packages.distribution.clone(), None),
            plan::Part::Run(step) => (PartKind::Step, step.name.clone(), None),
            plan::Part::Directory(_) | plan::Part::Symlink(_) | plan::Part::Device(_) => return None,
        };
        Some(Part { kind, name, path })
    };
    plan.parts.iter().filter_map(part).collect()
}
