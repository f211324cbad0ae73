//! All packs of a store, and reading objects out of them.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::chunk::{self, CHUNK_BYTES, Chunk};
use super::error::Kind;
use super::format::Layout;
use super::generation;
use super::index::{Pack, Problem, Row};
use super::media::Media;
use super::record::Record;
use super::state::Marks;
use crate::base::{BlobId, Digest, FileError};
use crate::tree::ContentError;

/// The packs that were there when the directory was last listed.
pub(super) struct Packs {
    layout: Layout,
    /// Copies of objects that are known to be damaged: nothing that is put relies on one.
    pub marks: Marks,
    packs: RwLock<List>,
    listed: AtomicBool,
    /// Held while the directory is listed, so that no list is ever followed by an older one.
    listing: Mutex<()>,
    /// The generation of the store that was read before the list was made.
    generation: AtomicU64,
    /// Where the last object was found: the next one is likely there too.
    last: AtomicUsize,
    opened: Arc<AtomicUsize>,
    /// Records of late, by a byte of the id: large files are read in many calls.
    records: Box<[Mutex<Option<Found>>]>,
}

/// Packs as they were listed at one time. A list is replaced only by one with other packs.
type List = Arc<Vec<Arc<Pack>>>;

/// How often the directory is listed for one object, at most, while others change it each time.
const LISTINGS_MAX: usize = 256;

#[derive(Clone)]
struct Found {
    id: Digest,
    pack: Arc<Pack>,
    record: Arc<Record>,
}

impl Packs {
    pub fn new(layout: Layout, media: Media) -> Self {
        Packs {
            marks: Marks::new(&layout, media),
            layout,
            packs: RwLock::default(),
            listed: AtomicBool::new(false),
            listing: Mutex::default(),
            generation: AtomicU64::new(generation::UNKNOWN),
            last: AtomicUsize::new(0),
            opened: Arc::default(),
            records: (0..256).map(|_| Mutex::default()).collect(),
        }
    }

    /// Tells whether the object is there, as far as indexes tell. One that can't be read is not, nor one
    /// whose only copies are marked as damaged.
    pub fn has(&self, id: &Digest) -> bool {
        self.has_where(id, |pack| !self.marks.holds(id, &pack.name))
    }

    /// Tells whether a pack holds the object that is one of those meant. Where a pack is gone, others may have taken
    /// its place: the directory is listed again before the answer is no.
    pub fn has_where(&self, id: &Digest, meant: impl Fn(&Pack) -> bool) -> bool {
        for _ in 0..LISTINGS_MAX {
            let Ok(packs) = self.list_now() else { return false };
            let mut is_gone = false;
            let has = |pack: &Arc<Pack>| match pack.has(id) {
                Ok(has) => has && meant(pack),
                Err(problem) => {
                    is_gone |= matches!(problem, Problem::File(error) if error.is_missing());
                    false
                }
            };
            if self.any(&packs, has) {
                return true;
            }
            if !is_gone || !self.renew(&packs).unwrap_or(false) {
                return false;
            }
        }
        false
    }

    /// Forgets what is known of packs: their files were replaced.
    pub fn forget(&self) {
        *self.packs.write().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        self.records.iter().for_each(|slot| *slot.lock().unwrap_or_else(PoisonError::into_inner) = None);
        self.listed.store(false, Ordering::Release);
    }

    /// Returns the record of an object that is in `packs/`; the directory is listed as for [`Packs::with`].
    pub fn find(&self, id: &Digest) -> Result<Option<Arc<Record>>, Problem> {
        let mut failure = None;
        for _ in 0..LISTINGS_MAX {
            let mut found = None;
            let packs = self.current();
            self.any(&packs, |pack| match self.record(pack, id) {
                Ok(record) => {
                    found = record;
                    found.is_some()
                }
                Err(problem) => {
                    failure = Some(problem);
                    false
                }
            });
            if found.is_some() {
                return Ok(found);
            }
            if !self.renew(&packs)? {
                break;
            }
            failure = None;
        }
        failure.map_or(Ok(None), Err)
    }

    /// Reads an object in the first pack that gives it undamaged. Before an object counts as missing, the
    /// directory is listed until nothing changes: other processes may just have brought it, or put its pack
    /// together with others, again and again. What was collected is read from the trash as long as it is there.
    pub fn with<T>(
        &self,
        id: &Digest,
        mut read: impl FnMut(&Pack, &Record) -> Result<T, Problem>,
    ) -> Result<T, ContentError> {
        if let Some(found) = self.remembered(id)
            && let Ok(value) = read(&found.pack, &found.record)
        {
            return Ok(value);
        }
        self.list()?;
        let mut failure = None;
        let damaged = |pack: &Pack, problem: &Problem| {
            if matches!(problem, Problem::Damaged(_)) && pack.has(id).unwrap_or(false) {
                self.marks.add((*id, Some(pack.name)));
            }
        };
        for _ in 0..LISTINGS_MAX {
            let mut result = None;
            let packs = self.current();
            self.any(&packs, |pack| {
                match self.record(pack, id).and_then(|record| record.map(|r| read(pack, &r)).transpose()) {
                    Ok(None) => false,
                    Ok(value) => {
                        result = value;
                        true
                    }
                    Err(problem) => {
                        damaged(pack, &problem);
                        failure.get_or_insert(problem);
                        false
                    }
                }
            });
            match result {
                Some(value) => return Ok(value),
                None if !self.renew(&packs)? => break,
                None => {}
            }
        }
        for pack in self.trashed() {
            if let Ok(Some(record)) = pack.record(id)
                && let Ok(value) = read(&pack, &record)
            {
                return Ok(value);
            }
        }
        Err(failure.map_or(ContentError::Missing { id: BlobId(*id) }, |problem| problem.of(id)))
    }

    /// Tells kind and size of objects, ids ascending, as their records say it: much cheaper than asking for each.
    /// One that is not found in this way may be there nevertheless: [`Packs::with`] tells.
    pub fn describe(&self, ids: &[Digest]) -> Vec<Option<(Kind, u64)>> {
        let mut known = vec![None; ids.len()];
        for pack in self.list_now().map_or_else(|_| Vec::new(), |packs| packs.to_vec()) {
            let unknown = (0..ids.len()).filter(|&number| known[number].is_none());
            let rows: Vec<(usize, Row)> =
                unknown.filter_map(|number| Some((number, pack.find_row(&ids[number]).ok()??))).collect();
            let (numbers, rows): (Vec<usize>, Vec<Row>) = rows.into_iter().unzip();
            // What can't be read now is asked for again, one by one, and then said.
            let _ = pack.records(&rows, |row, record| known[numbers[row]] = Some((record.kind, record.size)));
        }
        known
    }

    /// Returns all packs, freshly listed.
    pub fn all(&self) -> Result<List, FileError> {
        self.scan()?;
        Ok(self.current())
    }

    /// Asks all packs, freshly listed. Where one is gone before it was asked, others took its place: the asking
    /// begins anew.
    pub fn ask_all<T: Default>(
        &self,
        mut ask: impl FnMut(&Pack, &mut T) -> Result<(), ContentError>,
    ) -> Result<T, ContentError> {
        let mut left = LISTINGS_MAX;
        loop {
            let (packs, mut found) = (self.all()?, T::default());
            match packs.iter().try_for_each(|pack| ask(pack, &mut found)) {
                Err(ContentError::File(error)) if error.is_missing() && left > 0 && self.renew(&packs)? => {
                    left -= 1;
                }
                asked => return asked.map(|()| found),
            }
        }
    }

    /// Returns a pack by its name, whether it is listed or not.
    pub fn at(&self, name: &Digest) -> Arc<Pack> {
        let listed = self.current().iter().find(|pack| pack.name == *name).cloned();
        listed.unwrap_or_else(|| Arc::new(Pack::new(&self.layout, *name, self.opened.clone())))
    }

    /// Returns the names of packs that have no index.
    pub fn orphans(&self) -> Result<Vec<Digest>, FileError> {
        let names = crate::base::fs::list(&self.layout.packs())?;
        let packs = names.iter().filter_map(|name| name.to_str()?.strip_suffix(".pack")?.parse().ok());
        Ok(packs.filter(|pack| self.layout.index(pack).symlink_metadata().is_err()).collect())
    }

    /// Returns all packs as they were listed last.
    pub fn list_now(&self) -> Result<List, FileError> {
        self.list()?;
        Ok(self.current())
    }

    /// Counts the packs that were listed last.
    pub fn count(&self) -> usize {
        self.current().len()
    }

    /// Returns the packs in the trash.
    pub fn trashed(&self) -> Vec<Arc<Pack>> {
        let folder = self.layout.trash();
        let numbers = crate::base::fs::list(&folder).unwrap_or_default();
        let packs = numbers.iter().flat_map(|number| {
            let folder = folder.join(number);
            let names = list_packs(&folder).unwrap_or_default();
            names.into_iter().map(move |name| Arc::new(Pack::within(&folder, name, self.opened.clone())))
        });
        packs.collect()
    }

    /// Lists the directory again unless it was listed in this generation, which was read before.
    pub fn freshen(&self, generation: u64) -> Result<(), FileError> {
        let known = self.generation.load(Ordering::Acquire);
        if !self.listed.load(Ordering::Acquire) || known != generation || generation == generation::UNKNOWN {
            self.scan()?;
            self.generation.store(generation, Ordering::Release);
        }
        Ok(())
    }

    /// Lists the directory again. A pack without its index, or the reverse, is not there.
    pub fn scan(&self) -> Result<(), FileError> {
        let _one = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let there = list_packs(&self.layout.packs())?;
        let current = self.current();
        let mut packs = current.to_vec();
        packs.retain(|pack| there.contains(&pack.name));
        let kept: HashSet<Digest> = packs.iter().map(|pack| pack.name).collect();
        for name in there.into_iter().filter(|name| !kept.contains(name)) {
            packs.push(Arc::new(Pack::new(&self.layout, name, self.opened.clone())));
        }
        if packs.len() > kept.len() || kept.len() < current.len() {
            *self.packs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(packs);
        }
        self.marks.load();
        self.listed.store(true, Ordering::Release);
        Ok(())
    }

    /// Lists the directory again; returns whether there are other packs now than those that were searched. Another
    /// thread may have found them first.
    fn renew(&self, searched: &List) -> Result<bool, FileError> {
        self.scan()?;
        Ok(!Arc::ptr_eq(searched, &self.current()))
    }

    fn current(&self) -> List {
        self.packs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn list(&self) -> Result<(), FileError> {
        if !self.listed.load(Ordering::Acquire) {
            self.scan()?;
        }
        Ok(())
    }

    /// Asks the packs until one says yes, the one that said so last time first.
    fn any(&self, packs: &List, mut ask: impl FnMut(&Arc<Pack>) -> bool) -> bool {
        let last = self.last.load(Ordering::Relaxed).min(packs.len());
        for index in (last..packs.len()).chain(0..last) {
            if ask(&packs[index]) {
                self.last.store(index, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    fn remembered(&self, id: &Digest) -> Option<Found> {
        let slot = self.records[usize::from(id.0[1])].lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|found| found.id == *id).cloned()
    }

    fn record(&self, pack: &Arc<Pack>, id: &Digest) -> Result<Option<Arc<Record>>, Problem> {
        let Some(record) = pack.record(id)? else { return Ok(None) };
        let record = Arc::new(record);
        let found = Found { id: *id, pack: pack.clone(), record: record.clone() };
        *self.records[usize::from(id.0[1])].lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(Some(record))
    }
}

/// Lists the packs of a directory that are whole: those with an index.
fn list_packs(folder: &Path) -> Result<BTreeSet<Digest>, FileError> {
    let names = match crate::base::fs::list(folder) {
        Err(error) if error.is_missing() => Vec::new(),
        result => result?,
    };
    let with = |suffix: &str| {
        let names = names.iter().filter_map(|name| name.to_str()?.strip_suffix(suffix)?.parse().ok());
        names.collect::<BTreeSet<Digest>>()
    };
    Ok(with(".idx").intersection(&with(".pack")).copied().collect())
}

thread_local! {
    static STORED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where chunks are read from: a published pack, or one in the making.
pub(super) trait ChunkSource {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Problem>;
    fn damage(&self, offset: u64, problem: &str) -> Problem;
}

impl ChunkSource for Pack {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Problem> {
        Pack::read(self, offset, buffer)
    }

    fn damage(&self, offset: u64, problem: &str) -> Problem {
        Pack::damage(self, offset, problem)
    }
}

/// Fills `buffer` with an object's bytes from `offset` on; the range lies inside the object. Every chunk is
/// held against its frame's digest.
pub(super) fn read_range(
    source: &dyn ChunkSource,
    record: &Record,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), Problem> {
    let mut done = 0;
    while done < buffer.len() {
        let at = offset + done as u64;
        let number = u32::try_from(at / CHUNK_BYTES).expect("because a record bounds its chunks");
        let skip = (at % CHUNK_BYTES) as usize;
        let length = (record.plain_bytes(number) as usize - skip).min(buffer.len() - done);
        let part = &mut buffer[done..done + length];
        match record.chunks.binary_search_by_key(&number, |chunk| chunk.number) {
            Err(_) => part.fill(0),
            Ok(index) => read_chunk(source, record, &record.chunks[index], skip, part)?,
        }
        done += length;
    }
    Ok(())
}

fn read_chunk(
    source: &dyn ChunkSource,
    record: &Record,
    chunk: &Chunk,
    skip: usize,
    part: &mut [u8],
) -> Result<(), Problem> {
    let plain_bytes = record.plain_bytes(chunk.number) as usize;
    STORED.with_borrow_mut(|stored| {
        stored.resize(chunk.length as usize, 0);
        source.read(chunk.offset, stored)?;
        let damaged = |problem: String| source.damage(chunk.offset, &problem);
        if part.len() == plain_bytes {
            return chunk::decompress(chunk, stored, part).map_err(damaged);
        }
        PLAIN.with_borrow_mut(|plain| {
            plain.resize(plain_bytes, 0);
            chunk::decompress(chunk, stored, plain).map_err(damaged)?;
            part.copy_from_slice(&plain[skip..skip + part.len()]);
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests;
