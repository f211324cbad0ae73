//! What keeps objects: refs and journals, moves of late, leases; and, weaker, the memos of late.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::super::error::{Result, StoreError};
use super::super::format::is_noise;
use super::super::lease::Seen;
use super::super::lock::CLAIM;
use super::super::objects::Objects;
use super::super::refs::RefName;
use super::super::store::Store;
use super::mark::{Root, Strength};
use crate::base::{CommitId, Digest, FileError, StepKey};

/// What a collection goes by, read once.
pub(super) struct Roots {
    /// In this order: refs, moves, leases.
    pub roots: Vec<Root>,
    pub leases: Vec<Seen>,
}

impl Store {
    /// Reads all roots but memos. Moves after `cutoff` (seconds since 1970) count.
    pub(super) fn gc_roots(&self, cutoff: u64, now: SystemTime, parents: u32) -> Result<Roots> {
        self.refuse_strange_refs()?;
        let mut roots = Vec::new();
        for (name, value) in self.refs().map_err(doubted)? {
            roots.push(root(format!("ref {name}"), value.commit, Strength::Firm));
        }
        for name in self.logged_refs()? {
            for entry in self.log(&name).map_err(doubted)? {
                if entry.value.seconds > cutoff {
                    let from = format!("move {} of ref {name}", entry.value.generation);
                    roots.push(root(from, entry.value.commit, Strength::IfThere));
                }
            }
        }
        let leases = self.leases(now)?;
        for lease in leases.iter().filter(|lease| !lease.expired) {
            let named = lease.text.iter().flat_map(|text| &text.roots);
            let from = format!("lease {}", lease.name);
            roots.extend(named.map(|commit| root(from.clone(), *commit, Strength::Weak)));
        }
        self.add_parents(&mut roots, parents);
        Ok(Roots { roots, leases })
    }

    /// Adds so many generations of parents, as far as they are there; those of what is held are held.
    fn add_parents(&self, roots: &mut Vec<Root>, parents: u32) {
        let mut start = 0;
        for _ in 0..parents {
            let end = roots.len();
            for index in start..end {
                let commit = self.read_commit(&CommitId(roots[index].id));
                let is_held = roots[index].strength == Strength::Weak;
                let strength = if is_held { Strength::Weak } else { Strength::IfThere };
                for parent in commit.iter().flat_map(|commit| &commit.parents) {
                    let from = format!("a parent of what {} leads to", roots[index].from);
                    roots.push(root(from, *parent, strength));
                }
            }
            start = end;
        }
    }

    /// Ends the collection where something stands among the refs that we don't know: it may keep objects.
    fn refuse_strange_refs(&self) -> Result<()> {
        let mut waiting = vec![String::new()];
        while let Some(prefix) = waiting.pop() {
            let folder = self.layout.refs().join(&prefix);
            for name in list(&folder)? {
                let text = name.to_string_lossy();
                let ours = prefix.is_empty()
                    && (matches!(&*text, ".lock" | ".lockfile")
                        || text.starts_with(super::super::lease::TEMPORARY)
                        || text.starts_with(CLAIM));
                if ours {
                    continue;
                }
                let whole = format!("{prefix}{text}");
                let path = folder.join(&name);
                if RefName::new(&whole).is_err() {
                    return Err(StoreError::doubt(path.display(), "it is no ref"));
                }
                if path.is_dir() {
                    waiting.push(format!("{whole}/"));
                }
            }
        }
        Ok(())
    }

    /// Reads which objects the memos of late name, and lists those that were not used for longer than
    /// `limit`. A record that names an object begins with its id; what else it may hold is no id of ours.
    pub(super) fn memo_roots(&self, now: SystemTime, limit: Duration) -> Result<(Vec<Root>, Vec<PathBuf>)> {
        let (mut roots, mut old) = (Vec::new(), Vec::new());
        for shard in list(&self.layout.memos())? {
            let folder = self.layout.memos().join(shard);
            if !folder.is_dir() {
                continue;
            }
            for name in list(&folder)? {
                let path = folder.join(&name);
                let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
                let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
                if age.is_some_and(|age| age >= limit) {
                    old.push(path);
                } else if let Some(id) = name.to_str().and_then(|key| self.memo_names(key)) {
                    let from = format!("memo {}", name.to_string_lossy());
                    roots.push(Root { from, id, strength: Strength::Weak });
                }
            }
        }
        Ok((roots, old))
    }

    fn memo_names(&self, key: &str) -> Option<Digest> {
        let key: StepKey = key.parse().ok()?;
        let record = self.memo_peek(&key)?;
        Some(Digest(*record.first_chunk()?))
    }
}

fn root(from: String, commit: CommitId, strength: Strength) -> Root {
    Root { from, id: commit.0, strength }
}

/// Turns what a damaged ref or journal says into the end of the collection.
fn doubted(error: StoreError) -> StoreError {
    match error {
        StoreError::DamagedRef { path, problem } => StoreError::doubt(path.display(), problem),
        other => other,
    }
}

fn list(folder: &std::path::Path) -> Result<Vec<std::ffi::OsString>> {
    match crate::base::fs::list(folder) {
        Err(error) if error.is_missing() => Ok(Vec::new()),
        names => Ok(names?.into_iter().filter(|name| !is_noise(name)).collect()),
    }
}

/// Returns how old a file is at a time of the file server; 0 where its time lies after that.
pub(super) fn age(path: &std::path::Path, now: SystemTime) -> std::result::Result<Duration, FileError> {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(FileError::at("look at", path))?;
    Ok(now.duration_since(modified).unwrap_or_default())
}
