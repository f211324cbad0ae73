//! All packages that the repositories of a request offer, and what they provide.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::digest::Sha256;
use super::relation::{Plain, Sense, overlap};
use super::version::Evr;

/// Names a text of the universe: equal texts, equal symbols.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Symbol(u32);

/// Names a package of a [`Universe`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct PackageId(pub u32);

/// A dependency as a repository lists it. Rich ones are names that start with `(`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relation {
    pub name: Symbol,
    pub sense: Sense,
    /// Epoch, version and release as one text; empty where there is none.
    pub evr: Symbol,
}

/// Kinds of dependencies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Kind {
    Requires,
    Provides,
    Conflicts,
    Obsoletes,
    Recommends,
    Supplements,
}

/// What a repository says of one package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    pub name: Symbol,
    pub evr: Evr,
    pub architecture: Symbol,
    /// Path below the repository's root.
    pub filename: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// Index into the request's sources.
    pub source: usize,
    pub requires: Vec<Relation>,
    pub provides: Vec<Relation>,
    pub conflicts: Vec<Relation>,
    pub obsoletes: Vec<Relation>,
    pub recommends: Vec<Relation>,
    pub supplements: Vec<Relation>,
    /// Paths that its repository's primary index lists.
    pub files: Vec<Symbol>,
}

impl Package {
    /// Returns the relations of a kind.
    pub fn relations(&self, kind: Kind) -> &[Relation] {
        match kind {
            Kind::Requires => &self.requires,
            Kind::Provides => &self.provides,
            Kind::Conflicts => &self.conflicts,
            Kind::Obsoletes => &self.obsoletes,
            Kind::Recommends => &self.recommends,
            Kind::Supplements => &self.supplements,
        }
    }
}

/// Holds texts, each once.
#[derive(Default)]
pub struct Texts {
    symbols: HashMap<Arc<str>, Symbol>,
    texts: Vec<Arc<str>>,
}

impl Texts {
    /// Returns the symbol of a text.
    pub fn symbol(&mut self, text: &str) -> Symbol {
        if let Some(symbol) = self.symbols.get(text) {
            return *symbol;
        }
        let (text, symbol) = (Arc::<str>::from(text), Symbol(self.texts.len() as u32));
        self.texts.push(text.clone());
        self.symbols.insert(text, symbol);
        symbol
    }

    fn find(&self, text: &str) -> Option<Symbol> {
        self.symbols.get(text).copied()
    }

    fn get(&self, symbol: Symbol) -> &str {
        &self.texts[symbol.0 as usize]
    }
}

/// Holds what repositories offer.
#[derive(Default)]
pub struct Universe {
    pub texts: Texts,
    packages: Vec<Package>,
    /// Packages by what they provide, names and files alike, each with its relation; ascending.
    providers: HashMap<Symbol, Vec<(PackageId, Relation)>>,
    named: HashMap<Symbol, Vec<PackageId>>,
}

impl Universe {
    /// Adds a package. The same name, version and architecture of an earlier source stays what it was.
    pub fn add(&mut self, package: Package) {
        let same = self.named.get(&package.name).into_iter().flatten().any(|other| {
            let other = self.package(*other);
            other.architecture == package.architecture && other.evr.compare(&package.evr).is_eq()
        });
        if same {
            return;
        }
        let id = PackageId(self.packages.len() as u32);
        for relation in &package.provides {
            self.providers.entry(relation.name).or_default().push((id, *relation));
        }
        let none = self.texts.symbol("");
        for file in &package.files {
            let relation = Relation { name: *file, sense: Sense::ANY, evr: none };
            self.providers.entry(*file).or_default().push((id, relation));
        }
        self.named.entry(package.name).or_default().push(id);
        self.packages.push(package);
    }

    /// Adds a path that only the full list of files has.
    pub fn add_file(&mut self, id: PackageId, path: &str) {
        let (name, none) = (self.texts.symbol(path), self.texts.symbol(""));
        let providers = self.providers.entry(name).or_default();
        if !providers.iter().any(|provider| provider.0 == id) {
            providers.push((id, Relation { name, sense: Sense::ANY, evr: none }));
            providers.sort_by_key(|provider| provider.0);
        }
    }

    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Tells whether there are no packages.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    pub fn ids(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..self.packages.len() as u32).map(PackageId)
    }

    pub fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.0 as usize]
    }

    pub fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol)
    }

    pub fn name(&self, id: PackageId) -> &str {
        self.text(self.package(id).name)
    }

    /// Returns name, version and architecture for people: `foo-1.0-2.x86_64`.
    pub fn shown(&self, id: PackageId) -> String {
        let package = self.package(id);
        format!("{}-{}.{}", self.text(package.name), package.evr, self.text(package.architecture))
    }

    /// Returns the packages of a name, in the order in which they came.
    pub fn named(&self, name: &str) -> &[PackageId] {
        let symbol = self.texts.find(name);
        symbol.and_then(|symbol| self.named.get(&symbol)).map_or(&[], |ids| ids)
    }

    /// Returns the packages that provide something, ascending.
    pub fn providers(&self, wanted: &Plain) -> Vec<PackageId> {
        let Some(symbol) = self.texts.find(&wanted.name) else { return Vec::new() };
        let providers = self.providers.get(&symbol).into_iter().flatten();
        let fits = |(id, relation): &(PackageId, Relation)| {
            let evr = Evr::parse(self.text(relation.evr));
            overlap((relation.sense, &evr), (wanted.sense, &wanted.evr)).then_some(*id)
        };
        let mut ids: Vec<PackageId> = providers.filter_map(fits).collect();
        ids.dedup();
        ids
    }

    /// Returns the packages of a name in a range of versions: what `Obsoletes` means.
    pub fn named_within(&self, wanted: &Plain) -> Vec<PackageId> {
        let fits = |id: &&PackageId| {
            overlap((Sense(Sense::EQUAL), &self.package(**id).evr), (wanted.sense, &wanted.evr))
        };
        self.named(&wanted.name).iter().filter(fits).copied().collect()
    }

    /// Returns a relation as it is written.
    pub fn plain(&self, relation: &Relation) -> Plain {
        Plain {
            name: self.text(relation.name).to_owned(),
            sense: relation.sense,
            evr: Evr::parse(self.text(relation.evr)),
        }
    }

    /// Returns names that a person may have meant, at most three.
    pub fn similar(&self, name: &str) -> Vec<String> {
        // Names of two letters are near to too many others, unless one has a letter more.
        let near = |other: &str| {
            let is_part = other.contains(name) || name.contains(other);
            name.len().min(other.len()) > 2 && is_part
                || name.len().max(other.len()) > 2 && off_by_one(name, other)
        };
        let names = self.named.keys().map(|symbol| self.text(*symbol));
        let mut found: Vec<(usize, &str)> = names
            .filter(|other| near(other))
            .map(|other| (other.len().abs_diff(name.len()), other))
            .collect();
        found.sort_unstable();
        found.into_iter().take(3).map(|found| found.1.to_owned()).collect()
    }
}

/// Tells whether two names differ in one letter: another, one more, or one less.
fn off_by_one(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let front = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let back = a[front..].iter().rev().zip(b[front..].iter().rev()).take_while(|(a, b)| a == b).count();
    a.len().max(b.len()) - front - back <= 1
}
