//! Moving refs: one writer at a time, with what each expects to find, all of a set or none.
//!
//! Refs that move together stand in `journal/UNIQUE` first. Once that file has its name, the moves are
//! decided: readers count them at once, and whoever writes next finishes what a dead process left.
//!
//! ```text
//! journal = message (escaped) CHECK \n, then for each ref: NAME, a space, and its new line as in `refs`
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{Result, StoreError};
use super::lock::Lock;
use super::refs::{RefChange, RefName, RefUpdate, RefValue, checked, with_check};
use super::store::Store;
use crate::base::path::escaped;
use crate::base::{FileError, Job, clock, publish};

const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// What files in `refs/` begin with until they have their name. They are made under the lock only: whoever
/// takes it may remove those that a dead process left.
const TEMPORARY: &str = ".tmp-";

struct Journal {
    message: String,
    moves: Vec<(RefName, RefValue)>,
}

impl Store {
    /// Moves refs as a whole. The packs that they lead into must be published.
    pub(super) fn move_refs(
        &self,
        job: &Job,
        updates: &[RefUpdate],
        message: &str,
    ) -> Result<Vec<RefChange>> {
        if let Some(unmoved) = self.all_there(updates)? {
            return Ok(unmoved);
        }
        for (index, update) in updates.iter().enumerate() {
            if let Some(other) = updates[..index].iter().find(|other| other.name.collides(&update.name)) {
                let (name, other) = (update.name.clone(), other.name.to_string());
                return Err(StoreError::RefInTheWay { name, other });
            }
        }
        self.prepare()?;
        let _alone = Lock::wait(&self.media, &self.layout.refs_lock(), job)?;
        self.clear_temporaries()?;
        self.roll_forward()?;
        let changes = updates.iter().map(|update| self.change(update)).collect::<Result<Vec<RefChange>>>()?;
        for unmoved in changes.iter().filter(|change| !change.moved) {
            self.settle(&unmoved.name, &unmoved.value, &escaped(message.as_bytes()))?;
        }
        let moves: Vec<_> = changes.iter().filter(|c| c.moved).map(|c| (c.name.clone(), c.value)).collect();
        if !moves.is_empty() {
            self.make_moves(Journal { message: escaped(message.as_bytes()), moves })?;
        }
        Ok(changes)
    }

    /// Returns the refs where none has to move: that costs no lock and no write. A line in the reflog says
    /// that the move was durable before: its writer synced the ref first.
    fn all_there(&self, updates: &[RefUpdate]) -> Result<Option<Vec<RefChange>>> {
        let mut unmoved = Vec::new();
        for update in updates {
            match self.read_ref(&update.name)? {
                Some(value)
                    if value.commit == update.new && self.last_logged(&update.name)? >= value.generation =>
                {
                    unmoved.push(RefChange { name: update.name.clone(), value, moved: false })
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(unmoved))
    }

    fn change(&self, update: &RefUpdate) -> Result<RefChange> {
        let name = update.name.clone();
        let found = self.read_ref_file(&name)?;
        if let Some(value) = found.filter(|value| value.commit == update.new) {
            return Ok(RefChange { name, value, moved: false });
        }
        if !update.expected.allows(found.as_ref()) {
            return Err(StoreError::Moved { name, expected: update.expected, found: found.map(Box::new) });
        }
        self.clear_way(&name)?;
        if let Some(found) = &found {
            // A writer that died before its line: without it the log would miss a move from now on.
            self.settle(&name, found, "")?;
        }
        let value = RefValue {
            generation: found.map_or(1, |value| value.generation + 1),
            commit: update.new,
            previous: found.map(|value| value.commit),
            seconds: clock::unix_seconds(),
        };
        Ok(RefChange { name, value, moved: true })
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
        for path in [self.layout.reference(name), self.layout.reflog(name)] {
            // A directory that a cut update left is empty and goes; one with refs stays.
            if path.is_dir() && self.media.remove_directory(&path).is_err() {
                return Err(StoreError::RefInTheWay { name: name.clone(), other: format!("{name}/…") });
            }
        }
        Ok(())
    }

    fn make_moves(&self, journal: Journal) -> Result<()> {
        // Packs that another process published but did not yet make durable count as ours from here on.
        self.media.sync_directory(&self.layout.packs())?;
        if let [(name, value)] = &journal.moves[..] {
            return self.make_move(name, value, &journal.message);
        }
        let path = self.layout.journals().join(publish::unique());
        self.publish_file(&path, journal.encode().as_bytes())?;
        self.finish(&path, &journal)
    }

    /// Finishes what was decided. Doing it again changes nothing.
    fn finish(&self, path: &Path, journal: &Journal) -> Result<()> {
        for (name, value) in &journal.moves {
            if self.read_ref_file(name)?.is_none_or(|found| found.generation < value.generation) {
                self.make_move(name, value, &journal.message)?;
            } else {
                self.settle(name, value, &journal.message)?;
            }
        }
        self.media.remove_file(path)?;
        Ok(self.media.sync_directory(&self.layout.journals())?)
    }

    fn make_move(&self, name: &RefName, value: &RefValue, message: &str) -> Result<()> {
        let path = self.layout.reference(name);
        self.create_parents(&self.layout.refs(), &path)?;
        if value.generation == 1 {
            self.sync_way(&path)?;
        }
        self.publish_file(&path, value.encode().as_bytes())?;
        self.append_reflog(name, value, message)
    }

    /// Makes a ref durable that leads where it should, but whose writer may have died before its sync.
    fn settle(&self, name: &RefName, value: &RefValue, message: &str) -> Result<()> {
        if self.last_logged(name)? >= value.generation {
            return Ok(());
        }
        self.media.sync_directory(&self.layout.packs())?;
        self.sync_way(&self.layout.reference(name))?;
        self.append_reflog(name, value, message)
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
    fn publish_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let parent = path.parent().expect("because the path lies in the store");
        let temporary = self.layout.refs().join(format!("{TEMPORARY}{}", publish::unique()));
        let file = self.media.create_file(&temporary, 0o444)?;
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
        if let Ok(Some(_alone)) = Lock::attempt(&self.media, &self.layout.refs_lock()) {
            let _ = self.roll_forward();
        }
    }

    /// Finishes every journal. The caller holds the lock.
    fn roll_forward(&self) -> Result<()> {
        for path in self.journals()? {
            if let Some(journal) = read_journal(&path)? {
                self.finish(&path, &journal)?;
            }
        }
        Ok(())
    }

    /// Returns the moves that are decided but may not be in the refs' files yet.
    pub(super) fn decided(&self) -> Result<BTreeMap<RefName, RefValue>> {
        let mut decided = BTreeMap::<RefName, RefValue>::new();
        for path in self.journals()? {
            for (name, value) in read_journal(&path)?.into_iter().flat_map(|journal| journal.moves) {
                if decided.get(&name).is_none_or(|found| found.generation < value.generation) {
                    decided.insert(name, value);
                }
            }
        }
        Ok(decided)
    }

    fn journals(&self) -> Result<Vec<std::path::PathBuf>> {
        let names = match crate::base::fs::list(&self.layout.journals()) {
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            names => names?,
        };
        let named = names.into_iter().filter(|name| !name.as_encoded_bytes().starts_with(b"."));
        Ok(named.map(|name| self.layout.journals().join(name)).collect())
    }
}

impl Journal {
    fn encode(&self) -> String {
        let mut text = with_check(format!("{} ", self.message));
        for (name, value) in &self.moves {
            text.push_str(&format!("{name} {}", value.encode()));
        }
        text
    }

    fn decode(text: &str) -> std::result::Result<Self, String> {
        let mut lines = text.lines();
        let message = checked(lines.next().unwrap_or(""))?.trim_end().to_owned();
        let moves = lines.map(|line| {
            let (name, value) = line.split_once(' ').ok_or("a line without a space")?;
            Ok((RefName::new(name).map_err(|error| error.to_string())?, RefValue::decode(value)?))
        });
        Ok(Journal { message, moves: moves.collect::<std::result::Result<_, String>>()? })
    }
}

/// Reads a journal; `None` for one that was finished and removed in the meantime.
fn read_journal(path: &Path) -> Result<Option<Journal>> {
    let bytes = match crate::base::fs::read_at_most(path, JOURNAL_BYTES_MAX) {
        Err(error) if error.is_missing() => return Ok(None),
        bytes => bytes?,
    };
    let journal = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
    let journal = journal.and_then(|text| Journal::decode(&text));
    journal.map(Some).map_err(|problem| StoreError::DamagedRef { path: path.to_owned(), problem })
}
