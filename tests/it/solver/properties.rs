//! Random small universes, a checker that shares no code with the solver, and every possible answer tried.

use std::collections::BTreeMap;

use mkimage::packages::solve::{Why, solve};
use proptest::prelude::*;

use super::worlds::{problem, shown, universe};

const REAL: [&str; 6] = ["aa", "bb", "cc", "dd", "ee", "ff"];
const VIRTUAL: [&str; 2] = ["xx", "yy"];

/// A name, and a version with how another one must compare to it.
#[derive(Clone, Debug)]
struct Atom {
    name: String,
    version: Option<(&'static str, u8)>,
}

impl Atom {
    fn text(&self) -> String {
        self.version.map_or(self.name.clone(), |(sign, version)| format!("{} ({sign} {version})", self.name))
    }

    fn accepts(&self, name: &str, found: Option<u8>) -> bool {
        self.name == name
            && match (self.version, found) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some((sign, version)), Some(found)) => match sign {
                    "<<" => found < version,
                    "<=" => found <= version,
                    "=" => found == version,
                    ">=" => found >= version,
                    _ => found > version,
                },
            }
    }

    /// Tells whether a package has what the atom names.
    fn is_had_by(&self, package: &Package) -> bool {
        self.accepts(&package.name, Some(package.version))
            || package.provides.iter().any(|(name, version)| self.accepts(name, *version))
    }
}

#[derive(Clone, Debug)]
struct Package {
    name: String,
    version: u8,
    depends: Vec<Vec<Atom>>,
    conflicts: Vec<Atom>,
    provides: Vec<(String, Option<u8>)>,
}

impl Package {
    fn line(&self) -> String {
        let join = |atoms: &[Atom], sign: &str| atoms.iter().map(Atom::text).collect::<Vec<_>>().join(sign);
        let depends: Vec<String> = self.depends.iter().map(|group| join(group, " | ")).collect();
        let provide = |(name, version): &(String, Option<u8>)| {
            version.map_or(name.clone(), |version| format!("{name} (= {version})"))
        };
        let provides: Vec<String> = self.provides.iter().map(provide).collect();
        let (depends, provides) = (depends.join(", "), provides.join(", "));
        let conflicts = join(&self.conflicts, ", ");
        format!(
            "{} {} all; Depends: {depends}; Conflicts: {conflicts}; Provides: {provides}",
            self.name, self.version
        )
    }
}

/// Says what is wrong with a set of packages.
fn fault(set: &[&Package]) -> Option<String> {
    for package in set {
        for group in &package.depends {
            if !group.iter().any(|atom| set.iter().any(|other| atom.is_had_by(other))) {
                return Some(format!("{} {} lacks {group:?}", package.name, package.version));
            }
        }
        for atom in &package.conflicts {
            if let Some(other) = set.iter().find(|other| other.name != package.name && atom.is_had_by(other))
            {
                return Some(format!("{} suffers no {}", package.name, other.name));
            }
        }
    }
    None
}

/// Tries every set of packages that has the roots.
fn is_possible(packages: &[Package], roots: &[&str]) -> bool {
    let choices: Vec<Vec<Option<&Package>>> = REAL
        .iter()
        .map(|name| {
            let own = packages.iter().filter(|package| package.name == *name).map(Some);
            own.chain((!roots.contains(name)).then_some(None)).collect()
        })
        .collect();
    let count: usize = choices.iter().map(Vec::len).product();
    (0..count).any(|mut number| {
        let mut set = Vec::new();
        for choice in &choices {
            set.extend(choice[number % choice.len()]);
            number /= choice.len();
        }
        fault(&set).is_none()
    })
}

fn atoms(most: usize) -> impl Strategy<Value = Vec<Atom>> {
    let names = prop::sample::select([&REAL[..], &VIRTUAL[..]].concat());
    let version =
        prop::option::weighted(0.4, (prop::sample::select(vec!["<<", "<=", "=", ">=", ">>"]), 1u8..4));
    let atom = (names, version).prop_map(|(name, version)| Atom { name: name.to_owned(), version });
    prop::collection::vec(atom, 1..=most)
}

fn worlds() -> impl Strategy<Value = Vec<Package>> {
    let provides = (prop::sample::select(VIRTUAL.to_vec()), prop::option::of(1u8..4))
        .prop_map(|(name, version)| (name.to_owned(), version));
    let package = (
        prop::sample::select(REAL.to_vec()),
        1u8..3,
        prop::collection::vec(atoms(3), 0..3),
        prop_oneof![3 => Just(Vec::new()), 1 => atoms(1)],
        prop::collection::vec(provides, 0..2),
    );
    let package = package.prop_map(|(name, version, depends, conflicts, provides)| Package {
        name: name.to_owned(),
        version,
        depends,
        conflicts,
        provides,
    });
    prop::collection::vec(package, 3..12).prop_map(|packages| {
        let unique: BTreeMap<(String, u8), Package> =
            packages.into_iter().map(|package| ((package.name.clone(), package.version), package)).collect();
        unique.into_values().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_solution_is_found_where_there_is_one_and_it_is_sound(packages in worlds(), roots in prop::collection::btree_set(0usize..12, 1..4)) {
        let lines: Vec<String> = packages.iter().map(Package::line).collect();
        let world = universe(&lines.join("\n"));
        let roots: Vec<&str> = roots.iter().map(|root| packages[root % packages.len()].name.as_str()).collect();
        let possible = is_possible(&packages, &roots);
        match solve(&world, &problem(&roots.join(" "))) {
            Ok(solution) => {
                let is_chosen = |package: &&Package| solution.packages.iter().any(|chosen| {
                    world.name(chosen.id) == package.name && world.version(chosen.id) == package.version.to_string()
                });
                let set: Vec<&Package> = packages.iter().filter(is_chosen).collect();
                prop_assert_eq!(fault(&set), None, "{}", shown(&world, &solution));
                prop_assert_eq!(set.len(), solution.packages.len());
                for root in &roots {
                    prop_assert!(set.iter().any(|package| package.name == *root));
                }
                for chosen in &solution.packages {
                    if let Why::Needed { by, .. } = &chosen.why {
                        prop_assert!(set.iter().any(|package| package.name == *by));
                    }
                }
            }
            Err(error) => {
                prop_assert!(!possible, "{}", error);
                prop_assert!(error.dead_ends.iter().all(|end| !end.roots.is_empty() && !end.causes.is_empty()), "{}", error);
            }
        }
    }
}
