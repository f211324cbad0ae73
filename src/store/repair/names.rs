//! The format file, journals, refs and reflogs: small files, each made right from what stands beside it.

use std::path::Path;

use super::super::check::{Damage, Fault, read_log};
use super::super::error::Result;
use super::super::format;
use super::super::reflog::LogEntry;
use super::super::refs::RefName;
use super::super::store::Store;
use super::{CheckReport, RepairReport};
use crate::base::Job;

impl Store {
    /// Repairs the small files; returns what stays damaged.
    pub(super) fn repair_names(
        &self,
        report: &CheckReport,
        done: &mut RepairReport,
        job: &Job,
    ) -> Result<Vec<Fault>> {
        let concerns = |fault: &&Fault| {
            matches!(
                fault.damage,
                Damage::Format
                    | Damage::Generation
                    | Damage::Journal { .. }
                    | Damage::Ref { .. }
                    | Damage::Log { .. }
            )
        };
        let faults: Vec<&Fault> = report.faults.iter().filter(concerns).collect();
        let mut stays = Vec::new();
        if faults.is_empty() {
            return Ok(stays);
        }
        let _alone = self.lock_refs(job)?;
        for fault in faults {
            let done_to_it = match &fault.damage {
                Damage::Format => self.repair_format(report)?,
                Damage::Generation => {
                    self.keep_copy(&self.layout.generation(), "gc-generation")?;
                    self.renew_generation()?;
                    Some("wrote the file \"gc-generation\" anew".to_owned())
                }
                Damage::Journal { name } => self.put_journal_aside(name)?,
                Damage::Ref { name } => self.restore_ref(name, &mut done.notes)?,
                Damage::Log { name, .. } => self.cut_log(name)?,
                _ => None,
            };
            match done_to_it {
                Some(sentence) => done.names.push(sentence),
                None => stays.push(fault.clone()),
            }
        }
        Ok(stays)
    }

    /// Writes the format file anew, unless what stands there may be that of another version: packs of ours
    /// must be there to tell whose store it is.
    fn repair_format(&self, report: &CheckReport) -> Result<Option<String>> {
        let damaged =
            report.faults.iter().filter(|fault| matches!(fault.damage, Damage::Index { .. })).count();
        let path = self.layout.format();
        let bytes = crate::base::fs::read(&path).unwrap_or_default();
        if format::is_well_formed(&bytes) || (report.packs > 0 && damaged as u64 >= report.packs) {
            return Ok(None);
        }
        self.keep_copy(&path, "format")?;
        let shared = bytes.windows(6).any(|window| window == b"shared");
        let text = format::text(shared || format::is_network(&self.layout.root));
        self.publish_file(&path, text.as_bytes())?;
        Ok(Some("wrote the file \"format\" anew".to_owned()))
    }

    fn put_journal_aside(&self, name: &str) -> Result<Option<String>> {
        self.quarantine_file(&self.layout.journals().join(name), &format!("journal.{name}"))?;
        self.media.sync_directory(&self.layout.quarantine())?;
        self.media.sync_directory(&self.layout.journals())?;
        Ok(Some(format!(
            "put journal {name} into quarantine: refs that were to move together are where their files say"
        )))
    }

    /// Gives a ref back what its reflog says last. Where that says nothing, the ref is lost and goes to quarantine:
    /// left where it is, it would keep all others from being listed, and garbage from being collected.
    fn restore_ref(&self, name: &RefName, notes: &mut Vec<String>) -> Result<Option<String>> {
        if self.read_ref_file(name).is_ok() {
            return Ok(Some(format!("ref {name} was written anew in the meantime")));
        }
        let entries = read_log(self, name)?.0;
        let path = self.layout.reference(name);
        let Some(last) = entries.iter().max_by_key(|entry| entry.value.generation) else {
            self.quarantine_ref(name, &path)?;
            notes.push(format!(
                "put ref {name} into quarantine: no reflog says where it led; what only it led to stays until the next \
                 `mkimage gc`"
            ));
            return Ok(None);
        };
        if last.removed {
            self.quarantine_ref(name, &path)?;
            return Ok(Some(format!("put ref {name} into quarantine: its reflog says that it was removed")));
        }
        self.keep_copy(&path, &format!("ref.{}", flat(name)))?;
        self.publish_file(&path, last.value.encode().as_bytes())?;
        let (commit, generation) = (last.value.commit, last.value.generation);
        Ok(Some(format!("restored ref {name} from its reflog: move {generation}, to {commit}")))
    }

    fn quarantine_ref(&self, name: &RefName, path: &Path) -> Result<()> {
        self.quarantine_file(path, &format!("ref.{}", flat(name)))?;
        self.media.sync_directory(&self.layout.quarantine())?;
        Ok(self.media.sync_directory(path.parent().expect("because the path lies in the store"))?)
    }

    /// Leaves the whole lines of a reflog and keeps a copy of what it was.
    fn cut_log(&self, name: &RefName) -> Result<Option<String>> {
        let Some(path) = self.find_reflog(name) else {
            return Ok(Some(format!("the reflog of {name} is gone")));
        };
        let Ok((_, lines)) = read_log(self, name) else { return Ok(None) };
        let mut text = Vec::new();
        for line in self.reflog_bytes(name)?.split(|&byte| byte == b'\n') {
            if std::str::from_utf8(line).ok().and_then(|line| LogEntry::decode(line, None)).is_some() {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        self.keep_copy(&path, &format!("reflog.{}", flat(name)))?;
        self.replace_file(&path, &text, 0o644)?;
        let cut = lines.damaged.len();
        Ok(Some(format!("cut {cut} damaged lines out of the reflog of {name}; a copy is in quarantine")))
    }
}

/// Returns the name of a ref as that of a file.
fn flat(name: &RefName) -> String {
    name.as_str().replace('/', "+")
}
