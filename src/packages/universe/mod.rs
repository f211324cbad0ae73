//! All packages that a request may choose from: the indexes of its sources, and package files of the host.
//!
//! In: verified texts of `Packages` indexes, each with the number of its source and its priority.
//! Out: [`PackageId`]s, and what the index says of each.
//!
//! Always true
//! - Texts are kept as they are; what is known of a package are places in them. Fields that only matter for
//!   chosen packages are read when asked for.
//! - Packages are numbered in the order in which they came: nothing depends on a hash or on threads.
//! - A package whose paragraph is malformed is not there; [`Universe::refused`] says why.
//!
//! Read first: [`Universe`], then [`super::deb::index`].

mod build;
mod mentions;
mod names;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use self::build::provided;
use self::mentions::Mentions;
use self::names::Names;
use super::deb::index::{self, IndexEntry, IndexError, MultiArch, Paragraph, Relations, Span};
use super::deb::relation;
use super::deb::version::Version;
use super::digest::Sha256;
use super::request::fits;
use crate::base::parallel::Workers;

/// Starts the name of every kernel package, metapackages too.
const KERNEL: &str = "linux-image-";
/// Most architectures of one universe.
const ARCHITECTURES_MAX: usize = 8;
/// Ends a list of numbers.
const NONE: u32 = u32::MAX;

/// Numbers a package of a universe: a name in a version for an architecture, from one source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PackageId(pub(in crate::packages) u32);

/// Numbers a name of a universe, of real and virtual packages alike.
pub(super) type NameId = u32;

/// Says where a package comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin<'a> {
    /// The source with this number.
    Source(usize),
    /// A file of the host.
    Local(&'a Path),
}

/// Says why a bare package can't be named.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BareError {
    #[error("there is no package {name} for {architecture}{}", did_you_mean(similar))]
    Unknown { name: String, architecture: String, similar: Vec<String> },
    #[error("{name} {version} asks for {needs}, which is not there")]
    Metapackage { name: String, version: String, needs: String },
    #[error("no version of {name} is {pattern:?}, as the recipe pins it; there is {}", found.join(", "))]
    Pinned { name: String, pattern: String, found: Vec<String> },
}

/// Writes the end of a message about a name that is not there.
pub(super) fn did_you_mean(similar: &[String]) -> String {
    if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) }
}

struct Text {
    source: usize,
    priority: i32,
    text: String,
    /// For a file of the host: its path, size and digest.
    file: Option<(PathBuf, u64, Sha256)>,
}

#[derive(Clone, Copy)]
struct Record {
    text: u32,
    name: NameId,
    /// Index into the architectures; packages for all are native.
    architecture: u8,
    /// The next package of the same name.
    next: u32,
    paragraph: Paragraph,
}

/// A virtual package that a real one provides.
#[derive(Clone, Copy)]
pub(super) struct Provision {
    pub package: PackageId,
    version: Span,
    next: u32,
}

/// Ends of a list of numbers that grows at its end.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        List { first: NONE, last: NONE }
    }
}

/// Holds all packages that a request may choose from.
pub struct Universe {
    /// The native one first.
    architectures: Vec<String>,
    texts: Vec<Text>,
    suites: BTreeMap<usize, String>,
    names: Names,
    records: Vec<Record>,
    packages: Vec<List>,
    provisions: Vec<Provision>,
    providers: Vec<List>,
    refused: Vec<IndexError>,
    mentions: Mutex<Mentions>,
    /// Whoever added many packages lent theirs.
    workers: Option<Workers>,
}

impl Universe {
    /// Makes an empty universe for machines of one architecture, which may run programs of others too.
    pub fn new(native: &str, foreign: &[String]) -> Self {
        let others = foreign.iter().filter(|other| *other != native).take(ARCHITECTURES_MAX - 1);
        Universe {
            architectures: [native.to_owned()].into_iter().chain(others.cloned()).collect(),
            texts: Vec::new(),
            suites: BTreeMap::new(),
            names: Names::default(),
            records: Vec::new(),
            packages: Vec::new(),
            provisions: Vec::new(),
            providers: Vec::new(),
            refused: Vec::new(),
            mentions: Mutex::default(),
            workers: None,
        }
    }

    /// Says of which suite a source is, for roots that name one and for messages.
    pub fn name_source(&mut self, source: usize, suite: &str) {
        self.suites.insert(source, suite.to_owned());
    }

    /// Returns the number of an architecture; packages for all are native.
    pub(super) fn architecture_index(&self, architecture: &str) -> Option<usize> {
        let is_it = |known: &String| known == architecture;
        if architecture == "all" { Some(0) } else { self.architectures.iter().position(is_it) }
    }

    /// Returns the architectures, the native one first.
    pub fn architectures(&self) -> &[String] {
        &self.architectures
    }

    /// Returns how many packages there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Tells whether there is no package at all.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns why packages of the indexes were left out.
    pub fn refused(&self) -> &[IndexError] {
        &self.refused
    }

    /// Returns what the index says of a package.
    pub fn package(&self, id: PackageId) -> IndexEntry {
        let (record, text) = (self.record_of(id), self.text_of(id));
        let paragraph = record.paragraph;
        let (name, version) = (self.name(id).to_owned(), self.version(id).to_owned());
        let field = |name| index::field(paragraph.whole.of(&text.text), name).unwrap_or_default();
        let (source, source_version) = index::source(field("Source"), &name, &version);
        let (filename, size_bytes, sha256) = match &text.file {
            Some((path, size_bytes, sha256)) => {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                (format!("local:{file}"), *size_bytes, *sha256)
            }
            None => (
                paragraph.filename.of(&text.text).to_owned(),
                paragraph.size.of(&text.text).parse().unwrap_or_default(),
                paragraph.sha256.of(&text.text).parse().unwrap_or(Sha256([0; 32])),
            ),
        };
        IndexEntry {
            architecture: self.architecture(id).to_owned(),
            section: field("Section").to_owned(),
            name,
            version,
            filename,
            size_bytes,
            sha256,
            source,
            source_version,
        }
    }

    /// Returns the whole paragraph of a package.
    pub fn paragraph(&self, id: PackageId) -> &str {
        self.record_of(id).paragraph.whole.of(&self.text_of(id).text)
    }

    pub fn name(&self, id: PackageId) -> &str {
        self.record_of(id).paragraph.name.of(&self.text_of(id).text)
    }

    pub fn version(&self, id: PackageId) -> &str {
        self.record_of(id).paragraph.version.of(&self.text_of(id).text)
    }

    /// Returns the architecture as the index says it: `amd64`, or `all`.
    pub fn architecture(&self, id: PackageId) -> &str {
        self.record_of(id).paragraph.architecture.of(&self.text_of(id).text)
    }

    /// Returns where a package comes from.
    pub fn origin(&self, id: PackageId) -> Origin<'_> {
        let text = self.text_of(id);
        text.file.as_ref().map_or(Origin::Source(text.source), |file| Origin::Local(&file.0))
    }

    /// Returns the suite of a package, where [`Universe::name_source`] has named it.
    pub fn suite(&self, id: PackageId) -> Option<&str> {
        self.suites.get(&self.text_of(id).source).map(String::as_str)
    }

    /// Returns the packages of a name and, if one is given, an architecture; best first: by the priority of their
    /// source, then by version, then as they came.
    pub fn find(&self, name: &str, architecture: Option<&str>) -> Vec<PackageId> {
        let Some(name) = self.name_id(name) else { return Vec::new() };
        let architecture = architecture.map(|architecture| self.architecture_index(architecture));
        let is_it = |id: &PackageId| architecture.is_none_or(|wanted| wanted == Some(self.machine(*id)));
        let mut found: Vec<PackageId> = self.of_name(name).filter(is_it).collect();
        self.sort(&mut found);
        found
    }

    /// Sorts packages, best first.
    pub(super) fn sort(&self, packages: &mut [PackageId]) {
        packages.sort_by(|a, b| {
            let versions = || Version::parse(self.version(*b)).cmp(&Version::parse(self.version(*a)));
            self.priority(*b).cmp(&self.priority(*a)).then_with(versions)
        });
    }

    /// Returns the names of all packages, in the order in which they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let real = (0..self.names.len() as NameId).filter(|id| self.packages[*id as usize].first != NONE);
        real.map(|id| self.name_text(id))
    }

    /// Returns the names of the packages that are essential in their best version, sorted.
    pub fn essential_names(&self) -> Vec<&str> {
        let essential = self.ids().filter(|id| self.is_essential(*id) && self.machine(*id) == 0);
        let mut names: Vec<&str> = essential.map(|id| self.name(id)).collect();
        names.sort_unstable();
        names.dedup();
        let is_best =
            |name: &str| self.find(name, Some("all")).first().is_some_and(|id| self.is_essential(*id));
        names.retain(|name| is_best(name));
        names
    }

    /// Returns names of packages that a person may have meant, best first, at most three.
    pub fn similar(&self, name: &str) -> Vec<String> {
        index::nearest(name, self.names()).into_iter().map(str::to_owned).collect()
    }

    /// Returns the native package that a bare name stands for: the best of this name; for a kernel's metapackage
    /// the kernel that it depends on, one step and no further.
    pub fn bare(&self, name: &str, pins: &BTreeMap<String, String>) -> Result<PackageId, BareError> {
        let native = self.architectures[0].as_str();
        let unknown = || BareError::Unknown {
            name: name.to_owned(),
            architecture: native.to_owned(),
            similar: self.similar(name),
        };
        let id = *self.pinned(name, native, pins)?.first().ok_or_else(unknown)?;
        let Some(kernel) = self.kernel(id) else { return Ok(id) };
        let kernels = self.pinned(kernel.name, native, pins)?;
        let found = kernels.into_iter().find(|found| kernel.accepts(self.version(*found)));
        found.ok_or_else(|| BareError::Metapackage {
            name: name.to_owned(),
            version: self.version(id).to_owned(),
            needs: kernel.to_string(),
        })
    }

    /// Returns the versions of a package that its pin allows, best first.
    fn pinned(
        &self,
        name: &str,
        architecture: &str,
        pins: &BTreeMap<String, String>,
    ) -> Result<Vec<PackageId>, BareError> {
        let all = self.find(name, Some(architecture));
        let Some(pattern) = pins.get(name).filter(|_| !all.is_empty()) else { return Ok(all) };
        let allowed: Vec<_> = all.iter().filter(|id| fits(pattern, self.version(**id))).copied().collect();
        match allowed.is_empty() {
            true => Err(BareError::Pinned {
                name: name.to_owned(),
                pattern: pattern.clone(),
                found: all.iter().map(|id| self.version(*id).to_owned()).collect(),
            }),
            false => Ok(allowed),
        }
    }

    /// Returns the kernel for which a metapackage stands; `None` for every other package.
    fn kernel(&self, id: PackageId) -> Option<relation::Atom<'_>> {
        if !self.name(id).starts_with(KERNEL) {
            return None;
        }
        let needed = relation::parse(self.relations(id).depends, self.architecture(id)).ok()?;
        let first = needed.into_iter().filter_map(|group| group.atoms.into_iter().next());
        first.into_iter().find(|atom| atom.name.starts_with(KERNEL))
    }

    fn record_of(&self, id: PackageId) -> &Record {
        &self.records[id.0 as usize]
    }

    fn text_of(&self, id: PackageId) -> &Text {
        &self.texts[self.record_of(id).text as usize]
    }

    pub(super) fn names_count(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name_id(&self, name: &str) -> Option<NameId> {
        self.names.find(name, |place| place.span.of(&self.texts[place.text as usize].text))
    }

    pub(super) fn name_text(&self, name: NameId) -> &str {
        let place = self.names.place(name);
        place.span.of(&self.texts[place.text as usize].text)
    }

    pub(super) fn name_of(&self, id: PackageId) -> NameId {
        self.record_of(id).name
    }

    /// Returns the number of the architecture that a package is installed for.
    pub(super) fn machine(&self, id: PackageId) -> usize {
        usize::from(self.record_of(id).architecture)
    }

    pub(super) fn priority(&self, id: PackageId) -> i32 {
        self.text_of(id).priority
    }

    pub(super) fn is_essential(&self, id: PackageId) -> bool {
        self.record_of(id).paragraph.is_essential
    }

    pub(super) fn multi_arch(&self, id: PackageId) -> MultiArch {
        self.record_of(id).paragraph.multi_arch
    }

    /// Orders the packages that provide the same thing: essential ones first, then protected ones, then the native
    /// ones, then by their priority.
    pub(super) fn rank(&self, id: PackageId) -> (bool, bool, bool, index::Priority) {
        let Record { architecture, paragraph, .. } = self.record_of(id);
        (!paragraph.is_essential, !paragraph.is_protected, *architecture > 0, paragraph.priority)
    }

    /// Returns of each package how many names were mentioned before its own, to be compared among these only.
    pub(super) fn mentions(&self, packages: &[PackageId]) -> BTreeMap<PackageId, u32> {
        let names: Vec<NameId> = packages.iter().map(|id| self.name_of(*id)).collect();
        let mut mentions = self.mentions.lock().expect("because reading indexes does not panic");
        let ranks = match &self.workers {
            Some(workers) => mentions.of(self, &names, workers),
            None => mentions.of(self, &names, &Workers::new(1)),
        };
        packages.iter().copied().zip(ranks).collect()
    }

    pub(super) fn relations(&self, id: PackageId) -> Relations<'_> {
        index::relations(self.paragraph(id))
    }

    /// Returns all packages, in the order in which they came.
    pub(super) fn ids(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..self.records.len() as u32).map(PackageId)
    }

    /// Returns the packages of a name, in the order in which they came.
    pub(super) fn of_name(&self, name: NameId) -> impl Iterator<Item = PackageId> {
        let first = self.packages[name as usize].first;
        let next = |&id: &u32| Some(self.records[id as usize].next).filter(|&next| next != NONE);
        std::iter::successors(Some(first).filter(|&first| first != NONE), next).map(PackageId)
    }

    /// Returns who provides a name, in the order in which they came.
    pub(super) fn providers(&self, name: NameId) -> impl Iterator<Item = Provision> {
        let first = self.providers[name as usize].first;
        let at = |id: u32| self.provisions.get(id as usize).copied();
        std::iter::successors(at(first), move |provision| at(provision.next))
    }

    /// Returns the virtual packages that a package provides.
    pub(super) fn provided(&self, id: PackageId) -> Vec<(NameId, Option<&str>)> {
        let (record, text) = (self.record_of(id), &self.text_of(id).text);
        let provided = provided(text, &record.paragraph).unwrap_or_default();
        let named = |(name, version): (Span, Span)| {
            let version = Some(version.of(text)).filter(|version| !version.is_empty());
            Some((self.name_id(name.of(text))?, version))
        };
        provided.into_iter().filter_map(named).collect()
    }

    /// Returns the version in which a virtual package is provided.
    pub(super) fn provided_version(&self, provision: Provision) -> Option<&str> {
        let version = provision.version.of(&self.text_of(provision.package).text);
        (!version.is_empty()).then_some(version)
    }
}
