//! From the bytes of a package to what is kept of it: fields, files of its control archive, tree. Contents go
//! straight into the caller's sink, and a package is decoded once ever: [`Unpacked::to_tree`] makes one tree of
//! all of it, for a store to keep.
//!
//! A locked package stands in an index that the distribution signed, so its setuid and setgid bits and its
//! file capabilities come in as they are. Device nodes and `trusted.*` attributes do not: no package of a
//! distribution has any, and an image that wants one names it in the recipe.

use std::io::Read;
use std::sync::Mutex;

use super::deb::archive::{self as deb_archive, DebError};
use super::digest::Sha256;
use super::error::PackagesError;
use super::fetch::Fetcher;
use super::lock::{LockedPackage, Wanted};
use crate::archive::{ArchiveError, Limits, Options as ArchiveOptions};
use crate::base::job::Unit;
use crate::base::{Digest, ImagePath, Job, Name, StepKey};
use crate::tree::{ContentError, ContentSink, ContentSource, Directory, Node, Special};

/// Names what this file does with a package's bytes. Raise it whenever the same bytes give another tree.
const UNPACK_CONTEXT: &str = "mkimage 2026 unpack deb v2";
/// Where a stored package has the files of its control archive, and where its own.
const CONTROL: &str = "control";
const DATA: &str = "data";
/// Most bytes that the decoder threads of all packages hold together.
const DECODER_BYTES: u64 = 160 << 20;

/// Holds a package's fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Every field as it stands in the control file, in its order.
    pub fields: Vec<(String, String)>,
}

impl Control {
    /// Returns a field's value, continuation lines and all; names count without case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|field| field.0.eq_ignore_ascii_case(name));
        found.map(|field| field.1.as_str())
    }
}

/// Holds what a package brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unpacked {
    /// What it installs, at the paths that it spells.
    pub tree: Directory,
    /// The files of its control archive by name: `control`, `md5sums`, `conffiles`, `postinst`…; root's, 0755
    /// where they are programs, else 0644. Nothing runs them here.
    pub info: Directory,
    pub control: Control,
}

impl Unpacked {
    /// Makes one tree of the whole package: `control/` and `data/`. It can be sealed, and
    /// [`Unpacked::from_tree`] makes the same package of it. A format: changing it needs a new
    /// `UNPACK_CONTEXT`.
    pub fn to_tree(self) -> Directory {
        let mut data = self.tree;
        let top = name(DATA);
        map_links(&mut data, |target| {
            let names = std::iter::once(top.as_bytes()).chain(target.names());
            names.fold(ImagePath::root(), |path, name| join(&path, name))
        });
        let entries = [(name(CONTROL), Node::Directory(self.info)), (top, Node::Directory(data))];
        Directory { entries: entries.into(), ..Directory::default() }
    }

    /// Takes a package out of the tree that was kept of it. Reads one file.
    pub fn from_tree(mut tree: Directory, source: &dyn ContentSource) -> Result<Unpacked, DebError> {
        let (Some(Node::Directory(info)), Some(Node::Directory(mut data))) =
            (tree.entries.remove(CONTROL.as_bytes()), tree.entries.remove(DATA.as_bytes()))
        else {
            return Err(DebError::Stored("it has no directories control and data"));
        };
        let mut strays = 0;
        map_links(&mut data, |target| {
            let mut names = target.names();
            strays += usize::from(names.next() != Some(DATA.as_bytes()));
            names.fold(ImagePath::root(), |path, name| join(&path, name))
        });
        if strays > 0 || !tree.entries.is_empty() {
            return Err(DebError::Stored("it has more than a package's files"));
        }
        let text = file(&info, "control", source)?.ok_or(DebError::MissingFile("control"))?;
        let control = deb_archive::parse_control(&text)?;
        Ok(Unpacked { tree: data, info, control })
    }

    /// Returns a file of the control archive, such as `postinst`; `None` where the package has none of this
    /// name.
    pub fn script(&self, name: &str, source: &dyn ContentSource) -> Result<Option<Vec<u8>>, ContentError> {
        file(&self.info, name, source)
    }

    /// Returns the files that an administrator may change, at the paths that the package spells.
    pub fn conffiles(&self, source: &dyn ContentSource) -> Result<Vec<ImagePath>, DebError> {
        let text = file(&self.info, "conffiles", source)?.unwrap_or_default();
        deb_archive::parse_conffiles(&text)
    }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("because it is a name")
}

fn join(path: &ImagePath, name: &[u8]) -> ImagePath {
    path.join(&Name::new(name).expect("because a path holds valid names"))
}

fn file(info: &Directory, name: &str, source: &dyn ContentSource) -> Result<Option<Vec<u8>>, ContentError> {
    match info.entries.get(name.as_bytes()) {
        Some(Node::File(file)) => source.read_all(&file.content).map(Some),
        _ => Ok(None),
    }
}

/// Lets hard links lead elsewhere.
fn map_links(tree: &mut Directory, mut map: impl FnMut(&ImagePath) -> ImagePath) {
    let mut waiting = vec![tree];
    while let Some(directory) = waiting.pop() {
        for node in directory.entries.values_mut() {
            match node {
                Node::Directory(directory) => waiting.push(directory),
                Node::HardLink(target) => *target = map(target),
                _ => {}
            }
        }
    }
}

/// Returns the key of unpacking a package: equal keys, equal trees.
pub fn unpack_key(sha256: &Sha256) -> StepKey {
    StepKey(Digest::derive(UNPACK_CONTEXT, &sha256.0))
}

/// Says how much of the machine the decoder of one package may take. It reaches no byte of the result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Threads that decode side by side; 1 for none beside the worker itself.
    pub threads: u32,
    /// Most bytes that these threads hold together.
    pub bytes: u64,
}

impl Share {
    /// The worker itself and nothing more.
    pub const ONE: Share = Share { threads: 1, bytes: 0 };
}

/// Unpacks the bytes of one package, read once from front to back. They must have been checked against a
/// digest that is trusted; their form is not trusted. Costs the decompression; holds a few mebibytes, whatever
/// the package's size.
pub fn deb(
    reader: impl Read + Send,
    share: Share,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Unpacked, DebError> {
    let limits = Limits { xz_threads: share.threads, xz_threads_bytes: share.bytes, ..Limits::default() };
    let options = ArchiveOptions {
        label: "unpack".to_owned(),
        policy: &is_allowed,
        parallel: share.threads > 1,
        limits,
        ..ArchiveOptions::default()
    };
    let (control, info, tree) = deb_archive::read(reader, &options, sink, job)?;
    Ok(Unpacked { tree, info, control })
}

/// Does the work for each package as workers get free, the largest first; results come in the order of the
/// items. A package that is larger than its worker's part of the whole gets further threads, so that it is not
/// waited for in the end. Returns all results, or all errors.
pub fn largest_first<T: Send, R: Send, E: Send>(
    items: Vec<T>,
    size_bytes: impl Fn(&T) -> u64,
    job: &Job,
    work: impl Fn(T, Share) -> Result<R, E> + Sync,
) -> Result<Vec<R>, Vec<E>> {
    let mut order: Vec<(usize, u64, T)> =
        items.into_iter().enumerate().map(|(index, item)| (index, size_bytes(&item), item)).collect();
    order.sort_by_key(|(index, size, _)| (std::cmp::Reverse(*size), *index));
    let sizes: Vec<u64> = order.iter().map(|item| item.1).collect();
    let shares = shares(&sizes, job.workers.count_for_others());
    let done = Mutex::new(Vec::with_capacity(order.len()));
    let each = |((index, _, item), share)| {
        let result = work(item, share);
        done.lock().expect("because no worker panics while it adds a result").push((index, result));
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = job.workers.for_each(order.into_iter().zip(shares), each);
    let mut done = done.into_inner().expect("because no worker panics while it adds a result");
    done.sort_by_key(|result| result.0);
    let (results, errors): (Vec<_>, Vec<_>) = done.into_iter().map(|done| done.1).partition(Result::is_ok);
    if errors.is_empty() {
        Ok(results.into_iter().filter_map(Result::ok).collect())
    } else {
        Err(errors.into_iter().filter_map(Result::err).collect())
    }
}

/// Shares workers and memory out among packages of these sizes.
fn shares(sizes: &[u64], workers: usize) -> Vec<Share> {
    let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum::<u128>().max(1);
    let threads = |size: u64| (u128::from(size) * workers as u128 / total).clamp(1, workers.max(1) as u128);
    let threaded: u128 = sizes.iter().filter(|size| threads(**size) > 1).map(|size| u128::from(*size)).sum();
    let share = |size: u64| match threads(size) {
        1 => Share::ONE,
        threads => {
            let bytes = u128::from(DECODER_BYTES) * u128::from(size) / threaded.max(1);
            Share { threads: threads as u32, bytes: bytes as u64 }
        }
    };
    sizes.iter().map(|size| share(*size)).collect()
}

/// Unpacks locked packages, the largest first, on all workers; the results come in the order of `wanted`.
/// What is not in the cache is fetched.
pub fn locked(
    wanted: &[Wanted<'_>],
    fetcher: &Fetcher<'_>,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Vec<Unpacked>, PackagesError> {
    fetcher.fetch(wanted, job)?;
    let total = wanted.iter().map(|wanted| wanted.package.size_bytes).sum();
    let step = job.step("unpack packages", Some(total), Unit::Bytes);
    let size = |wanted: &&Wanted<'_>| wanted.package.size_bytes;
    largest_first(wanted.iter().collect(), size, job, |wanted, share| {
        let bytes = fetcher.read(wanted, job)?;
        let unpacked = locked_deb(&bytes[..], wanted.package, share, sink, job)?;
        step.advance(wanted.package.size_bytes);
        Ok(unpacked)
    })
    .map_err(PackagesError::of)
}

/// Unpacks one locked package as [`deb`] does, and checks that it is the one that was locked.
pub fn locked_deb(
    reader: impl Read + Send,
    package: &LockedPackage,
    share: Share,
    sink: &dyn ContentSink,
    job: &Job,
) -> Result<Unpacked, PackagesError> {
    let failed = |problem: DebError| match problem {
        DebError::Inner { problem: ArchiveError::Cancelled(cancelled), .. } => cancelled.into(),
        problem => PackagesError::Unpack { package: package.to_string(), problem: Box::new(problem) },
    };
    let unpacked = deb(reader, share, sink, job).map_err(failed)?;
    let Control { name, version, architecture, .. } = &unpacked.control;
    if (name, version, architecture) != (&package.name, &package.version, &package.architecture) {
        let found = format!("{name} {version} {architecture}");
        let expected = format!("{package} {}", package.architecture);
        return Err(failed(DebError::OtherPackage { found, expected }));
    }
    Ok(unpacked)
}

fn is_allowed(_: &ImagePath, special: Special) -> bool {
    matches!(special, Special::SetUid | Special::SetGid | Special::Capability)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{File, MemoryContents, Metadata};

    fn path(text: &str) -> ImagePath {
        ImagePath::new(text.as_bytes()).expect("a path")
    }

    fn unpacked(contents: &MemoryContents) -> Unpacked {
        let text = b"Package: hello\nVersion: 1\nArchitecture: all\n";
        let file = |bytes: &[u8]| {
            let content = contents.put(bytes).expect("put");
            Node::File(File { metadata: Metadata::root(0o644), content })
        };
        let mut tree = Directory::default();
        tree.metadata.mode = 0o700;
        tree.insert(&path("/bin/a"), file(b"a")).expect("inserted");
        tree.insert(&path("/bin/b"), Node::HardLink(path("/bin/a"))).expect("inserted");
        let mut info = Directory::default();
        info.insert(&path("/control"), file(text)).expect("inserted");
        info.insert(&path("/conffiles"), file(b"/etc/a\n")).expect("inserted");
        let control = deb_archive::parse_control(text).expect("fields");
        Unpacked { tree, info, control }
    }

    #[test]
    fn a_package_comes_back_from_the_tree_that_is_kept_of_it() {
        let contents = MemoryContents::default();
        let unpacked = unpacked(&contents);
        let kept = unpacked.clone().to_tree();
        assert_eq!(kept.get(&path("/data/bin/b")), Some(&Node::HardLink(path("/data/bin/a"))));
        let sealed = kept.seal().expect("sealed");
        let back = Unpacked::from_tree((*sealed).clone(), &contents).expect("a package");
        assert_eq!(back, unpacked);
        assert_eq!(back.conffiles(&contents).expect("read"), [path("/etc/a")]);
        assert_eq!(back.script("postinst", &contents).expect("read"), None);
    }

    #[test]
    fn a_tree_that_is_no_package_is_refused() {
        let contents = MemoryContents::default();
        let kept = unpacked(&contents).to_tree();
        let refused = |change: &dyn Fn(&mut Directory)| {
            let mut tree = kept.clone();
            change(&mut tree);
            Unpacked::from_tree(tree, &contents).expect_err("refused")
        };
        refused(&|tree| drop(tree.remove(&path("/data"))));
        refused(&|tree| drop(tree.remove(&path("/control/control"))));
        refused(&|tree| drop(tree.insert(&path("/more"), Node::Fifo(Metadata::root(0o600)))));
        refused(&|tree| drop(tree.insert(&path("/data/x"), Node::HardLink(path("/control/control")))));
    }

    #[test]
    fn what_is_larger_than_a_workers_part_gets_further_threads() {
        let threads = |sizes: &[u64], workers| {
            shares(sizes, workers).iter().map(|share| share.threads).collect::<Vec<_>>()
        };
        assert_eq!(threads(&[27, 10, 10, 10, 10, 12], 2), [1; 6]);
        assert_eq!(threads(&[27, 10, 10, 10, 10, 12], 8), [2, 1, 1, 1, 1, 1]);
        assert_eq!(threads(&[27], 8), [8]);
        assert_eq!(threads(&[0, 0], 4), [1, 1]);
        let sum: u64 = shares(&[50, 50, 1], 8).iter().map(|share| share.bytes).sum();
        assert!(sum <= DECODER_BYTES, "{sum}");
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        let doubled = largest_first(items, |item| *item, &Job::quiet(3), |item, _| Ok::<_, ()>(item * 2));
        assert_eq!(doubled, Ok((0..100).map(|item| item * 2).collect()));
        let failed = largest_first(vec![1, 2], |item| *item, &Job::quiet(2), |item, _| Err::<(), _>(item));
        assert_eq!(failed, Err(vec![1, 2]));
    }
}
