//! Frames become objects in a transaction, as they come.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::closure::ObjectName;
use super::delta;
use super::error::{BundleError, Result};
use super::frame;
use super::large;
use super::names::{self, Known};
use super::plan::FetchPlan;
use super::table::{Frame, Section, Table};
use super::write::read;
use crate::base::{CommitId, Digest, Job};
use crate::store::{FileInPieces, Kind, StoreError, Transaction};
use crate::tree::{ContentSink, ContentSource};

/// Takes the frames of a plan, from any number of threads, and puts what they hold into a transaction. Files
/// are put at once; directories and commits wait for [`Receiver::finish`], since they name the others.
pub struct Receiver<'a> {
    table: &'a Table,
    plan: FetchPlan,
    into: &'a Transaction<'a>,
    job: Job,
    taken: Vec<OnceLock<()>>,
    ids: Vec<OnceLock<Digest>>,
    /// Frames of directories and commits, as they came.
    waiting: Mutex<BTreeMap<(Section, usize), Vec<u8>>>,
    /// Files that come in more than one frame.
    large: Mutex<HashMap<u32, Large<'a>>>,
}

/// A file that comes in pieces: those that came before their turn wait as they came.
struct Large<'a> {
    /// Taken by the thread that adds to it.
    file: Option<FileInPieces<'a>>,
    done: u64,
    early: BTreeMap<u64, (Vec<u8>, (Section, usize))>,
}

impl<'a> Large<'a> {
    /// Gives the file back, with how many bytes it grew; takes it again with the piece whose turn it is.
    fn turn(
        &mut self,
        back: Option<(FileInPieces<'a>, u64)>,
    ) -> Option<(FileInPieces<'a>, (Vec<u8>, (Section, usize)))> {
        if let Some((file, grown)) = back {
            self.file = Some(file);
            self.done += grown;
        }
        self.file.as_ref()?;
        let piece = self.early.remove(&self.done)?;
        self.file.take().map(|file| (file, piece))
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The commits of the bundle, each with all that it leads to.
    pub commits: Vec<CommitId>,
    /// Objects of the bundle that are now there.
    pub objects: u64,
    /// Their plain length, in bytes.
    pub bytes: u64,
}

impl<'a> Receiver<'a> {
    /// Begins to receive. What deltas are made from is read from the transaction.
    pub fn new(table: &'a Table, plan: FetchPlan, into: &'a Transaction<'a>, job: &Job) -> Self {
        let ids: Vec<OnceLock<Digest>> = (0..table.objects()).map(|_| OnceLock::new()).collect();
        if let Some(names) = &plan.names {
            for (slot, name) in ids.iter().zip(names) {
                slot.get_or_init(|| name.id);
            }
        }
        Receiver {
            table,
            into,
            job: job.clone(),
            taken: plan.ranges().iter().map(|_| OnceLock::new()).collect(),
            plan,
            ids,
            waiting: Mutex::default(),
            large: Mutex::default(),
        }
    }

    /// Takes the bytes of a range of the plan, by its number there: the whole range. Their digest is checked,
    /// then they are decoded in the calling thread. A range that was taken is not taken again.
    pub fn take(&self, range: usize, bytes: &[u8]) -> Result<()> {
        self.job.check()?;
        let key = self.plan.frames[range];
        let frame = self.table.frame(key);
        let found = Digest::of(bytes);
        if bytes.len() as u64 != frame.stored || found != frame.digest {
            let at = frame.offset;
            return Err(self
                .damaged(format!("the digest of its frame at {at} is {found}, expected {}", frame.digest)));
        }
        if self.taken[range].set(()).is_err() {
            return Ok(());
        }
        let objects = &self.table.list(key.0)[frame.objects.clone()];
        if !objects.iter().any(|&object| self.table.is_blob(object)) {
            lock(&self.waiting).insert(key, bytes.to_vec());
            return Ok(());
        }
        if frame.is_patch {
            return self.take_piece(objects[0], key, bytes);
        }
        if key.0 == Section::Delta {
            return self.each_of_delta(frame, bytes, |object, bytes| self.put(object, &bytes));
        }
        if self.table.sizes[objects[0] as usize] > frame.plain {
            return self.take_piece(objects[0], key, bytes);
        }
        let plain = self.unpack(frame, bytes)?;
        let mut rest = &plain[..];
        for &object in objects {
            let (bytes, behind) = rest.split_at(self.table.sizes[object as usize] as usize);
            self.put(object, bytes)?;
            rest = behind;
        }
        Ok(())
    }

    fn put(&self, object: u32, bytes: &[u8]) -> Result<()> {
        let content = self.into.put(bytes)?;
        self.found(object, content.id.0)
    }

    /// Notes the id of an object; where the id was known before, it must be this one.
    fn found(&self, object: u32, id: Digest) -> Result<()> {
        let expected = self.ids[object as usize].get_or_init(|| id);
        if *expected != id {
            return Err(self.damaged(format!("its object {object} has the id {id}, expected {expected}")));
        }
        Ok(())
    }

    /// Takes a piece. The thread that finds the file free adds all pieces whose turn it is; others leave theirs to it.
    fn take_piece(&self, object: u32, key: (Section, usize), bytes: &[u8]) -> Result<()> {
        let skip = self.table.frame(key).skip;
        self.large(object, |large| large.early.insert(skip, (bytes.to_vec(), key)));
        let mut back = None;
        while let Some((mut file, (bytes, key))) = self.large(object, |large| large.turn(back.take())) {
            self.add_piece(object, &mut file, self.table.frame(key), &bytes)?;
            let frame = self.table.frame(key);
            if frame.skip + frame.plain == self.table.sizes[object as usize] {
                let content = file.finish()?;
                lock(&self.large).remove(&object);
                return self.found(object, content.id.0);
            }
            back = Some((file, frame.plain));
        }
        Ok(())
    }

    fn large<T>(&self, object: u32, act: impl FnOnce(&mut Large<'a>) -> T) -> T {
        let mut all = lock(&self.large);
        act(all.entry(object).or_insert_with(|| Large {
            file: Some(self.into.begin_file()),
            done: 0,
            early: BTreeMap::new(),
        }))
    }

    fn add_piece(&self, object: u32, file: &mut FileInPieces<'a>, frame: &Frame, bytes: &[u8]) -> Result<()> {
        if !frame.is_patch {
            return Ok(file.add(&self.unpack(frame, bytes)?)?);
        }
        let base =
            self.made_from(object).ok_or_else(|| self.damaged(format!("object {object} has no base")))?;
        let damaged =
            |problem| self.damaged(format!("piece of object {object} at {}: {problem}", frame.skip));
        let base = (self.into as &dyn ContentSource, &base.as_content());
        large::apply(bytes, frame.plain, base, &damaged, &self.job, &mut |part| Ok(file.add(part)?))
    }

    /// Returns what an object with a delta is made from.
    fn made_from(&self, object: u32) -> Option<ObjectName> {
        let place = self.table.deltas.binary_search_by_key(&object, |delta| delta.0);
        let place = place.expect("because twin objects are those with a delta");
        self.plan.bases.get(place).copied().flatten()
    }

    /// Decodes a delta frame and shows its objects.
    fn each_of_delta(
        &self,
        frame: &Frame,
        bytes: &[u8],
        mut see: impl FnMut(u32, Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut decoder = delta::Decoder::new(bytes);
        for &object in &self.table.twin_objects[frame.objects.clone()] {
            self.job.check()?;
            let old = match self.made_from(object) {
                Some(base) => read(self.into, &base)?,
                None => Vec::new(),
            };
            let made = decoder.object(&old, self.table.sizes[object as usize] as usize);
            see(
                object,
                made.map_err(|problem| self.damaged(format!("delta of object {object}: {problem}")))?,
            )?;
        }
        Ok(())
    }

    fn unpack(&self, frame: &Frame, bytes: &[u8]) -> Result<Vec<u8>> {
        frame::unpack(bytes, frame.plain).map_err(|problem| self.damaged(problem))
    }

    /// Puts directories and commits, each behind what it names, and holds all ids against their digest. The
    /// transaction then has all that the commits lead to, or this fails.
    pub fn finish(self) -> Result<Received> {
        let missing = self.taken.iter().filter(|taken| taken.get().is_none()).count();
        if missing > 0 {
            return Err(BundleError::Unfinished { id: self.table.id, missing });
        }
        for (object, &size) in self.table.sizes[..self.table.blobs].iter().enumerate() {
            if size == 0 {
                self.put(object as u32, b"")?;
            }
        }
        let mut structures = Structures::new(&self);
        for object in self.table.blobs as u32..self.table.objects() as u32 {
            if let Some(bytes) = structures.bytes(object)? {
                self.put_structure(object, &bytes)?;
            }
        }
        self.check_ids()?;
        let id = |object: usize| self.ids[object].get().copied();
        let commits = (self.table.blobs + self.table.trees..self.table.objects()).filter_map(id);
        Ok(Received {
            commits: commits.map(CommitId).collect(),
            objects: self.ids.len() as u64,
            bytes: self.table.plain_bytes(),
        })
    }

    fn put_structure(&self, object: u32, bytes: &[u8]) -> Result<()> {
        self.job.check()?;
        let damaged = |problem| self.damaged(format!("object {object}: {problem}"));
        let lost = |error| match error {
            StoreError::Incomplete { id, .. } | StoreError::Missing { id, .. } => {
                self.damaged(format!("object {object} names {id}, which is neither in it nor in the store"))
            }
            other => other.into(),
        };
        let id = if self.table.kind(object) == Kind::Tree {
            let directory = names::restore_directory(bytes, self).map_err(damaged)?;
            self.into.put_directory(&directory).map_err(lost)?.id.0
        } else {
            let commit = names::restore_commit(bytes, self).map_err(damaged)?;
            self.into.put_commit(&commit).map_err(lost)?.0
        };
        self.found(object, id)
    }

    fn check_ids(&self) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        for (object, id) in self.ids.iter().enumerate() {
            let Some(id) = id.get() else {
                return Err(self.damaged(format!("it does not hold its object {object}")));
            };
            hasher.update(id.as_bytes());
        }
        let found = Digest(*hasher.finalize().as_bytes());
        if found != self.table.ids {
            return Err(
                self.damaged(format!("the digest of its ids is {found}, expected {}", self.table.ids))
            );
        }
        Ok(())
    }

    fn damaged(&self, problem: String) -> BundleError {
        BundleError::Damaged { id: self.table.id, problem }
    }
}

impl Known for Receiver<'_> {
    fn object(&self, number: u32) -> Option<(Digest, u64)> {
        let id = self.ids.get(number as usize)?.get()?;
        Some((*id, self.table.sizes[number as usize]))
    }

    fn base(&self, number: u32) -> Option<CommitId> {
        self.table.bases.get(number as usize).copied()
    }
}

/// The bytes of directories and commits in their order, decoded frame by frame.
struct Structures<'r, 'a> {
    receiver: &'r Receiver<'a>,
    /// Frames by their first object, the next one last.
    frames: Vec<(u32, (Section, usize), Vec<u8>)>,
    decoded: HashMap<u32, Vec<u8>>,
}

impl<'r, 'a> Structures<'r, 'a> {
    fn new(receiver: &'r Receiver<'a>) -> Self {
        let waiting = std::mem::take(&mut *lock(&receiver.waiting));
        let first = |key: (Section, usize)| {
            let frame = receiver.table.frame(key);
            receiver.table.list(key.0)[frame.objects.start]
        };
        let mut frames: Vec<_> = waiting.into_iter().map(|(key, bytes)| (first(key), key, bytes)).collect();
        frames.sort_by_key(|frame| std::cmp::Reverse((frame.0, frame.1)));
        Structures { receiver, frames, decoded: HashMap::new() }
    }

    fn bytes(&mut self, object: u32) -> Result<Option<Vec<u8>>> {
        while let Some((_, key, bytes)) = self.frames.pop_if(|frame| frame.0 <= object) {
            self.decode(key, &bytes)?;
        }
        Ok(self.decoded.remove(&object))
    }

    fn decode(&mut self, key: (Section, usize), bytes: &[u8]) -> Result<()> {
        let table = self.receiver.table;
        let frame = table.frame(key);
        if key.0 == Section::Delta {
            return self.receiver.each_of_delta(frame, bytes, |object, bytes| {
                self.decoded.insert(object, bytes);
                Ok(())
            });
        }
        let plain = self.receiver.unpack(frame, bytes)?;
        let mut rest = &plain[..];
        for &object in &table.list(key.0)[frame.objects.clone()] {
            let length = rest.len().min(table.sizes[object as usize] as usize);
            let (part, behind) = rest.split_at(length);
            self.decoded.entry(object).or_default().extend_from_slice(part);
            rest = behind;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
