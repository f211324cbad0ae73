//! A repository of packages: `repodata/repomd.xml`, signed beside itself, and the indexes that it names.

use std::collections::{BTreeMap, HashSet};

use super::super::deb::name::is_archive_path;
use super::super::digest::Sha256;
use super::super::error::PackagesError;
use super::super::keyring::Keyring;
use super::error::RepositoryError;
use super::primary::{self, Wanted};
use super::request::{Request, Source};
use super::signature::verify_detached;
use super::universe::Universe;
use super::xml::{Event, Reader, XmlError};
use crate::archive::{Limits, decompress};
use crate::base::Job;

/// Largest `repomd.xml` and signature, in bytes.
const REPOMD_BYTES_MAX: u64 = 4 << 20;
/// Largest index, packed and unpacked, in bytes.
const PACKED_BYTES_MAX: u64 = 512 << 20;
const INDEX_BYTES_MAX: u64 = 4 << 30;

/// Gets files of a repository. Used from several threads at once.
pub trait RepositoryFiles: Sync {
    /// Returns a file below a source's root; `None` where nothing is there. With `expected`, what comes back has that
    /// SHA-256 and size; without, it has at most `bytes_max` bytes.
    fn read(
        &self,
        source: &Source,
        path: &str,
        expected: Option<(Sha256, u64)>,
        bytes_max: u64,
        job: &Job,
    ) -> Result<Option<Vec<u8>>, PackagesError>;
}

/// What `repomd.xml` says of one index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexFile {
    /// Path below the repository's root.
    pub path: String,
    pub sha256: Sha256,
    pub size_bytes: u64,
    /// After decompression, where it is said.
    pub open_size_bytes: Option<u64>,
}

/// Holds what `repomd.xml` says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata {
    /// Counts up with time on most repositories.
    pub revision: String,
    /// By kind: `primary`, `filelists`.
    pub indexes: BTreeMap<String, IndexFile>,
}

impl Metadata {
    /// Reads `repomd.xml`. An index that is wanted must have a SHA-256: see [`Metadata::index`].
    pub fn parse(bytes: &[u8]) -> Result<Metadata, XmlError> {
        let mut reader = Reader::new(bytes);
        let mut metadata = Metadata::default();
        let (mut kind, mut text) = (String::new(), String::new());
        let mut draft = IndexDraft::default();
        loop {
            let problem = match reader.next_event()? {
                Event::Finish => return Ok(metadata),
                Event::Text(more) => {
                    text.push_str(&more);
                    Ok(())
                }
                Event::Start(tag) => {
                    text.clear();
                    let attribute =
                        |name: &str| tag.get(name).map(|value| value.unwrap_or_default().into_owned());
                    match tag.name {
                        "data" => {
                            draft = IndexDraft::default();
                            attribute("type").map(|found| kind = found)
                        }
                        "checksum" => attribute("type").map(|found| draft.is_sha256 = found == "sha256"),
                        "location" => attribute("href").map(|found| draft.path = found),
                        _ => Ok(()),
                    }
                }
                Event::End("data") => {
                    let index = std::mem::take(&mut draft).finish();
                    index.into_iter().for_each(|index| drop(metadata.indexes.insert(kind.clone(), index)));
                    Ok(())
                }
                Event::End(name) => {
                    match name {
                        "revision" => metadata.revision = text.trim().chars().take(64).collect(),
                        "checksum" if draft.is_sha256 => draft.sha256 = text.trim().parse().ok(),
                        "size" => draft.size = text.trim().parse().ok(),
                        "open-size" => draft.open_size = text.trim().parse().ok(),
                        _ => {}
                    }
                    Ok(())
                }
            };
            problem.map_err(|problem: String| reader.wrong(problem))?;
        }
    }

    /// Returns an index, which must be pinned by size and SHA-256.
    pub fn index(&self, kind: &'static str) -> Result<&IndexFile, String> {
        let missing =
            || format!("it names no {kind} index with a size, a path and a SHA-256; nothing weaker is taken");
        self.indexes.get(kind).ok_or_else(missing)
    }
}

/// One index as far as it was read.
#[derive(Default)]
struct IndexDraft {
    path: String,
    is_sha256: bool,
    sha256: Option<Sha256>,
    size: Option<u64>,
    open_size: Option<u64>,
}

impl IndexDraft {
    fn finish(self) -> Option<IndexFile> {
        let path = Some(self.path).filter(|path| is_archive_path(path))?;
        Some(IndexFile {
            path,
            sha256: self.sha256?,
            size_bytes: self.size?,
            open_size_bytes: self.open_size,
        })
    }
}

/// Says what state of a repository was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepositoryState {
    /// The source's name in the recipe.
    pub source: String,
    pub revision: String,
    /// Of `repomd.xml`.
    pub sha256: Sha256,
    /// Fingerprint of the key that signed it; `None` where only its packages are signed.
    pub signer: Option<String>,
}

/// A repository whose metadata is here.
pub struct Repository<'a> {
    pub source: &'a Source,
    pub state: RepositoryState,
    metadata: Metadata,
    pub keyring: Keyring,
}

impl<'a> Repository<'a> {
    /// Reads `repomd.xml` and checks its signature. A repository without one is taken on the word of its packages:
    /// then every package that is chosen must be signed itself.
    pub fn open(
        source: &'a Source,
        files: &dyn RepositoryFiles,
        now_seconds: u64,
        job: &Job,
    ) -> Result<Repository<'a>, RepositoryError> {
        let failed =
            |problem: String| RepositoryError::Metadata { source_name: source.name.clone(), problem };
        let path = source.signed_by.as_ref().ok_or_else(|| failed(NO_KEYRING.to_owned()))?;
        let keyring = Keyring::open(path)?;
        let read = |path: &str| files.read(source, path, None, REPOMD_BYTES_MAX, job);
        let bytes =
            read("repodata/repomd.xml")?.ok_or_else(|| failed("it has no repodata/repomd.xml".to_owned()))?;
        let signer = match read("repodata/repomd.xml.asc")? {
            Some(signature) => {
                Some(verify_detached(&signature, &bytes, &keyring, now_seconds).map_err(|reasons| {
                    failed(format!("no signature of its repomd.xml is good ({})", reasons.join("; ")))
                })?)
            }
            None => None,
        };
        let metadata = Metadata::parse(&bytes).map_err(|error| failed(format!("repomd.xml, {error}")))?;
        let (revision, sha256) = (metadata.revision.clone(), Sha256::of(&bytes));
        let state = RepositoryState { source: source.name.clone(), revision, sha256, signer };
        Ok(Repository { source, state, metadata, keyring })
    }

    /// Reads one of its indexes: checked, then unpacked as it is read.
    fn with_index(
        &self,
        kind: &'static str,
        files: &dyn RepositoryFiles,
        job: &Job,
        read: impl FnOnce(&mut dyn std::io::Read) -> Result<(), XmlError>,
    ) -> Result<(), RepositoryError> {
        let failed =
            |problem: String| RepositoryError::Metadata { source_name: self.source.name.clone(), problem };
        let index = self.metadata.index(kind).map_err(failed)?;
        let expected = (index.sha256, index.size_bytes);
        let packed = files.read(self.source, &index.path, Some(expected), PACKED_BYTES_MAX, job)?;
        let packed = packed.ok_or_else(|| failed(format!("its index {} is missing", index.path)))?;
        if packed.len() as u64 != index.size_bytes || Sha256::of(&packed) != index.sha256 {
            return Err(failed(format!("index {} is not the one that repomd.xml names", index.path)));
        }
        let unpacked = decompress(&packed[..], &Limits::default());
        let (_, unpacked) = unpacked.map_err(|error| failed(format!("index {}: {error}", index.path)))?;
        let limit = index.open_size_bytes.unwrap_or(INDEX_BYTES_MAX).min(INDEX_BYTES_MAX);
        let mut bounded = std::io::Read::take(unpacked, limit);
        read(&mut bounded).map_err(|error| failed(format!("index {}, {error}", index.path)))
    }

    /// Adds its packages to a universe.
    pub fn load(
        &self,
        wanted: &Wanted<'_>,
        universe: &mut Universe,
        files: &dyn RepositoryFiles,
        job: &Job,
    ) -> Result<(), RepositoryError> {
        self.with_index("primary", files, job, |input| primary::read(input, wanted, universe))
    }

    /// Adds the packages of some paths to a universe, from the list of all files.
    pub fn load_files(
        &self,
        source: usize,
        paths: &HashSet<String>,
        universe: &mut Universe,
        files: &dyn RepositoryFiles,
        job: &Job,
    ) -> Result<(), RepositoryError> {
        self.with_index("filelists", files, job, |input| primary::read_files(input, source, paths, universe))
    }
}

const NO_KEYRING: &str =
    "nothing says whose signatures count: name a keyring with `signed_by` in its source block";

/// Opens all repositories of a request and reads what they offer, best priority first.
pub fn load<'a>(
    request: &'a Request,
    files: &dyn RepositoryFiles,
    now_seconds: u64,
    job: &Job,
) -> Result<(Vec<Repository<'a>>, Universe), RepositoryError> {
    let mut universe = Universe::default();
    let mut repositories = Vec::new();
    for source in &request.sources {
        job.check()?;
        repositories.push(Repository::open(source, files, now_seconds, job)?);
    }
    let mut order: Vec<usize> = (0..repositories.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(request.sources[*index].priority), *index));
    for index in order {
        let wanted = Wanted { source: index, architecture: request.rpm_architecture() };
        repositories[index].load(&wanted, &mut universe, files, job)?;
        job.check()?;
    }
    Ok((repositories, universe))
}
