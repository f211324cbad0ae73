//! Everything in a store but its packs: the format file, refs, reflogs, journals, memos, and files that
//! nobody knows.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::error::{Result, StoreError};
use super::super::format::{self, Access};
use super::super::journal;
use super::super::lock;
use super::super::reflog::LogEntry;
use super::super::refs::RefName;
use super::super::store::Store;
use super::blame::Roots;
use super::report::{Damage, Fault};
use crate::base::job::Unit;
use crate::base::{CommitId, Digest, FileError, Job, StepKey, whole};

/// What was found.
#[derive(Default)]
pub struct Names {
    pub roots: Roots,
    pub faults: Vec<Fault>,
    pub notes: Vec<String>,
}

/// What may stand in a store's directory.
const KNOWN: [&str; 15] = [
    "format",
    "packs",
    "refs",
    "reflog",
    "journal",
    "memo",
    "tmp",
    "state",
    "quarantine",
    "leases",
    "trash",
    "remotes",
    "gc.lock",
    "gc.lockfile",
    "gc-generation",
];

/// Looks at all of it.
pub fn look(store: &Store, job: &Job) -> Result<Names> {
    let mut names = Names::default();
    names.look_at_format(store)?;
    names.look_at_generation(store)?;
    names.look_at_journals(store)?;
    names.look_at_refs(store)?;
    names.look_at_reflogs(store)?;
    names.look_at_memos(store, job)?;
    names.look_for_strays(store)?;
    Ok(names)
}

impl Names {
    fn look_at_format(&mut self, store: &Store) -> Result<()> {
        match format::access(&store.layout) {
            Err(error @ StoreError::Format { .. }) => {
                self.faults.push(Fault::new(Damage::Format, error.to_string()));
            }
            Err(StoreError::File(error)) if is_damage(&error) => {
                self.faults.push(Fault::new(Damage::Format, whole(&error)));
            }
            Err(error) => return Err(error),
            Ok(Access::Absent) if !files(&store.layout.packs())?.is_empty() => {
                self.faults.push(Fault::new(Damage::Format, "it is missing"));
            }
            Ok(Access::ReadOnly(found)) => {
                self.notes.push(format!(
                    "the store asks of its writers {found:?}, which this mkimage does not know"
                ));
            }
            Ok(_) => {}
        }
        Ok(())
    }

    fn look_at_generation(&mut self, store: &Store) -> Result<()> {
        if let Err(error) = store.generation() {
            self.faults.push(Fault::new(Damage::Generation, damage(error)?));
        }
        Ok(())
    }

    fn look_at_journals(&mut self, store: &Store) -> Result<()> {
        for path in store.journals()? {
            match journal::read(&path) {
                Ok(journal) => {
                    let moves = journal.into_iter().flat_map(|journal| journal.moves);
                    let moves = moves.filter_map(|(name, state)| Some((name, state.there()?)));
                    self.roots.tips.extend(moves.map(|(name, value)| (name, value.commit)));
                }
                Err(error) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    self.faults.push(Fault::new(Damage::Journal { name }, damage(error)?));
                }
            }
        }
        Ok(())
    }

    fn look_at_refs(&mut self, store: &Store) -> Result<()> {
        for name in self.list(&store.layout.refs())? {
            match store.read_ref_file(&name) {
                Ok(Some(value)) => self.roots.tips.push((name, value.commit)),
                Ok(None) => {}
                Err(error) => {
                    let problem = damage(error)?;
                    // What hangs on it is not given up: its log says where it led.
                    let last = read_log(store, &name)?.0.pop().filter(|entry| !entry.removed);
                    self.roots.tips.extend(last.map(|entry| (name.clone(), entry.value.commit)));
                    self.faults.push(Fault::new(Damage::Ref { name }, problem));
                }
            }
        }
        Ok(())
    }

    fn look_at_reflogs(&mut self, store: &Store) -> Result<()> {
        for name in store.logged_refs()? {
            let (entries, lines) = match read_log(store, &name) {
                Ok(read) => read,
                Err(error) => {
                    let log = Damage::Log { name, lines: Vec::new() };
                    self.faults.push(Fault::new(log, damage(error)?));
                    continue;
                }
            };
            let mut past: Vec<CommitId> = entries.iter().map(|entry| entry.value.commit).collect();
            past.sort_unstable();
            past.dedup();
            self.roots.past.extend(past.into_iter().map(|commit| (name.clone(), commit)));
            if lines.torn > 0 {
                self.notes
                    .push(format!("the reflog of {name} has {}, which readers pass over", lines.torn_text()));
            }
            if !lines.damaged.is_empty() {
                let problem = format!("line {} has a wrong checksum", lines.damaged[0]);
                self.faults.push(Fault::new(Damage::Log { name, lines: lines.damaged }, problem));
            }
        }
        Ok(())
    }

    fn look_at_memos(&mut self, store: &Store, job: &Job) -> Result<()> {
        let folder = store.layout.root.join("memo");
        let shards: Vec<_> = files(&folder)?.into_iter().map(|name| folder.join(name)).collect();
        let _step = job.step("check the memos", Some(shards.len() as u64), Unit::Items);
        let torn = job.workers.map(shards, |shard| -> Result<u64> {
            job.check()?;
            let keys = files(&shard)?.into_iter().filter_map(|name| name.to_str()?.parse::<Digest>().ok());
            Ok(keys.filter(|key| store.memo_get(&StepKey(*key)).is_none()).count() as u64)
        });
        let torn = torn.into_iter().sum::<Result<u64>>()?;
        if torn > 0 {
            self.notes.push(format!(
                "{torn} memos are torn or rotten and count as none: their steps are run again"
            ));
        }
        Ok(())
    }

    fn look_for_strays(&mut self, store: &Store) -> Result<()> {
        let mut strays = Vec::new();
        for name in files(&store.layout.root)? {
            let name = name.to_string_lossy();
            if !KNOWN.contains(&&*name) && !name.starts_with(".format.") && !name.starts_with(lock::CLAIM) {
                strays.push(name.into_owned());
            }
        }
        let names = files(&store.layout.packs())?;
        let with = |suffix: &str| -> BTreeSet<Digest> {
            names.iter().filter_map(|name| name.to_str()?.strip_suffix(suffix)?.parse().ok()).collect()
        };
        let (packs, indexes) = (with(".pack"), with(".idx"));
        let known = packs.len() + indexes.len();
        if known < names.len() {
            strays.push(format!("{} files in packs/", names.len() - known));
        }
        for pack in packs.difference(&indexes) {
            self.notes.push(format!("pack {pack} has no index, so that nobody reads it: a writer was stopped, or the index was lost"));
        }
        for pack in indexes.difference(&packs) {
            self.notes.push(format!("index {pack} has no pack"));
        }
        for stray in strays {
            self.notes.push(format!("not part of a store: {stray}"));
        }
        let kept = files(&store.layout.quarantine())?.len();
        if kept > 0 {
            self.notes.push(format!(
                "quarantine/, which nobody reads, is not empty (files: {kept}); remove it when you need it no more"
            ));
        }
        Ok(())
    }

    /// Lists the names of refs; other files are noted.
    fn list(&mut self, root: &Path) -> Result<Vec<RefName>> {
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(prefix) = waiting.pop() {
            for name in files(&root.join(&prefix))? {
                let name = name.to_string_lossy();
                if name.starts_with('.') && prefix.is_empty() {
                    continue;
                }
                let path = format!("{prefix}{name}");
                match RefName::new(&path) {
                    Ok(_) if root.join(&path).is_dir() => waiting.push(format!("{path}/")),
                    Ok(name) => found.push(name),
                    Err(_) => self.notes.push(format!("not part of a store: refs/{path}")),
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Lines of a reflog that are no moves.
#[derive(Default)]
pub struct Lines {
    /// Lines that a power cut tore: no reader minds them.
    pub torn: u64,
    /// Numbers of lines that are whole and have a wrong checksum, from 1.
    pub damaged: Vec<u64>,
}

impl Lines {
    fn torn_text(&self) -> String {
        if self.torn == 1 { "a torn line".to_owned() } else { format!("{} torn lines", self.torn) }
    }
}

/// Reads a reflog, oldest first, with what is wrong in it.
pub fn read_log(store: &Store, name: &RefName) -> Result<(Vec<LogEntry>, Lines)> {
    let bytes = store.reflog_bytes(name)?;
    let mut entries = Vec::new();
    let mut lines = Lines::default();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        match std::str::from_utf8(line).ok().and_then(|line| LogEntry::decode(line, None)) {
            Some(entry) => entries.push(entry),
            None if line.is_empty() => {}
            None if is_torn(line) => lines.torn += 1,
            None => lines.damaged.push(number),
        }
    }
    Ok((entries, lines))
}

/// Tells whether a line looks as a power cut leaves one: its end is missing, or no byte of it was written.
fn is_torn(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let last = words.last().map_or(0, |word| word.len());
    line.contains(&0) || words.len() < 7 || (last < CHECK_DIGITS && !ends_with_damaged_check(line))
}

/// How long the checksum at the end of a line is.
const CHECK_DIGITS: usize = 64;

/// Tells whether a line has its whole checksum, with one digit changed into something else: as a space, it makes
/// two words of one. (As the first digit it can't be told from a line of which the last digit is missing.)
fn ends_with_damaged_check(line: &[u8]) -> bool {
    let Some((body, check)) = line.split_last_chunk::<CHECK_DIGITS>() else { return false };
    let others = check.iter().filter(|digit| !digit.is_ascii_hexdigit()).count();
    body.ends_with(b" ") && check[0].is_ascii_hexdigit() && others == 1
}

/// Lists a directory; one that is not there is empty. What an NFS client keeps open goes by itself.
fn files(path: &Path) -> Result<Vec<std::ffi::OsString>> {
    match crate::base::fs::list(path) {
        Err(error) if error.is_missing() || error.source.kind() == std::io::ErrorKind::NotADirectory => {
            Ok(Vec::new())
        }
        names => Ok(names?.into_iter().filter(|name| !format::is_noise(name)).collect()),
    }
}

/// Says what is damaged; an error that is no damage stops the check.
fn damage(error: StoreError) -> Result<String> {
    match error {
        StoreError::DamagedRef { problem, .. } => Ok(problem),
        StoreError::File(error) if is_damage(&error) => Ok(whole(&error)),
        other => Err(other),
    }
}

fn is_damage(error: &FileError) -> bool {
    error.source.kind() == std::io::ErrorKind::FileTooLarge
        || error.source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
