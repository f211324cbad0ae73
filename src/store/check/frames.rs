//! Every frame of every pack: read from front to back in large pieces, each held against its digest,
//! decompressed, and held against its object's id.
//!
//! Both hashes are needed: readers go by the frame's digest, and an id says what the bytes should be. Plain
//! frames of files have one digest for both. Memory: a few mebibytes a worker, and 100 bytes for each of at
//! most [`SLICE_OBJECTS`] objects at a time, however many there are.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::Mutex;

use super::super::chunk::{self, CHUNK_BYTES, Chunk};
use super::super::commit::Commit;
use super::super::directory::{DIRECTORY_BYTES_MAX, StoredDirectory, TreeRef};
use super::super::error::{Kind, Result, StoreError};
use super::super::index::{PACK_MAGIC, Pack, Problem};
use super::super::packs::read_range;
use super::super::record::Record;
use super::super::store::Store;
use super::report::Bad;
use crate::base::job::{Step, Unit};
use crate::base::{BlobId, Digest, FileError, Job};
use crate::tree::DataMap;
use crate::tree::content::is_zero;

/// What reading the packs brought.
#[derive(Default)]
pub struct Survey {
    pub packs: u64,
    pub objects: u64,
    /// Plain bytes of the objects.
    pub bytes: u64,
    /// Copies of objects that are damaged.
    pub bad: Vec<Bad>,
    /// Packs whose index is damaged, and why.
    pub indexes: Vec<(Digest, String)>,
    /// Packs with damage outside of their frames, and why.
    pub packs_damaged: Vec<(Digest, String)>,
}

/// Most objects whose places are in memory at a time.
const SLICE_OBJECTS: u64 = 1 << 18;
/// Bytes of a pack that are read at once: few calls, and what was read is still in the core's cache when it is
/// decompressed.
const WINDOW_BYTES: u64 = 1 << 18;
/// Bytes between two frames that are read along rather than passed over.
const GAP_BYTES: u64 = 16 << 10;

/// A copy that has one chunk and no zero block, as nearly all have.
struct Item {
    offset: u64,
    size: u64,
    id: Digest,
    frame: Digest,
    length: u32,
    raw: bool,
    kind: Kind,
}

/// What a worker takes at a time.
enum Piece {
    Window(Arc<Pack>, Vec<Item>),
    Whole(Arc<Pack>, Digest, Record),
}

/// The part of a pack's objects that is loaded at once: buckets of its index, offsets of its frames.
struct Part {
    pack: Arc<Pack>,
    buckets: std::ops::Range<u16>,
    offsets: std::ops::Range<u64>,
}

#[derive(Default)]
struct Loaded {
    items: Vec<Item>,
    whole: Vec<(Digest, Record)>,
    bad: Vec<Bad>,
    frames_end: u64,
    objects: u64,
    index: Option<String>,
}

/// Reads all packs. With `frames` off, only their indexes and ends.
pub fn survey(store: &Store, frames: bool, job: &Job) -> Result<Survey> {
    let packs = store.packs.all()?;
    let mut survey = Survey { packs: packs.len() as u64, ..Survey::default() };
    let sound = check_indexes(&packs, &mut survey, job)?;
    let total = sound.iter().map(|(_, objects, bytes)| if frames { *bytes } else { *objects }).sum();
    let step = job.step("check the objects", Some(total), if frames { Unit::Bytes } else { Unit::Items });
    let mut ends = HashMap::<Digest, u64>::new();
    let mut gone = HashSet::<Digest>::new();
    for batch in batches(&sound) {
        job.check()?;
        let packs: Vec<Arc<Pack>> = batch.iter().map(|part| part.pack.clone()).collect();
        let loaded = job.workers.map(batch, |part| load(&part));
        let mut pieces = Vec::new();
        for (pack, loaded) in packs.into_iter().zip(loaded) {
            let loaded = match loaded {
                Err(Problem::File(error)) if error.is_missing() => {
                    gone.insert(pack.name);
                    continue;
                }
                Err(Problem::File(error)) if !is_rot(&error) => return Err(error.into()),
                Err(problem) => {
                    flag(&mut survey.indexes, pack.name, problem.of(&pack.name).to_string());
                    continue;
                }
                Ok(loaded) => loaded,
            };
            survey.objects += loaded.objects;
            survey.bad.extend(loaded.bad);
            if let Some(problem) = loaded.index {
                flag(&mut survey.indexes, pack.name, problem);
            }
            let end = ends.entry(pack.name).or_insert(PACK_MAGIC.len() as u64);
            *end = loaded.frames_end.max(*end);
            match frames {
                true => plan(pack, loaded.items, loaded.whole, &mut pieces),
                false => {
                    step.advance(loaded.objects);
                    survey.bytes += loaded.items.iter().map(|item| item.size).sum::<u64>();
                    survey.bytes += loaded.whole.iter().map(|(_, record)| record.size).sum::<u64>();
                }
            }
        }
        read(pieces, &mut survey, &step, job)?;
    }
    // Of a pack that was taken away while its index was read, nobody knows where the frames end.
    ends.retain(|pack, _| !gone.contains(pack));
    check_ends(&sound, &ends, &mut survey)?;
    survey.bad.sort_by_key(|bad| (bad.pack, bad.offset, bad.id));
    Ok(survey)
}

/// Enters the first problem of a pack.
fn flag(list: &mut Vec<(Digest, String)>, pack: Digest, problem: String) {
    if !list.iter().any(|(name, _)| *name == pack) {
        list.push((pack, problem));
    }
}

/// Tells whether the medium gave no bytes: what stood there is lost, the rest can be read.
fn is_rot(error: &FileError) -> bool {
    error.source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

/// Holds each index against its name. Returns the packs whose heads can be read, with their number of
/// objects and length; one that a collector took away in the meantime is left out.
fn check_indexes(packs: &[Arc<Pack>], survey: &mut Survey, job: &Job) -> Result<Vec<(Arc<Pack>, u64, u64)>> {
    let _step = job.step("check the indexes", Some(packs.len() as u64), Unit::Items);
    let checked = job.workers.map(packs.to_vec(), |pack| {
        let named = pack.check_index();
        (named, pack.extent(), pack)
    });
    let mut readable = Vec::new();
    for (named, extent, pack) in checked {
        job.check()?;
        match named {
            Err(Problem::File(error)) if error.is_missing() => continue,
            Err(Problem::File(error)) if !is_rot(&error) => return Err(error.into()),
            Err(problem) => flag(&mut survey.indexes, pack.name, problem.of(&pack.name).to_string()),
            Ok(()) => {}
        }
        match extent {
            Err(Problem::File(error)) if error.is_missing() => {}
            Err(Problem::File(error)) if !is_rot(&error) => return Err(error.into()),
            // The index is right, so it is the pack that is too short or too long.
            Err(problem) if !survey.indexes.iter().any(|(name, _)| *name == pack.name) => {
                survey.packs_damaged.push((pack.name, text(problem)));
            }
            Err(_) => {}
            Ok((objects, bytes)) => readable.push((pack, objects, bytes)),
        }
    }
    Ok(readable)
}

/// Parts the packs so that each batch has some [`SLICE_OBJECTS`] objects: small packs together, a large one
/// by the offsets of its frames.
fn batches(packs: &[(Arc<Pack>, u64, u64)]) -> Vec<Vec<Part>> {
    let mut batches = vec![Vec::new()];
    let mut held = 0;
    for (pack, objects, bytes) in packs {
        let slices = objects.div_ceil(SLICE_OBJECTS).max(1);
        if held + objects > SLICE_OBJECTS && held > 0 {
            batches.push(Vec::new());
            held = 0;
        }
        for slice in 0..slices {
            let place = |slice: u64| (u128::from(*bytes) * u128::from(slice) / u128::from(slices)) as u64;
            let end = if slice + 1 == slices { u64::MAX } else { place(slice + 1) };
            let offsets = place(slice)..end;
            let width = if *objects > 4096 { 16 } else { 256 };
            let batch = batches.last_mut().expect("because there is always one");
            batch.extend((0..256).step_by(width).map(|first| Part {
                pack: pack.clone(),
                buckets: first..first + width as u16,
                offsets: offsets.clone(),
            }));
            if slices > 1 {
                batches.push(Vec::new());
            }
        }
        held = if slices > 1 { 0 } else { held + objects };
    }
    batches
}

/// Reads a part of an index. Objects without a chunk count as lying at the front.
fn load(part: &Part) -> std::result::Result<Loaded, Problem> {
    let mut loaded = Loaded::default();
    for first in part.buckets.clone() {
        let entries = match part.pack.entries(first as u8) {
            Err(Problem::File(error)) => return Err(Problem::File(error)),
            Err(problem) => {
                loaded.index.get_or_insert_with(|| text(problem));
                continue;
            }
            Ok(entries) => entries,
        };
        for (id, record) in entries {
            match record {
                Ok(record) => loaded.sort_in(&part.offsets, id, record),
                Err(problem) if part.offsets.start == 0 => {
                    loaded.objects += 1;
                    loaded.bad.push(Bad::unknown(id, part.pack.name, text(problem)));
                }
                Err(_) => {}
            }
        }
    }
    Ok(loaded)
}

impl Loaded {
    fn sort_in(&mut self, offsets: &std::ops::Range<u64>, id: Digest, record: Record) {
        let first = record.chunks.first().map_or(0, |chunk| chunk.offset);
        if !offsets.contains(&first) {
            return;
        }
        self.objects += 1;
        let end = record.chunks.last().map_or(0, |chunk| chunk.offset + u64::from(chunk.length));
        self.frames_end = self.frames_end.max(end);
        match (&record.map, &*record.chunks) {
            (None, [chunk]) => self.items.push(Item {
                offset: chunk.offset,
                size: record.size,
                id,
                frame: chunk.frame,
                length: chunk.length,
                raw: chunk.raw,
                kind: record.kind,
            }),
            _ => self.whole.push((id, record)),
        }
    }
}

/// Makes pieces of work: objects of several chunks each, then the others by runs of the pack.
fn plan(pack: Arc<Pack>, mut items: Vec<Item>, whole: Vec<(Digest, Record)>, pieces: &mut Vec<Piece>) {
    pieces.extend(whole.into_iter().map(|(id, record)| Piece::Whole(pack.clone(), id, record)));
    items.sort_unstable_by_key(|item| item.offset);
    let mut window: Vec<Item> = Vec::new();
    let mut end = 0;
    for item in items {
        let next = item.offset + u64::from(item.length);
        let joins = window.first().is_some_and(|first| {
            item.offset >= end && item.offset - end <= GAP_BYTES && next - first.offset <= WINDOW_BYTES
        });
        if !joins && !window.is_empty() {
            pieces.push(Piece::Window(pack.clone(), std::mem::take(&mut window)));
        }
        end = next;
        window.push(item);
    }
    if !window.is_empty() {
        pieces.push(Piece::Window(pack, window));
    }
}

/// Reads the pieces in parallel, the largest objects first, then the windows in the order of the pack.
fn read(mut pieces: Vec<Piece>, survey: &mut Survey, step: &Step, job: &Job) -> Result<()> {
    pieces.sort_by_key(|piece| match piece {
        Piece::Whole(_, _, record) => (0, std::cmp::Reverse(record.stored_bytes())),
        Piece::Window(..) => (1, std::cmp::Reverse(0)),
    });
    let found = Mutex::new((0, Vec::new()));
    let is_gone = |error: &StoreError| matches!(error, StoreError::File(file) if file.is_missing());
    job.workers.for_each(pieces.into_iter(), |piece| -> Result<()> {
        let mut bad = Vec::new();
        let plain = match &piece {
            Piece::Window(pack, items) => {
                job.check()?;
                step.advance(items.iter().map(|item| u64::from(item.length)).sum());
                match check_window(pack, items, &mut bad) {
                    // Its objects were put into another pack meanwhile.
                    Err(error) if is_gone(&error) => return Ok(()),
                    done => done?,
                }
                items.iter().map(|item| item.size).sum::<u64>()
            }
            Piece::Whole(pack, id, record) => {
                step.advance(record.stored_bytes());
                match check_whole(pack, id, record, job) {
                    Err(error) if is_gone(&error) => return Ok(()),
                    done => {
                        done?.unwrap_or_else(|problem| bad.push(Bad::copy(*id, record, pack.name, problem)))
                    }
                }
                record.size
            }
        };
        let mut found = found.lock().expect("because nothing panics while it counts");
        found.0 += plain;
        found.1.append(&mut bad);
        Ok(())
    })?;
    let (bytes, bad) = found.into_inner().expect("because nothing panics while it counts");
    survey.bytes += bytes;
    survey.bad.extend(bad);
    Ok(())
}

thread_local! {
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

fn check_window(pack: &Pack, items: &[Item], bad: &mut Vec<Bad>) -> Result<()> {
    let start = items[0].offset;
    let end = items.iter().map(|item| item.offset + u64::from(item.length)).max().unwrap_or(start);
    BUFFERS.with_borrow_mut(|(stored, plain)| {
        stored.resize(stored.len().max((end - start) as usize), 0);
        plain.resize(CHUNK_BYTES as usize, 0);
        let whole = sorted(pack.read(start, &mut stored[..(end - start) as usize]))?;
        for item in items {
            let at = (item.offset - start) as usize;
            let bytes = &mut stored[at..at + item.length as usize];
            // Where the medium gives no bytes, each frame is asked for alone, to lose no more than is lost.
            let read = if whole.is_ok() { Ok(()) } else { sorted(pack.read(item.offset, bytes))? };
            if let Err(problem) = read.and_then(|()| check_item(item, bytes, plain)) {
                bad.push(Bad {
                    id: item.id,
                    kind: Some(item.kind),
                    size: Some(item.size),
                    pack: pack.name,
                    offset: item.offset,
                    problem,
                });
            }
        }
        Ok(())
    })
}

/// Parts what is lost, which is told, from what stops the check.
fn sorted(read: std::result::Result<(), Problem>) -> Result<std::result::Result<(), String>> {
    match read {
        Err(Problem::File(error)) if !is_rot(&error) => Err(error.into()),
        Err(problem) => Ok(Err(text(problem))),
        Ok(()) => Ok(Ok(())),
    }
}

/// Says what is wrong, with its cause.
pub fn text(problem: Problem) -> String {
    match problem {
        Problem::File(error) => format!("{error}: {}", error.source),
        Problem::Damaged(problem) | Problem::Unexpected(problem) => problem,
    }
}

fn check_item(item: &Item, stored: &[u8], plain: &mut [u8]) -> std::result::Result<(), String> {
    if item.raw {
        let found = Digest::of(stored);
        if found != item.frame {
            return Err(format!("its frame's digest is {found}, expected {}", item.frame));
        }
        if stored.len() as u64 != item.size {
            return Err(format!("{} plain bytes, expected {}", stored.len(), item.size));
        }
        return check_plain(item.kind, &item.id, stored, Some(found));
    }
    let plain = plain.get_mut(..item.size as usize).ok_or("it is longer than its chunk")?;
    let (length, raw, frame) = (item.length, item.raw, item.frame);
    chunk::decompress(&Chunk { number: 0, offset: item.offset, length, raw, frame }, stored, plain)?;
    check_plain(item.kind, &item.id, plain, None)
}

/// Holds an object's bytes against its id and against what its kind may look like.
fn check_plain(
    kind: Kind,
    id: &Digest,
    plain: &[u8],
    digest: Option<Digest>,
) -> std::result::Result<(), String> {
    let found = match kind {
        Kind::Blob => digest.unwrap_or_else(|| Digest::of(plain)),
        Kind::Tree => TreeRef::of(plain).id.0,
        Kind::Commit => Commit::id_of(plain).0,
    };
    if found != *id {
        return Err(format!("its bytes are {kind} {found}"));
    }
    let malformed = match kind {
        Kind::Blob => plain
            .chunks(crate::base::units::BLOCK_BYTES as usize)
            .any(is_zero)
            .then(|| "its index has a wrong map of data".to_owned()),
        Kind::Tree => StoredDirectory::decode(plain).err().map(|error| error.to_string()),
        Kind::Commit => Commit::decode(plain).err().map(|error| error.to_string()),
    };
    malformed.map_or(Ok(()), Err)
}

/// Reads an object of any number of chunks; a blob piece by piece.
fn check_whole(
    pack: &Pack,
    id: &Digest,
    record: &Record,
    job: &Job,
) -> Result<std::result::Result<(), String>> {
    if record.kind != Kind::Blob {
        if record.size > DIRECTORY_BYTES_MAX {
            return Ok(Err(format!("a {} of {} bytes is too large", record.kind, record.size)));
        }
        let mut bytes = vec![0; record.size as usize];
        return Ok(match sorted(read_range(pack, record, 0, &mut bytes))? {
            Ok(()) => check_plain(record.kind, id, &bytes, None),
            problem => problem,
        });
    }
    let mut hasher = blake3::Hasher::new();
    let mut map = DataMap::default();
    let mut offset = 0;
    while offset < record.size {
        job.check()?;
        let length = CHUNK_BYTES.min(record.size - offset);
        let problem = BUFFERS.with_borrow_mut(|(_, plain)| {
            plain.resize(CHUNK_BYTES as usize, 0);
            let piece = &mut plain[..length as usize];
            let read = sorted(read_range(pack, record, offset, piece))?;
            hasher.update(piece);
            map.scan(offset / crate::base::units::BLOCK_BYTES, piece);
            Ok::<_, StoreError>(read)
        })?;
        if problem.is_err() {
            return Ok(problem);
        }
        offset += length;
    }
    let found = BlobId::from(*hasher.finalize().as_bytes());
    Ok(match () {
        () if found.0 != *id => Err(format!("its bytes are object {found}")),
        () if map != record.data_map() => Err("its index has a wrong map of data".to_owned()),
        () => Ok(()),
    })
}

/// Looks at what stands before and behind the frames of each pack.
fn check_ends(
    packs: &[(Arc<Pack>, u64, u64)],
    ends: &HashMap<Digest, u64>,
    survey: &mut Survey,
) -> Result<()> {
    for (pack, ..) in packs {
        // Where the index is damaged nobody knows where the frames end.
        if survey.indexes.iter().any(|(name, _)| *name == pack.name) {
            continue;
        }
        let Some(end) = ends.get(&pack.name) else { continue };
        match pack.check_ends(*end) {
            Err(Problem::File(error)) if error.is_missing() => {}
            Err(Problem::File(error)) if !is_rot(&error) => return Err(error.into()),
            Err(problem) => survey.packs_damaged.push((pack.name, text(problem))),
            Ok(()) => {}
        }
    }
    Ok(())
}
