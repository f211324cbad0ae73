//! What writers do to stores, as a table: the simulated directory and the replay on real disks run each row.
//!
//! A workload is deterministic, and may be done again on whatever an interrupted run of it left. Adding one is
//! adding a row to [`ALL`].

mod remotes;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mkimage::base::{CommitId, Digest, Job, StepKey};
use mkimage::store::{GcRules, LogEntry, Media, Objects, RefName, RefValue, Store, Watcher};
use mkimage::tree::{ContentSink, ContentSource, Directory, File, Metadata, Node};

use super::{commit_of, noise, path, update};

pub type Done = Result<(), Box<dyn Error>>;

pub struct Workload {
    pub name: &'static str,
    /// The folders of its stores, below the base.
    pub stores: &'static [&'static str],
    /// Whether there is a site in the folder `site` as well.
    pub site: bool,
    /// Makes what is there, durably, before the run.
    pub prepare: fn(&Place),
    /// Does the work; calls back when an operation has returned successfully.
    pub run: fn(&Place, &mut dyn FnMut()) -> Done,
}

pub const ALL: &[Workload] = &[
    Workload { name: "commit", stores: &["store"], site: false, prepare: |_| {}, run: commit },
    Workload {
        name: "commit-of-several-refs",
        stores: &["store"],
        site: false,
        prepare: one_build,
        run: several_refs,
    },
    Workload { name: "nothing-new", stores: &["store"], site: false, prepare: one_build, run: nothing_new },
    Workload { name: "gc", stores: &["store"], site: false, prepare: four_builds, run: collect },
    Workload { name: "repack", stores: &["store"], site: false, prepare: many_builds, run: repack },
    Workload {
        name: "push",
        stores: &["store", "far"],
        site: false,
        prepare: remotes::a_store_and_a_far_one,
        run: remotes::push_to_a_store,
    },
    Workload {
        name: "pull",
        stores: &["store", "far"],
        site: false,
        prepare: remotes::a_far_store,
        run: remotes::pull_from_a_store,
    },
    Workload {
        name: "publish",
        stores: &["store"],
        site: true,
        prepare: remotes::one_version,
        run: remotes::publish,
    },
    Workload {
        name: "pull-from-a-site",
        stores: &["store"],
        site: true,
        prepare: remotes::a_site,
        run: remotes::pull_from_a_site,
    },
];

/// Where a workload runs, and who is shown what it changes.
pub struct Place {
    base: PathBuf,
    watcher: Option<Arc<dyn Watcher>>,
}

impl Place {
    pub fn watched(base: &Path, watcher: Arc<dyn Watcher>) -> Place {
        Place { base: base.to_owned(), watcher: Some(watcher) }
    }

    /// A place that nobody watches.
    pub fn plain(base: &Path) -> Place {
        Place { base: base.to_owned(), watcher: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    pub fn store(&self, name: &str) -> Store {
        match &self.watcher {
            Some(watcher) => Store::watched(self.path(name), watcher.clone()).expect("opened"),
            None => Store::open(self.path(name)).expect("opened"),
        }
    }

    /// What changes that are no store's are made through.
    pub fn media(&self) -> Media {
        self.watcher.clone().map_or_else(Media::default, Media::watched)
    }
}

/// One worker, so that a run makes the same changes in the same order each time.
fn job() -> Job {
    Job::quiet(1)
}

/// Puts a tree of three files, one of which the version before had too, and moves refs to it.
fn build(store: &Store, version: u64, refs: &[&str]) -> Result<CommitId, Box<dyn Error>> {
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    for (index, length) in [(0, 600), (1, 9000), (2, 300)] {
        let content = transaction.put(&noise(version * 2 + index, length))?;
        let file = File { metadata: Metadata::root(0o644), content };
        root.insert(&path(&format!("/d{index}/file")), Node::File(file))?;
    }
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed"))?;
    let commit = transaction.put_commit(&commit_of(tree))?;
    let updates: Vec<_> = refs.iter().map(|at| update(at, commit)).collect();
    transaction.commit(&updates, &format!("version {version}"))?;
    Ok(commit)
}

fn one_build(place: &Place) {
    build(&place.store("store"), 1, &["main"]).expect("built");
}

/// Two builds into a new store.
fn commit(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    build(&store, 1, &["main"])?;
    acknowledge();
    store.memo_put(&StepKey(Digest::of(b"a step")), b"a result")?;
    build(&store, 2, &["main"])?;
    acknowledge();
    Ok(())
}

/// Refs that move together, some of them new.
fn several_refs(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    build(&store, 2, &["main", "channel/stable", "channel/old"])?;
    acknowledge();
    build(&store, 3, &["main", "channel/stable"])?;
    acknowledge();
    Ok(())
}

/// A build that finds everything there, then a ref that is moved to what is there.
fn nothing_new(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    build(&store, 1, &["main"])?;
    acknowledge();
    build(&store, 1, &["other"])?;
    acknowledge();
    Ok(())
}

fn four_builds(place: &Place) {
    let store = place.store("store");
    for (version, at) in [(1, "main"), (2, "main"), (3, "main"), (1, "old")] {
        build(&store, version, &[at]).expect("built");
    }
    // Moves of this second are young for every rule.
    std::thread::sleep(std::time::Duration::from_millis(1100));
}

fn gc(store: &Store) -> Done {
    let plan = store.plan_gc(&GcRules::strict(), &job())?;
    store.run_gc(plan, &job())?;
    Ok(())
}

/// Collects what refs left behind; empties the trash; works on, and collects again.
fn collect(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    gc(&store)?;
    acknowledge();
    gc(&store)?;
    acknowledge();
    // What it needs of the second version went away.
    build(&store, 2, &["main"])?;
    acknowledge();
    gc(&store)?;
    acknowledge();
    Ok(())
}

fn many_builds(place: &Place) {
    let store = place.store("store");
    for version in 1..=6 {
        build(&store, version, &["main"]).expect("built");
    }
}

/// Puts many packs together.
fn repack(place: &Place, acknowledge: &mut dyn FnMut()) -> Done {
    let store = place.store("store");
    store.repack(&job())?;
    acknowledge();
    Ok(())
}

/// What a reader sees of the stores of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    stores: Vec<SeenStore>,
    /// Where the site's ref leads.
    site: Option<CommitId>,
}

#[derive(Clone, Debug, PartialEq)]
struct SeenStore {
    refs: BTreeMap<RefName, RefValue>,
    logs: BTreeMap<RefName, Vec<LogEntry>>,
    /// Commits that a ref leads or led to and that are there with all that they lead to.
    readable: BTreeSet<CommitId>,
}

impl Seen {
    pub fn of(base: &Path, workload: &Workload) -> Seen {
        let stores = workload.stores.iter().map(|name| {
            SeenStore::of(&base.join(name)).unwrap_or_else(|error| panic!("{}: {error}", workload.name))
        });
        let site = if workload.site { remotes::read_site(base) } else { Ok(None) };
        let site = site.unwrap_or_else(|problem| panic!("{}: {problem}", workload.name));
        Seen { stores: stores.collect(), site }
    }

    /// Returns where the refs of each store lead.
    pub fn commits(&self) -> Vec<BTreeMap<&RefName, CommitId>> {
        let refs = self.stores.iter().map(|store| store.refs.iter());
        refs.map(|refs| refs.map(|(name, value)| (name, value.commit)).collect()).collect()
    }
}

impl SeenStore {
    fn of(folder: &Path) -> Result<SeenStore, String> {
        let store = Store::open(folder).map_err(chain)?;
        let refs = store.refs().map_err(chain)?;
        let mut logs = BTreeMap::new();
        let mut readable = BTreeSet::new();
        for name in refs.keys() {
            let log = store.log(name).map_err(chain)?;
            let commits = log.iter().map(|entry| entry.value.commit);
            // What is in the trash only may be gone for a moment while it goes there.
            readable.extend(commits.filter(|id| store.has(&id.0) && closure(&store, id).is_ok()));
            logs.insert(name.clone(), log);
        }
        Ok(SeenStore { refs, logs, readable })
    }

    /// Says what is wrong of a store that was interrupted between two states.
    fn judge(folder: &Path, seen: &[&SeenStore], log: Log) -> Result<(), String> {
        let (before, after) = (seen[0], seen.get(1).unwrap_or(&seen[0]));
        let store = Store::open(folder).map_err(chain)?;
        let refs = store.refs().map_err(chain)?;
        if refs != before.refs && refs != after.refs {
            return Err(format!("refs are neither as before nor as after: {refs:?}"));
        }
        // What is garbage goes at some time; what nothing takes away later must be there now.
        let stays = |commit: &&CommitId| seen.iter().all(|seen| seen.readable.contains(commit));
        for commit in before.readable.iter().filter(stays) {
            closure(&store, commit).map_err(|problem| format!("a commit of the reflog: {problem}"))?;
        }
        for (name, acknowledged) in &before.logs {
            let found = store.log(name).map_err(chain)?;
            let stays = after.logs.get(name).map_or(&[][..], |log| log);
            let lost = acknowledged.iter().find(|entry| stays.contains(entry) && !found.contains(entry));
            if let Some(lost) = lost.filter(|_| log == Log::Whole) {
                return Err(format!("the reflog of {name} lost {lost:?}"));
            }
        }
        sound(folder)
    }
}

/// Says what is wrong of a store, whatever it holds: with its refs, what they lead to, or by its own check.
pub fn sound(folder: &Path) -> Result<(), String> {
    let store = Store::open(folder).map_err(chain)?;
    for value in store.refs().map_err(chain)?.values() {
        closure(&store, &value.commit)?;
    }
    let report = store.check(&job()).map_err(chain)?;
    match report.faults.first() {
        Some(fault) => Err(format!("the check says {fault:?}")),
        None => Ok(()),
    }
}

/// Reads all that a commit leads to.
pub fn closure(store: &Store, id: &CommitId) -> Result<(), String> {
    let commit = store.read_commit(id).map_err(|error| format!("commit {id}: {}", chain(error)))?;
    let trees = [Some(&commit.tree), commit.boot.as_ref()];
    for tree in trees.into_iter().flatten() {
        let tree = store.read_tree(&job(), tree).map_err(chain)?;
        for (path, node) in tree.paths() {
            if let Node::File(file) = node {
                store.read_all(&file.content).map_err(|error| format!("{path}: {}", chain(error)))?;
            }
        }
    }
    Ok(())
}

fn chain(error: impl Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What must be in the reflog of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Log {
    /// Every move, with its message.
    Whole,
    /// Nothing: who found a ref moved by a writer that was killed between writing the line and syncing it
    /// takes the line for durable. The ref itself is.
    Any,
}

/// Says what is wrong below `base` after an interruption, when so many operations had been acknowledged.
/// `seen` is what readers of an undisturbed run saw before it and after each operation.
pub fn judge(
    base: &Path,
    workload: &Workload,
    seen: &[Seen],
    acknowledged: usize,
    log: Log,
) -> Result<(), String> {
    let left = &seen[acknowledged..];
    for (index, name) in workload.stores.iter().enumerate() {
        let seen: Vec<&SeenStore> = left.iter().map(|seen| &seen.stores[index]).collect();
        SeenStore::judge(&base.join(name), &seen, log).map_err(|problem| format!("{name}: {problem}"))?;
    }
    let site = if workload.site { remotes::read_site(base)? } else { None };
    match left.iter().take(2).any(|seen| seen.site == site) {
        true => Ok(()),
        false => Err(format!("the site leads to {site:?}, neither as before nor as after")),
    }
}

/// Does the work again below `base`, which must succeed and lead where the undisturbed run led.
pub fn judge_rerun(base: &Path, workload: &Workload, seen: &[Seen]) -> Result<(), String> {
    (workload.run)(&Place::plain(base), &mut || {}).map_err(|error| format!("the re-run: {error}"))?;
    let (found, expected) = (Seen::of(base, workload), seen.last().expect("at least the state before"));
    if found.commits() != expected.commits() {
        return Err(format!("after the re-run the refs are {:?}", found.commits()));
    }
    judge(base, workload, &[found], 0, Log::Whole).map_err(|problem| format!("after the re-run: {problem}"))
}
