//! What goes into a bundle: which objects are missing at the receiver's, in which order, and what each of
//! them was made from.

use std::collections::{BTreeMap, HashMap};

use super::closure::{Closure, ObjectName, Walk};
use super::error::Result;
use crate::base::{CommitId, Digest, Job};
use crate::store::{Kind, Objects};

/// The objects of a bundle: what commits lead to, less what their bases lead to.
pub struct Contents {
    /// Commits that the receiver must have for the deltas.
    pub(super) bases: Vec<CommitId>,
    /// Files, then directories with those they hold before them, then commits.
    pub(super) items: Vec<Item>,
    pub(super) numbers: HashMap<Digest, u32>,
}

/// One object of a bundle.
pub(super) struct Item {
    pub name: ObjectName,
    /// What it may have been made from: an object of the bases, and its number there.
    pub base: Option<(ObjectName, u32)>,
}

impl Contents {
    /// Collects what `commits` lead to and `bases` don't, and pairs each object with the one of the bases
    /// that has its path, or nearly so. Costs the reading of all directories of both.
    pub fn gather(
        source: &dyn Objects,
        commits: &[CommitId],
        bases: &[CommitId],
        job: &Job,
    ) -> Result<Contents> {
        let known = Closure::of(&Walk { source, known: None, paths: true }, bases, job)?;
        let closure = Closure::of(&Walk { source, known: Some(&known), paths: true }, commits, job)?;
        let pairs = Pairs::new(&known);
        let order = order(&closure);
        let numbers = order
            .iter()
            .enumerate()
            .map(|(number, &object)| (closure.objects[object].name.id, number as u32));
        let numbers = numbers.collect();
        let mut objects: Vec<_> = closure.objects.into_iter().map(Some).collect();
        let items = order.into_iter().map(|object| {
            let seen = objects[object].take().expect("because every object stands in the order once");
            let base = pairs.find(&seen.name, &seen.path);
            let base = base.map(|number| (known.objects[number as usize].name, number));
            Item { name: seen.name, base }
        });
        Ok(Contents { bases: bases.to_vec(), items: items.collect(), numbers })
    }

    /// Tells whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the objects in the order in which the bundle names them.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = ObjectName> + '_ {
        self.items.iter().map(|item| item.name)
    }
}

/// Files that are likely to be alike stand side by side; a directory stands behind those that it holds.
fn order(closure: &Closure) -> Vec<usize> {
    let of = |kind: Kind| {
        let objects = closure.objects.iter().enumerate();
        objects.filter(move |(_, object)| object.name.kind == kind).map(|(index, _)| index)
    };
    let mut blobs: Vec<usize> = of(Kind::Blob).collect();
    blobs.sort_by_cached_key(|&index| {
        let path = closure.objects[index].path.clone();
        (kin(&path), path)
    });
    blobs.extend(bottom_up(closure));
    blobs.extend(of(Kind::Commit));
    blobs
}

/// What a file is likely to be, by its name: its extension, then its name, so that the same file of many
/// packages or languages stands together.
fn kin(path: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (directory, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    let is_library = name.windows(4).any(|part| part == b".so.") || name.ends_with(b".so");
    let extension = match name.iter().rposition(|&byte| byte == b'.') {
        _ if is_library || directory.ends_with(b"bin") => &b"so"[..],
        Some(at) if at > 0 => &name[at + 1..],
        _ => &b""[..],
    };
    let name = if is_library || directory.ends_with(b"bin") { &b""[..] } else { name };
    (extension.to_vec(), name.to_vec())
}

/// Returns the directories so that each stands behind all that it holds: the lowest first.
fn bottom_up(closure: &Closure) -> Vec<usize> {
    let mut waiting: Vec<usize> = closure.objects.iter().map(|object| object.below.len()).collect();
    let mut above: Vec<Vec<u32>> = vec![Vec::new(); closure.objects.len()];
    for (index, object) in closure.objects.iter().enumerate() {
        for &below in &object.below {
            above[below as usize].push(index as u32);
        }
    }
    let trees = (0..closure.objects.len()).rev();
    let mut ready: Vec<usize> = trees
        .filter(|&index| closure.objects[index].name.kind == Kind::Tree && waiting[index] == 0)
        .collect();
    let mut at = 0;
    while let Some(&index) = ready.get(at) {
        for &parent in &above[index] {
            waiting[parent as usize] -= 1;
            if waiting[parent as usize] == 0 {
                ready.push(parent as usize);
            }
        }
        at += 1;
    }
    ready
}

/// Finds what an object was made from.
struct Pairs<'a> {
    known: &'a Closure,
    by_path: HashMap<&'a [u8], u32>,
    /// By path with every run of digits as one, then by path: `libfoo.so.1.2` stands beside `.1.3`,
    /// `/lib/modules/6.1.0-37` beside `-38`.
    by_shape: BTreeMap<(Vec<u8>, &'a [u8]), u32>,
}

impl<'a> Pairs<'a> {
    fn new(known: &'a Closure) -> Self {
        let mut pairs = Pairs { known, by_path: HashMap::new(), by_shape: BTreeMap::new() };
        for (number, object) in known.objects.iter().enumerate() {
            pairs.by_path.entry(&object.path).or_insert(number as u32);
            pairs.by_shape.entry((shape(&object.path), &object.path)).or_insert(number as u32);
        }
        pairs
    }

    fn find(&self, name: &ObjectName, path: &[u8]) -> Option<u32> {
        let fits = |number: &u32| self.known.objects[*number as usize].name.kind == name.kind;
        let by_path = self.by_path.get(path).copied().filter(fits);
        by_path.or_else(|| self.nearest(path).filter(fits))
    }

    /// Of the paths with the same shape, returns the one that begins like this one for longest.
    fn nearest(&self, path: &[u8]) -> Option<u32> {
        let key = (shape(path), path);
        let before = self.by_shape.range(..&key).next_back();
        let behind = self.by_shape.range(&key..).next();
        let of_shape = [before, behind].into_iter().flatten().filter(|(found, _)| found.0 == key.0);
        let common = |other: &[u8]| path.iter().zip(other).take_while(|(left, right)| left == right).count();
        of_shape.max_by_key(|(found, _)| common(found.1)).map(|(_, &number)| number)
    }
}

fn shape(path: &[u8]) -> Vec<u8> {
    let mut shape: Vec<u8> = Vec::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'0'..=b'9' | b'.' if shape.last() == Some(&b'0') => {}
            b'0'..=b'9' => shape.push(b'0'),
            _ => shape.push(byte),
        }
    }
    shape
}
