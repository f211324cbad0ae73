//! The door from a request to what a lock pins.

use std::collections::{BTreeSet, HashSet};

use super::super::digest::Sha256;
use super::super::lock::{LockedPackage, LockedSource, Reason};
use super::error::RepositoryError;
use super::package::Package;
use super::repository::{self, Repository, RepositoryFiles, RepositoryState};
use super::request::{Request, Source};
use super::signature::verify_package;
use super::solve::{Problem, Solution, Unsolved};
use super::universe::{PackageId, Universe};
use crate::base::Job;
use crate::base::job::Unit;

/// How often the full lists of files are asked for more paths.
const ROUNDS_MAX: usize = 8;
/// Largest package, in bytes.
const PACKAGE_BYTES_MAX: u64 = 4 << 30;

/// Pins one package: what a line of a lock holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    pub name: String,
    /// Epoch (where it is not 0), version and release: `1:2.0-3.fc40`.
    pub version: String,
    /// `x86_64`, `noarch`.
    pub architecture: String,
    /// The label of its source in the recipe.
    pub source: String,
    /// Path below the root of its source.
    pub filename: String,
    pub size_bytes: u64,
    pub sha256: Sha256,
    pub why: Reason,
}

impl Chosen {
    /// Returns the line of a lock.
    pub fn locked(self, distribution: &str) -> LockedPackage {
        let Chosen { name, version, architecture, source, filename, size_bytes, sha256, why } = self;
        let distribution = distribution.to_owned();
        let why = [why].into();
        LockedPackage { distribution, name, architecture, version, source, size_bytes, sha256, filename, why }
    }
}

/// Holds what a request came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    /// By name.
    pub packages: Vec<Chosen>,
    /// In the order of the request's sources.
    pub states: Vec<RepositoryState>,
}

impl RepositoryState {
    /// Returns the line of a lock. The revision is a time on most repositories; where it is none, it counts as 0.
    pub fn locked(&self) -> LockedSource {
        let date_seconds = self.revision.parse().unwrap_or(0);
        LockedSource { suite: self.source.clone(), date_seconds, inrelease: self.sha256 }
    }
}

/// Chooses packages for a request, all names in one problem. Metadata must be signed by a key of its source's keyring;
/// where a source signs none, each package that is chosen from it is fetched and must be signed itself.
pub fn resolve(
    request: &Request,
    files: &dyn RepositoryFiles,
    now_seconds: u64,
    job: &Job,
) -> Result<Resolved, RepositoryError> {
    let step = job.step("lock rpm", None, Unit::Items);
    let (repositories, mut universe) = repository::load(request, files, now_seconds, job)?;
    let solution = solve(request, &repositories, &mut universe, files, job)?;
    step.advance(solution.packages.len() as u64);
    let mut packages = Vec::new();
    for id in &solution.packages {
        let repository = &repositories[universe.package(*id).source];
        let chosen = chosen(*id, &universe, &solution, repository);
        if repository.state.signer.is_none() {
            check_package(&chosen, repository, files, now_seconds, job)?;
        }
        packages.push(chosen);
    }
    Ok(Resolved { packages, states: repositories.into_iter().map(|repository| repository.state).collect() })
}

/// Solves; where paths decide that no primary index lists, again with the full lists of files.
fn solve(
    request: &Request,
    repositories: &[Repository<'_>],
    universe: &mut Universe,
    files: &dyn RepositoryFiles,
    job: &Job,
) -> Result<Solution, RepositoryError> {
    let (mut known, mut strict) = (BTreeSet::new(), HashSet::new());
    let mut rounds = 0;
    while rounds < ROUNDS_MAX {
        job.check()?;
        let mut problem = Problem::new(universe, request);
        if let Ok(problem) = &mut problem {
            problem.files_known(&known);
            problem.strict(&strict);
        }
        let missing = match problem.map(Problem::solve) {
            Ok(Ok(solution)) => return Ok(solution),
            Ok(Err(Unsolved::Error(error))) => return Err(error),
            Ok(Err(Unsolved::Files(missing))) => missing,
            Ok(Err(Unsolved::Broken(broken))) => {
                // Each round adds one at least, so this ends.
                let told = strict.len();
                strict.extend(broken);
                if strict.len() == told {
                    let problem = "the solver's choice breaks a dependency that it was told".to_owned();
                    return Err(RepositoryError::Unsolvable { sentences: vec![problem] });
                }
                continue;
            }
            // A name of the request may be a path, too.
            Err(RepositoryError::Unknown { name, .. }) if name.starts_with('/') && !known.contains(&name) => {
                [name].into()
            }
            Err(error) => return Err(error),
        };
        let paths: HashSet<String> = missing.iter().cloned().collect();
        for (index, repository) in repositories.iter().enumerate() {
            repository.load_files(index, &paths, universe, files, job)?;
        }
        known.extend(missing);
        rounds += 1;
    }
    let problem = "paths lead to packages that need paths, without end".to_owned();
    Err(RepositoryError::Unsolvable { sentences: vec![problem] })
}

fn chosen(id: PackageId, universe: &Universe, solution: &Solution, repository: &Repository<'_>) -> Chosen {
    let package = universe.package(id);
    Chosen {
        name: universe.name(id).to_owned(),
        version: package.evr.to_string(),
        architecture: universe.text(package.architecture).to_owned(),
        source: repository.source.name.clone(),
        filename: package.filename.clone(),
        size_bytes: package.size_bytes,
        sha256: package.sha256,
        why: solution.why[&id].clone(),
    }
}

fn check_package(
    chosen: &Chosen,
    repository: &Repository<'_>,
    files: &dyn RepositoryFiles,
    now_seconds: u64,
    job: &Job,
) -> Result<(), RepositoryError> {
    let bytes = read_package(chosen, repository.source, files, job)?;
    let checked = Package::parse(&bytes);
    let checked = checked.and_then(|package| verify_package(&package, &repository.keyring, now_seconds));
    checked.map(drop).map_err(|problem| RepositoryError::Package {
        package: format!("{} {}", chosen.name, chosen.version),
        source_name: chosen.source.clone(),
        problem: Box::new(problem),
    })
}

/// Gets a package, checked against its digest.
pub fn read_package(
    chosen: &Chosen,
    source: &Source,
    files: &dyn RepositoryFiles,
    job: &Job,
) -> Result<Vec<u8>, RepositoryError> {
    let expected = Some((chosen.sha256, chosen.size_bytes));
    let bytes = files.read(source, &chosen.filename, expected, PACKAGE_BYTES_MAX, job)?;
    let gone = || RepositoryError::Gone {
        package: format!("{} {}", chosen.name, chosen.version),
        source_name: chosen.source.clone(),
        path: chosen.filename.clone(),
    };
    bytes.ok_or_else(gone)
}
