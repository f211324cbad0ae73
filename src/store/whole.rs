//! A pack read whole: its index against its name, all records of a bucket at once, what stands around frames.

use super::index::{Head, NAME_BYTES, PACK_MAGIC, Pack, Problem, Row};
use super::record::Record;
use super::trailer;
use crate::base::Digest;
use crate::tree::content::is_zero;

/// Bytes that are read at once where all of a file is.
const RUN_BYTES: u64 = 1 << 20;
/// Bytes between two records that are read along rather than passed over.
const GAP_BYTES: u64 = 4 << 10;

impl Pack {
    /// Holds the whole index against its name, a piece at a time.
    pub fn check_index(&self) -> Result<(), Problem> {
        let length = self.index_bytes()?;
        let body = length.saturating_sub(NAME_BYTES);
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; RUN_BYTES.min(body) as usize];
        let mut offset = 0;
        while offset < body {
            let part = &mut piece[..RUN_BYTES.min(body - offset) as usize];
            self.read_index(offset, part)?;
            hasher.update(part);
            offset += part.len() as u64;
        }
        let mut name = [0; NAME_BYTES as usize];
        self.read_index(body, &mut name[..(length - body) as usize])?;
        let found = Digest(*hasher.finalize().as_bytes());
        if found.0 != name || found != self.name {
            return Err(self.damaged(format!("its digest is {found}")));
        }
        Ok(())
    }

    /// Checks what stands before and behind the frames of the pack, which end at `frames_end`: its magic, and
    /// its trailer, where it has one.
    pub fn check_ends(&self, frames_end: u64) -> Result<(), Problem> {
        let (_, length) = self.extent()?;
        let mut magic = [0; PACK_MAGIC.len()];
        self.read(0, &mut magic)?;
        if magic != *PACK_MAGIC {
            return Err(self.damage(0, "it does not begin with the magic of a pack"));
        }
        let behind = length.saturating_sub(frames_end);
        if behind == 0 || self.trailer()?.is_some() {
            return Ok(());
        }
        // Packs end with room that was given back where the last object turned out to be there already.
        let mut piece = vec![0; RUN_BYTES.min(behind) as usize];
        let mut offset = frames_end;
        while offset < length {
            let part = &mut piece[..RUN_BYTES.min(length - offset) as usize];
            self.read(offset, part)?;
            if !is_zero(part) {
                return Err(self.damage(offset, "what stands behind its frames is no sound trailer"));
            }
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Returns the entries of the trailer as they are encoded, and where they begin; `None` where there is no
    /// sound one. Independent of the index.
    pub fn trailer(&self) -> Result<Option<(Vec<u8>, u64)>, Problem> {
        let length = self.file_bytes()?;
        let Some(foot_at) = length.checked_sub(trailer::FOOT_BYTES) else { return Ok(None) };
        let mut foot = [0; trailer::FOOT_BYTES as usize];
        self.read(foot_at, &mut foot)?;
        let Some((bytes, check)) = trailer::foot(&foot) else { return Ok(None) };
        let Some(start) = foot_at.checked_sub(bytes) else { return Ok(None) };
        let mut entries = vec![0; bytes as usize];
        self.read(start, &mut entries)?;
        Ok(trailer::fits(&entries, &check).then_some((entries, start)))
    }

    /// Returns all objects whose ids begin with a byte, with their records, in a few large reads. Nothing of
    /// it is remembered.
    pub fn entries(&self, first: u8) -> Result<Vec<(Digest, Result<Record, Problem>)>, Problem> {
        let head = self.head()?;
        let rows = self.read_bucket(first)?;
        let mut entries = Vec::with_capacity(rows.len());
        let mut rest = &rows[..];
        while let [row, ..] = rest {
            // Records lie in the order of their rows: as many as fit are read at once.
            let mut end = row.offset;
            let run = rest.iter().take_while(|row| {
                let next =
                    row.offset == end && self.bounds(head, row).is_ok() && end - rest[0].offset < RUN_BYTES;
                end += u64::from(row.length);
                next
            });
            let run = run.count();
            if run == 0 {
                let outside = self.bounds(head, row).and(Err(self.damaged("rows overlap".to_owned())));
                entries.push((row.id, outside));
                rest = &rest[1..];
                continue;
            }
            self.read_run(head, &rest[..run], &mut entries)?;
            rest = &rest[run..];
        }
        Ok(entries)
    }

    /// Reads the records of rows in the order of their places, those that lie near each other at once. One that
    /// can't be read is left out.
    pub fn records(&self, rows: &[Row], mut found: impl FnMut(usize, Record)) -> Result<(), Problem> {
        let head = self.head()?;
        let mut first = 0;
        while let Some(row) = rows.get(first) {
            let (start, mut end) = (row.offset, row.offset);
            let run = rows[first..].iter().take_while(|row| {
                let joins = self.bounds(head, row).is_ok()
                    && row.offset >= end
                    && row.offset - end <= GAP_BYTES
                    && row.offset + u64::from(row.length) - start <= RUN_BYTES;
                end = if joins { row.offset + u64::from(row.length) } else { end };
                joins
            });
            let run = first..first + run.count();
            let mut bytes = vec![0; (end - start) as usize];
            self.read_index(start, &mut bytes)?;
            for number in run.clone() {
                let row = &rows[number];
                let bytes = &bytes[(row.offset - start) as usize..][..row.length as usize];
                self.decode(head, row, bytes).into_iter().for_each(|record| found(number, record));
            }
            first = run.end.max(first + 1);
        }
        Ok(())
    }

    /// Reads the records of rows, which lie one behind the other.
    fn read_run(
        &self,
        head: &Head,
        rows: &[Row],
        entries: &mut Vec<(Digest, Result<Record, Problem>)>,
    ) -> Result<(), Problem> {
        let mut bytes = vec![0; rows.iter().map(|row| row.length as usize).sum()];
        self.read_index(rows[0].offset, &mut bytes)?;
        let mut left = &bytes[..];
        for row in rows {
            let (bytes, behind) = left.split_at(row.length as usize);
            entries.push((row.id, self.decode(head, row, bytes)));
            left = behind;
        }
        Ok(())
    }
}
