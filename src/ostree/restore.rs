//! The commit that an OSTree commit was made of, where all of it can be had.

use super::carried;
use super::error::{OstreeError, Result};
use super::import::Reader;
use super::name::{Checksum, ObjectKind, ObjectName};
use super::object::OstreeCommit;
use super::variant::Malformed;
use crate::base::CommitId;
use crate::store::{Commit, Objects, TreeRef};
use crate::tree::{Directory, Node};

/// The commit, or why it can't be had.
type Restored = std::result::Result<(CommitId, Commit), String>;

/// Puts the commit that an OSTree commit was made of; `tree` is the tree that came in. `None` where it was
/// made by someone else. What the companion holds is put as well.
pub(super) fn commit(
    reader: &mut Reader<'_>,
    found: &OstreeCommit,
    tree: &TreeRef,
) -> Result<Option<Restored>> {
    let Some(encoding) = found.value(carried::COMMIT_OBJECT, "ay") else { return Ok(None) };
    let malformed = |problem: String| {
        let checksum = super::object::checksum(&found.encode());
        let object = ObjectName { kind: ObjectKind::Commit, checksum };
        OstreeError::Malformed { object, source: Malformed(problem) }
    };
    let commit = Commit::decode(encoding)
        .map_err(|error| malformed(format!("the commit that it carries: {error}")))?;
    let id = commit.id();
    if found.text(carried::COMMIT) != Some(&id.to_string()) {
        return Err(malformed("the commit that it carries has another id than it says".to_owned()));
    }
    if commit.tree != *tree {
        let note = format!("commit {id} holds more than OSTree does: here is what came along of it");
        return Ok(Some(Err(note)));
    }
    if !is_whole(reader, &commit) {
        let companion = found.text(carried::COMPANION).map(str::parse::<Checksum>);
        match companion {
            Some(Ok(companion)) => {
                if let Err(note) = fetch(reader, companion)? {
                    return Ok(Some(Err(note)));
                }
            }
            Some(Err(error)) => return Err(malformed(error.to_string())),
            None => {
                let note = format!("boot files, recipe and lock of commit {id} did not come along");
                return Ok(Some(Err(note)));
            }
        }
        if !is_whole(reader, &commit) {
            let note = format!("the companion does not hold all that commit {id} names");
            return Ok(Some(Err(note)));
        }
    }
    Ok(Some(Ok((reader.transaction.put_commit(&commit)?, commit))))
}

/// Tells whether everything that a commit names is there.
fn is_whole(reader: &Reader<'_>, commit: &Commit) -> bool {
    let texts = commit.recipe.iter().map(|(_, content)| content).chain(&commit.lock);
    let boot = commit.boot.is_none_or(|boot| reader.transaction.has(&boot.id.0));
    boot && texts.into_iter().all(|content| reader.transaction.has(&content.id.0))
}

/// Reads the companion's tree into the store, or says why not.
fn fetch(reader: &mut Reader<'_>, companion: Checksum) -> Result<std::result::Result<(), String>> {
    let found = match reader.commit(companion) {
        Ok(found) => found,
        Err(OstreeError::Missing { .. }) => {
            let branch = carried::branch("BRANCH");
            let note =
                format!("boot files, recipe and lock are not in the repository: pull {branch} as well");
            return Ok(Err(note));
        }
        Err(error) => return Err(error),
    };
    let mut root = reader.tree(found.tree, found.meta)?;
    if let Some(Node::Directory(boot)) = root.entries.remove(carried::BOOT) {
        put(reader, boot)?;
    }
    Ok(Ok(()))
}

fn put(reader: &Reader<'_>, tree: Directory) -> Result<TreeRef> {
    let sealed = tree.seal().map_err(OstreeError::Tree)?;
    Ok(reader.transaction.put_tree(reader.job, &sealed)?)
}
