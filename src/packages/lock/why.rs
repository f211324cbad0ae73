//! Why a package is in the lock, in sentences.

use std::collections::BTreeSet;

use super::super::error::PackagesError;
use super::{Dependency, Lock, LockedPackage, Reason};

impl Lock {
    /// Says why a package (`name` or `name:architecture`) is there: a sentence for each step of the chain, from
    /// the package to what the recipe asks for. Where several distributions have it, each has its chain.
    pub fn why(&self, package: &str) -> Result<Vec<String>, PackagesError> {
        let found: Vec<&LockedPackage> =
            self.requests.keys().filter_map(|distribution| self.find(distribution, package)).collect();
        if found.is_empty() {
            return Err(PackagesError::NotInLock {
                name: package.to_owned(),
                similar: self.similar(package),
            });
        }
        Ok(found.into_iter().flat_map(|package| self.chain(package)).collect())
    }

    fn chain<'a>(&'a self, package: &'a LockedPackage) -> Vec<String> {
        let mut sentences = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Some(package);
        while let Some(package) = next.filter(|package| seen.insert(package.key())) {
            next = None;
            for reason in &package.why {
                sentences.push(self.sentence(package, reason));
                if let Reason::Needed { by, .. } = reason {
                    next = next.or_else(|| self.find(&package.distribution, by));
                }
            }
        }
        sentences
    }

    fn sentence(&self, package: &LockedPackage, reason: &Reason) -> String {
        let subject = format!("{} {} is there", self.qualified(package), package.version);
        match reason {
            Reason::Asked(name) if *name == package.name => {
                format!("{subject} because the recipe asks for it.")
            }
            Reason::Asked(name) => {
                format!("{subject} because the recipe asks for {name}, which it provides.")
            }
            Reason::Bare(name) if *name == package.name => {
                format!("{subject} because the recipe boots with it.")
            }
            Reason::Bare(name) => {
                format!("{subject} because the recipe boots with {name}, which stands for it.")
            }
            Reason::Essential => format!("{subject} because every {} system has it.", package.distribution),
            Reason::Needed { by, kind } => {
                let needs = match kind {
                    Dependency::Depends => "depends on it",
                    Dependency::PreDepends => "depends on it before it can be unpacked",
                    Dependency::Recommends => "recommends it",
                };
                format!("{subject} because {by} {needs}.")
            }
        }
    }

    /// Returns names that a person may have meant, at most three.
    fn similar(&self, name: &str) -> Vec<String> {
        let names: BTreeSet<&str> = self.packages().map(|package| &*package.name).collect();
        let near = names.into_iter().filter(|other| other.contains(name) || name.contains(other));
        near.take(3).map(str::to_owned).collect()
    }
}
