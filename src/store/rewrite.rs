//! New packs out of old ones: frames are copied as they are, or stay where they are under a thinner index.
//!
//! Nothing is decompressed. Each frame is held against its digest before it is copied: damage does not spread.
//! Memory is some 150 bytes an object; the bytes of objects pass through.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use super::error::{Result, StoreError};
use super::gc::Member;
use super::index::{self, PACK_MAGIC, Pack, Problem, Row};
use super::objects;
use super::record::Record;
use super::staging::{Staging, is_taken, make_other};
use super::store::Store;
use super::trailer;
use crate::base::{Digest, FileError, Job};

/// A pack that is durable and lacks nothing but its name. Dropped, it goes.
pub(super) struct Ready {
    staging: Staging,
    name: Digest,
    /// The pack that this one shares its bytes with.
    shares: Option<PathBuf>,
}

/// An object that is copied.
struct Item {
    member: Member,
    /// Where its first frame lies in the old pack; then, where it goes in the new one.
    at: u64,
    /// Bytes of its frames.
    stored: u64,
}

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes, and objects, that a worker takes at a time.
const SHARE_BYTES: u64 = 4 << 20;
const SHARE: usize = 1024;

/// Copies members of packs into one new pack, in the order in which they lie. They come ascending by id; what
/// several packs hold is copied once. `time` is what the new pack's age counts from.
pub(super) fn copy(
    store: &Store,
    packs: &[Arc<Pack>],
    mut members: Vec<Member>,
    time: SystemTime,
    job: &Job,
) -> Result<Ready> {
    members.dedup_by_key(|member| member.id);
    let staging = Staging::begin(store, store.freshen(), job)?;
    let mut items = locate(packs, members, job)?;
    items.sort_unstable_by_key(|item| (item.member.pack, item.at));
    let mut end = PACK_MAGIC.len() as u64;
    for item in &mut items {
        item.at = end;
        end += item.stored;
    }
    job.workers.for_each(shares(&items).into_iter(), |share| copy_share(packs, share, &staging, job))?;
    let mut trailer = trailer::Builder::default();
    for item in &items {
        trailer.push(&moved(read(packs, &item.member)?, item.at));
    }
    items.sort_unstable_by_key(|item| item.member.id);
    let rows: Vec<(Digest, u32)> = items.iter().map(|item| (item.member.id, item.member.length)).collect();
    let mut behind = trailer.finish();
    loop {
        staging.write(end, &behind)?;
        staging.sync_pack()?;
        let name = write_index(store, &staging, &rows, staging.pack_bytes()?, time, |position, out| {
            let item = &items[position];
            let record = moved(read(packs, &item.member)?, item.at);
            out.extend_from_slice(&record.encode(&item.member.id));
            job.check().map_err(StoreError::from)
        })?;
        if !is_taken(&store.layout, &name) {
            return Ok(Ready { staging, name, shares: None });
        }
        store.media.remove_file(&staging.index_path())?;
        make_other(&mut behind);
    }
}

/// Gives members of one pack an index of their own over the same bytes, by a second name for these. Where the
/// file system gives none, or other bytes have that name, the members are copied.
pub(super) fn thin(
    store: &Store,
    packs: &[Arc<Pack>],
    members: Vec<Member>,
    time: SystemTime,
    job: &Job,
) -> Result<Ready> {
    let pack = &packs[members[0].pack as usize];
    let bytes = pack.bytes().map_err(|problem| problem.of(&pack.name))?;
    let staging = Staging::begin(store, store.freshen(), job)?;
    let rows: Vec<(Digest, u32)> = members.iter().map(|member| (member.id, member.length)).collect();
    let name = write_index(store, &staging, &rows, bytes, time, |position, out| {
        let member = &members[position];
        out.extend_from_slice(&read(packs, member)?.encode(&member.id));
        job.check().map_err(StoreError::from)
    })?;
    let path = pack.paths().0;
    if is_taken(&store.layout, &name) && !is_done(store, path, &name) {
        return copy(store, packs, members, time, job);
    }
    match store.media.link(path, &store.layout.pack(&name)) {
        Ok(_) => Ok(Ready { staging, name, shares: Some(path.to_owned()) }),
        Err(error) if is_refused(&error) => copy(store, packs, members, time, job),
        Err(error) => Err(error.into()),
    }
}

impl Ready {
    /// Gives the pack its name, durably, in a store where all that it leads to is there. Returns the name.
    pub fn publish(self, store: &Store) -> Result<Digest> {
        match self.shares {
            // The pack has its name already.
            Some(_) => self.staging.name_index(&store.layout, &self.name)?,
            None => self.staging.name(&store.layout, &self.name)?,
        }
        store.media.sync_directory(&store.layout.packs())?;
        Ok(self.name)
    }
}

/// Returns the time of the youngest of some packs.
pub(super) fn newest<'a>(packs: impl Iterator<Item = &'a Arc<Pack>>) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for pack in packs {
        let path = pack.paths().1;
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        newest = newest.max(modified.map_err(FileError::at("look at", path))?);
    }
    Ok(newest)
}

/// Learns where the frames of objects lie and how long they are.
fn locate(packs: &[Arc<Pack>], members: Vec<Member>, job: &Job) -> Result<Vec<Item>> {
    let items = Mutex::new(Vec::with_capacity(members.len()));
    job.workers.for_each(members.chunks(SHARE), |share| {
        job.check()?;
        let located = share.iter().map(|member| {
            let record = read(packs, member)?;
            let at = record.chunks.first().map_or(0, |chunk| chunk.offset);
            Ok(Item { member: *member, at, stored: record.stored_bytes() })
        });
        let located = located.collect::<Result<Vec<Item>>>()?;
        items.lock().expect("because nothing panics while it adds items").extend(located);
        Ok::<_, StoreError>(())
    })?;
    Ok(items.into_inner().expect("because nothing panics while it adds items"))
}

/// Parts items that follow each other into shares of a few mebibytes.
fn shares(items: &[Item]) -> Vec<&[Item]> {
    let mut shares = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, item) in items.iter().enumerate() {
        bytes += item.stored;
        if bytes >= SHARE_BYTES || index + 1 - start >= SHARE {
            shares.push(&items[start..=index]);
            (start, bytes) = (index + 1, 0);
        }
    }
    shares.push(&items[start..]);
    shares
}

fn copy_share(packs: &[Arc<Pack>], share: &[Item], staging: &Staging, job: &Job) -> Result<()> {
    let Some(first) = share.first() else { return Ok(()) };
    let (mut at, mut part, mut frame) = (first.at, Vec::new(), Vec::new());
    for item in share {
        job.check()?;
        let pack = &packs[item.member.pack as usize];
        for chunk in &read(packs, &item.member)?.chunks {
            objects::read_frame(&**pack, chunk, &mut frame).map_err(|problem| problem.of(&item.member.id))?;
            part.extend_from_slice(&frame);
            if part.len() >= WRITE_BYTES {
                staging.write(at, &part)?;
                at += part.len() as u64;
                part.clear();
            }
        }
    }
    if !part.is_empty() {
        staging.write(at, &part)?;
    }
    Ok(())
}

/// Says that the frames of an object follow each other from an offset on.
fn moved(mut record: Record, mut at: u64) -> Record {
    for chunk in &mut record.chunks {
        chunk.offset = at;
        at += u64::from(chunk.length);
    }
    record
}

fn read(packs: &[Arc<Pack>], member: &Member) -> Result<Record> {
    let row = Row { id: member.id, offset: member.offset, length: member.length };
    let record = packs[member.pack as usize].record_of(&row);
    record.map_err(|problem: Problem| problem.of(&member.id).into())
}

/// Tells whether a name is the second one of a pack's bytes already: an earlier run was stopped after that.
fn is_done(store: &Store, path: &Path, name: &Digest) -> bool {
    let inode = |path: &Path| path.symlink_metadata().map(|found| (found.dev(), found.ino())).ok();
    let is_whole = || store.packs.at(name).check_index().is_ok();
    inode(path).is_some_and(|own| inode(&store.layout.pack(name)) == Some(own))
        && (!store.layout.index(name).exists() || is_whole())
}

/// Writes and syncs the index of a pack, and sets the time that its age counts from.
fn write_index(
    store: &Store,
    staging: &Staging,
    rows: &[(Digest, u32)],
    pack_bytes: u64,
    time: SystemTime,
    record: impl FnMut(usize, &mut Vec<u8>) -> Result<()>,
) -> Result<Digest> {
    let path = staging.index_path();
    let file = store.media.create_file(&path, 0o444)?;
    let mut end = 0;
    let name = index::write(rows, pack_bytes, record, |part| {
        store.media.write_at(&file, &path, end, part)?;
        end += part.len() as u64;
        Ok(())
    })?;
    store.media.set_modified(&file, &path, time)?;
    store.media.sync(&file, &path)?;
    Ok(name)
}

/// Tells whether the file system gives files no second names.
pub(super) fn is_refused(error: &FileError) -> bool {
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    let kind = error.source.kind();
    matches!(kind, CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}
