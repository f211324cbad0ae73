//! Tests of the room `remote`: stores and sites of this machine, real web servers, and servers that lie.

mod between;
mod hostile;
mod killed;
mod names;
mod prune;
pub mod server;
mod site;
mod web;

use std::path::{Path, PathBuf};

use mkimage::base::CommitId;
use mkimage::remote::{
    self, Line, Outcome, Publishing, Pushed, Remote, RemoteError, RemoteSettings, Rules, Want, Wants,
};
use mkimage::store::{Objects, Store};
use mkimage::tree::Directory;
use mkimage::trust::SecretKey;

use crate::store::{add_file, commit_of, folder, job, name, noise, open, put_version, update};

/// Stores and a site in a folder, with one publisher.
pub struct Farm {
    pub folder: tempfile::TempDir,
    pub key: SecretKey,
}

/// A long time for an index.
const YEAR: u64 = 365 * 24 * 3600;

impl Farm {
    pub fn new() -> Farm {
        Farm { folder: folder(), key: SecretKey::from_seed(&[7; 32], "farm").expect("a key") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self, name: &str) -> Store {
        open(&self.path(name))
    }

    /// Returns the site in the folder `site`, as its publisher sees it.
    pub fn site(&self) -> Remote {
        self.at(&format!("dir:{}", self.path("site").display()))
    }

    /// Returns what lies at an address, with the publisher's key.
    pub fn at(&self, address: &str) -> Remote {
        let mut settings = RemoteSettings::new(address.parse().expect("an address"));
        settings.keys.push(self.key.public().clone());
        Remote { name: None, settings }
    }

    /// Adds a remote to a store, so that what is seen of it is remembered.
    pub fn named(&self, store: &Store, name: &str, address: &str) -> Remote {
        let remote = self.at(address);
        let name = name.parse().expect("a name");
        Remote::add(store, &job(), &name, &remote.settings).expect("added");
        Remote::load(store, &name).expect("loaded")
    }

    pub fn push(&self, store: &Store, remote: &mut Remote, refs: &[(&str, CommitId)]) -> Outcome {
        self.try_push(store, remote, refs, &Rules::default()).expect("pushed")
    }

    pub fn try_push(
        &self,
        store: &Store,
        remote: &mut Remote,
        refs: &[(&str, CommitId)],
        rules: &Rules,
    ) -> Result<Outcome, RemoteError> {
        let publishing = Publishing { signers: &[&self.key], site: None, lifetime_seconds: YEAR };
        let pushed: Vec<Pushed> = refs
            .iter()
            .map(|(at, commit)| Pushed { name: name(at), commit: *commit, source: None })
            .collect();
        remote::push(store, remote, &pushed, rules, Some(&publishing), &line())
    }
}

pub fn line() -> Line {
    Line::new(&job(), None)
}

pub fn pull(store: &Store, remote: &mut Remote, refs: &[&str]) -> Result<Outcome, RemoteError> {
    let wants = refs.iter().map(|at| Want::Ref(name(at))).collect();
    remote::pull(store, remote, &Wants::These(wants), &Rules::default(), &line())
}

pub fn pull_commit(store: &Store, remote: &mut Remote, id: CommitId) -> Result<Outcome, RemoteError> {
    let wants = Wants::These(vec![Want::Commit(id)]);
    remote::pull(store, remote, &wants, &Rules::default(), &line())
}

/// Publishes a commit whose tree has some MiB that don't compress, most of it the same in every version.
pub fn publish_big(store: &Store, at: &str, version: u64, parents: &[CommitId]) -> CommitId {
    let transaction = store.begin(&job());
    let mut root = Directory::default();
    for file in 0..40 {
        let seed = if file == 3 { 1000 + version } else { file };
        add_file(&transaction, &mut root, &format!("/usr/lib/file{file}"), &noise(seed, 50_000));
    }
    let mut large = noise(77, 600_000);
    large[300_000..300_100].copy_from_slice(&noise(version, 100));
    add_file(&transaction, &mut root, "/usr/lib/large", &large);
    add_file(&transaction, &mut root, "/etc/version", format!("version {version}\n").as_bytes());
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
    let commit = mkimage::store::Commit { parents: parents.to_vec(), ..commit_of(tree) };
    let id = transaction.put_commit(&commit).expect("put");
    transaction.commit(&[update(at, id)], "build").expect("committed");
    id
}

/// Publishes a small commit.
pub fn publish_small(store: &Store, at: &str, version: u32) -> CommitId {
    let transaction = store.begin(&job());
    let id = put_version(&transaction, version);
    transaction.commit(&[update(at, id)], "build").expect("committed");
    id
}

/// Where a ref of a store leads.
pub fn led(store: &Store, at: &str) -> Option<CommitId> {
    store.read_ref(&name(at)).expect("read").map(|value| value.commit)
}

/// Expects that a store has a commit with all that it leads to, all of it right.
pub fn expect_whole(store: &Store, id: &CommitId) {
    let commit = store.read_commit(id).expect("a commit");
    let tree = store.read_tree(&job(), &commit.tree).expect("a tree");
    assert!(!tree.entries.is_empty());
    let report = store.check(&job()).expect("checked");
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

/// All of a store that others see: names and bytes of files, locks and leases left out.
pub fn state(store: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![store.to_owned()];
    while let Some(at) = waiting.pop() {
        for name in mkimage::base::fs::list(&at).unwrap_or_default() {
            let path = at.join(&name);
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if path.is_dir() {
                if !is_hidden {
                    waiting.push(path);
                }
            } else if !is_hidden && name != "gc-generation" {
                found.push((path.clone(), std::fs::read(&path).expect("read")));
            }
        }
    }
    found.sort();
    found
}

/// The whole text of an error with its causes.
pub fn told(error: &RemoteError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}
