//! Moving refs: one writer at a time, with what each expects to find, all of a set or none.
//!
//! One ref that moves is one file with a new name. Refs that move together, and a ref that goes, stand in
//! the `journal` first; so does every ref of a shared store: an NFS client that replaces a file which a process of
//! its machine reads gives the old one another name first, and may die there. The order of a removal: journal, line of the log, file; so the log always knows how
//! far the generations counted, and a ref that is made again counts on.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{Result, StoreError};
use super::journal::{self, Journal};
use super::lock::Lock;
use super::move_id::MoveId;
use super::reflog::LogEntry;
use super::refs::{Expected, RefChange, RefMove, RefName, RefState, RefValue};
use super::store::Store;
use super::transaction::Committed;
use crate::base::parallel::Workers;
use crate::base::path::escaped;
use crate::base::{FileError, Job, clock, publish};

/// What files in `refs/` begin with until they have their name. They are made under the lock only: whoever
/// takes it may remove those that a dead process left.
const TEMPORARY: &str = ".tmp-";
/// From so many refs on, several are moved at once: a disk makes what many threads sync durable together.
const MANY: usize = 64;
const SYNCS_AT_ONCE: usize = 16;
/// Longest message that a log takes, in bytes: a line stays well below what is read to find the last one.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What is asked of refs that move together.
pub(super) struct Moves<'a> {
    pub moves: &'a [RefMove],
    pub message: &'a str,
    /// Whether these take moves back: then tags go back as well.
    pub undoes: Option<Undoing<'a>>,
}

/// What an undo goes by.
#[derive(Clone, Copy)]
pub(super) struct Undoing<'a> {
    /// The oldest move that is taken back.
    pub oldest: MoveId,
    /// The last move of every ref when the undo was planned: it must still be.
    pub tips: &'a BTreeMap<RefName, MoveId>,
}

/// A ref as it was found, and its new state where it has to move.
struct Weighed {
    name: RefName,
    found: Option<RefValue>,
    next: Option<RefState>,
}

impl Store {
    /// Removes refs, all of them or none; their logs stay. A ref that is not there is an error.
    pub fn remove_refs(&self, job: &Job, refs: &[(RefName, Expected)], message: &str) -> Result<Committed> {
        let remove = |(name, expected): &(RefName, Expected)| RefMove {
            name: name.clone(),
            expected: *expected,
            new: None,
        };
        self.begin(job).commit_moves(&refs.iter().map(remove).collect::<Vec<_>>(), message)
    }

    /// Moves and removes refs as a whole. The packs that they lead into must be published. `publish` is called under the lock of
    /// the refs, before anything is decided: it sees to it that all they lead to is there, and returns whether it
    /// gave names to packs. With `quiet` on there is nothing to publish, and nothing is done where no ref moves.
    pub(super) fn move_refs(
        &self,
        job: &Job,
        asked: &Moves<'_>,
        quiet: bool,
        publish: impl FnOnce() -> Result<bool>,
    ) -> Result<Vec<RefChange>> {
        if quiet && let Some(unmoved) = self.all_there(asked.moves)? {
            return Ok(unmoved);
        }
        refuse_collisions(asked.moves)?;
        self.prepare()?;
        let _alone = self.lock_refs(job)?;
        self.clear_temporaries()?;
        self.roll_forward()?;
        if let Some(undoing) = &asked.undoes {
            self.refuse_moved(undoing.tips)?;
        }
        let published = publish()?;
        let weigh = |wanted| self.weigh(wanted, asked.undoes.is_some());
        let weighed = asked.moves.iter().map(weigh).collect::<Result<Vec<Weighed>>>()?;
        if !self.decide(asked, &weighed)? && published {
            self.media.sync_directory(&self.layout.packs())?;
        }
        Ok(weighed.into_iter().filter_map(Weighed::outcome).collect())
    }

    /// Returns the refs where none has to move: that costs no lock and no write. A line in the reflog says
    /// that the move was durable before: its writer synced the ref first.
    fn all_there(&self, moves: &[RefMove]) -> Result<Option<Vec<RefChange>>> {
        let mut unmoved = Vec::new();
        for wanted in moves {
            match self.read_ref(&wanted.name)? {
                Some(value)
                    if Some(value.commit) == wanted.new
                        && self.last_generation(&wanted.name)? >= value.generation =>
                {
                    let name = wanted.name.clone();
                    unmoved.push(RefChange { name, value, moved: false, removed: false })
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(unmoved))
    }

    /// Holds a wish against what is there.
    fn weigh(&self, wanted: &RefMove, undoing: bool) -> Result<Weighed> {
        let name = wanted.name.clone();
        let found = self.read_ref_file(&name)?;
        let leads = found.map(|value| value.commit);
        if leads.is_some() && leads == wanted.new {
            return Ok(Weighed { name, found, next: None });
        }
        if !wanted.expected.allows(found.as_ref()) {
            return Err(StoreError::Moved { name, expected: wanted.expected, found: found.map(Box::new) });
        }
        match (leads, wanted.new) {
            (None, None) => return Err(StoreError::Unknown { name: name.to_string(), near: None }),
            (Some(commit), Some(_)) if name.is_tag() && !undoing => {
                return Err(StoreError::TagMoves { name, commit });
            }
            (None, Some(_)) => self.clear_way(&name)?,
            _ => {}
        }
        let generation = match found {
            Some(value) => value.generation,
            None => self.last_generation(&name)?,
        };
        let value = RefValue {
            generation: generation + 1,
            commit: wanted.new.or(leads).expect("because one of them is there"),
            previous: leads,
            seconds: clock::unix_seconds(),
        };
        Ok(Weighed { name, found, next: Some(RefState { value, removed: wanted.new.is_none() }) })
    }

    /// Makes the moves, and what was found durable where a writer that died may not have. Returns whether a
    /// ref moves.
    fn decide(&self, asked: &Moves<'_>, weighed: &[Weighed]) -> Result<bool> {
        let message = one_line(asked.message);
        let mut last = None;
        let mut moves = Vec::new();
        for Weighed { name, found, next } in weighed {
            let logged = self.last_logged(name)?.map(|entry| entry.transaction);
            last = last.max(logged);
            if let Some(value) = found {
                let message = if next.is_none() { &*message } else { "" };
                let entry = LogEntry::unnamed(*value, message, logged);
                last = last.max(Some(entry.transaction));
                self.settle(name, &entry)?;
            }
            moves.extend(next.map(|next| (name.clone(), next)));
        }
        if moves.is_empty() {
            return Ok(false);
        }
        self.make_moves(Journal {
            id: MoveId::new(last),
            undoes: asked.undoes.map(|undoing| undoing.oldest),
            message,
            moves,
        })?;
        Ok(true)
    }

    /// Refuses a name that another ref's file or directory stands in the way of.
    fn clear_way(&self, name: &RefName) -> Result<()> {
        let mut prefix = String::new();
        for component in name.as_str().split('/') {
            prefix.push_str(component);
            if prefix != name.as_str() && self.layout.refs().join(&prefix).is_file() {
                return Err(StoreError::RefInTheWay { name: name.clone(), other: prefix });
            }
            prefix.push('/');
        }
        // Directories that a cut update or a removed ref left are empty and go; one with refs stays.
        let path = self.layout.reference(name);
        if path.is_dir() && !self.clear_directories(&path)? {
            return Err(StoreError::RefInTheWay { name: name.clone(), other: format!("{name}/…") });
        }
        Ok(())
    }

    /// Removes a directory that holds nothing but empty directories, and tells whether it did.
    fn clear_directories(&self, path: &Path) -> Result<bool> {
        let mut found = vec![path.to_owned()];
        let mut next = 0;
        while let Some(directory) = found.get(next).cloned() {
            for name in crate::base::fs::list(&directory)? {
                let below = directory.join(name);
                if !below.is_dir() {
                    return Ok(false);
                }
                found.push(below);
            }
            next += 1;
        }
        for directory in found.iter().rev() {
            self.media.remove_directory(directory)?;
        }
        Ok(true)
    }

    fn make_moves(&self, journal: Journal) -> Result<()> {
        // Packs that another process published but did not yet make durable count as ours from here on.
        self.media.sync_directory(&self.layout.packs())?;
        if let [(name, state)] = &journal.moves[..]
            && !state.removed
            && !self.is_shared()
        {
            return self.make_move(name, &journal.entry(state));
        }
        let path = self.layout.journals().join(publish::unique());
        match self.decide_by_journal(&path, &journal) {
            // Who removes refs is about to free room.
            Err(error) if error.is_full() && journal.moves.iter().all(|(_, state)| state.removed) => {
                self.give_reserve();
                self.decide_by_journal(&path, &journal)
            }
            done => done,
        }
    }

    fn decide_by_journal(&self, path: &Path, journal: &Journal) -> Result<()> {
        self.publish_file(path, journal.encode().as_bytes())?;
        self.finish(path, journal)
    }

    /// Finishes what was decided. Doing it again changes nothing. Of many refs several are moved at once, in any order:
    /// each has files of its own, and until all are durable the journal stays.
    fn finish(&self, path: &Path, journal: &Journal) -> Result<()> {
        let finish = |(name, state): &(RefName, RefState)| self.finish_move(name, state, journal);
        match journal.moves.len() < MANY {
            true => journal.moves.iter().try_for_each(finish)?,
            false => Workers::new(SYNCS_AT_ONCE).for_each(journal.moves.iter(), finish)?,
        }
        self.media.remove_file(path)?;
        Ok(self.media.sync_directory(&self.layout.journals())?)
    }

    fn finish_move(&self, name: &RefName, state: &RefState, journal: &Journal) -> Result<()> {
        let entry = journal.entry(state);
        let found = self.read_ref_file(name)?;
        let is_older = found.is_some_and(|found| found.generation < state.value.generation);
        if state.removed {
            self.make_removal(name, &entry, is_older)
        } else if is_older || (found.is_none() && self.last_generation(name)? < state.value.generation) {
            self.make_move(name, &entry)
        } else if found.is_some() {
            self.settle(name, &entry)
        } else {
            Ok(())
        }
    }

    fn make_move(&self, name: &RefName, entry: &LogEntry) -> Result<()> {
        let path = self.layout.reference(name);
        self.create_parents(&self.layout.refs(), &path)?;
        if entry.value.previous.is_none() {
            self.sync_way(&path)?;
        }
        self.publish_file(&path, entry.value.encode().as_bytes())?;
        self.append_reflog(name, entry)
    }

    /// Removes the file of a ref, where it is there, after the log has told of it.
    fn make_removal(&self, name: &RefName, entry: &LogEntry, is_there: bool) -> Result<()> {
        if self.last_generation(name)? < entry.value.generation {
            self.append_reflog(name, entry)?;
        } else if is_there {
            self.sync_reflog(name)?;
        }
        let path = self.layout.reference(name);
        if is_there {
            self.media.remove_file(&path)?;
        }
        let parent = path.parent().expect("because the path lies in the store");
        if parent.is_dir() {
            self.media.sync_directory(parent)?;
        }
        Ok(())
    }

    /// Makes a ref durable that leads where it should, but whose writer may have died before its sync.
    fn settle(&self, name: &RefName, entry: &LogEntry) -> Result<()> {
        if self.last_generation(name)? >= entry.value.generation {
            return Ok(());
        }
        self.media.sync_directory(&self.layout.packs())?;
        self.sync_way(&self.layout.reference(name))?;
        self.append_reflog(name, entry)
    }

    /// Makes every directory on the way to a ref durable, the store itself too: a process that died may
    /// have made them and not synced. Once for each ref, before its first value.
    fn sync_way(&self, path: &Path) -> Result<()> {
        let root = &*self.layout.root;
        let outside = root.parent().filter(|parent| !parent.as_os_str().is_empty());
        let inside = path.ancestors().skip(1).take_while(|above| above.starts_with(root));
        for directory in inside.chain([outside.unwrap_or(Path::new("."))]) {
            self.media.sync_directory(directory)?;
        }
        Ok(())
    }

    /// Gives bytes a name, durably, in place of what had it. The caller holds the lock.
    pub(super) fn publish_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.replace_file(path, bytes, 0o444)
    }

    /// The same, for a file with another mode.
    pub(super) fn replace_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let parent = path.parent().expect("because the path lies in the store");
        let temporary = self.layout.refs().join(format!("{TEMPORARY}{}", publish::unique()));
        let file = self.media.create_file(&temporary, mode)?;
        let done = self
            .media
            .write_at(&file, &temporary, 0, bytes)
            .and_then(|()| self.media.sync(&file, &temporary))
            .and_then(|()| self.media.rename(&temporary, path));
        if done.is_err() {
            let _ = self.media.remove_file(&temporary);
        }
        done?;
        Ok(self.media.sync_directory(parent)?)
    }

    fn clear_temporaries(&self) -> Result<()> {
        let refs = self.layout.refs();
        let names = crate::base::fs::list(&refs)?;
        for name in names.iter().filter(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())) {
            self.media.remove_file(&refs.join(name))?;
        }
        if self.is_shared() {
            super::lock::clear_claims(&self.media, &self.layout.refs_lock())?;
        }
        Ok(())
    }

    /// Creates the directories between `root` and a file, durably.
    pub(super) fn create_parents(&self, root: &Path, path: &Path) -> std::result::Result<(), FileError> {
        let mut missing: Vec<&Path> =
            path.ancestors().skip(1).take_while(|above| *above != root && !above.is_dir()).collect();
        missing.reverse();
        for directory in missing {
            self.media.create_directory(directory)?;
            self.media.sync_directory(directory.parent().expect("because it lies below the root"))?;
        }
        Ok(())
    }

    /// Brings to its end what a writer that died had decided, if nobody else is about to and the store can
    /// be written. Readers see it done either way.
    pub(super) fn finish_moves(&self) {
        if self.journals().is_ok_and(|journals| journals.is_empty()) {
            return;
        }
        if let Ok(Some(_alone)) = Lock::attempt(&self.media, &self.layout.refs_lock(), self.is_shared()) {
            let _ = self.roll_forward();
        }
    }

    /// Finishes every journal. The caller holds the lock.
    pub(super) fn roll_forward(&self) -> Result<()> {
        for path in self.journals()? {
            if let Some(journal) = journal::read(&path)? {
                self.finish(&path, &journal)?;
            }
        }
        Ok(())
    }
}

impl Weighed {
    /// Says what came of it.
    fn outcome(self) -> Option<RefChange> {
        let Weighed { name, found, next } = self;
        let removed = next.is_some_and(|next| next.removed);
        let value = next.map(|next| next.value).or(found)?;
        Some(RefChange { name, value, moved: next.is_some(), removed })
    }
}

fn refuse_collisions(moves: &[RefMove]) -> Result<()> {
    for (index, wanted) in moves.iter().enumerate() {
        if let Some(other) = moves[..index].iter().find(|other| other.name.collides(&wanted.name)) {
            let name = wanted.name.clone();
            return Err(match other.name == name {
                true => StoreError::RefTwice { name },
                false => StoreError::RefInTheWay { name, other: other.name.to_string() },
            });
        }
    }
    Ok(())
}

/// Fits a message onto one line of bounded length.
fn one_line(message: &str) -> String {
    let mut line = escaped(message.as_bytes());
    if line.len() > MESSAGE_BYTES_MAX {
        let fits = |cut: &usize| line.is_char_boundary(*cut);
        line.truncate((0..=MESSAGE_BYTES_MAX).rev().find(fits).unwrap_or(0));
        line.push('…');
    }
    line
}
