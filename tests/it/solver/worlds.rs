//! Small universes, written a line a package: `name version architecture; Field: value; Field: value`.

use std::collections::BTreeMap;

use mkimage::packages::solve::{Chosen, Problem, Solution, Unsolvable, Why, solve};
use mkimage::packages::universe::Universe;
use mkimage::packages::{Root, Rules, Sha256};

/// Writes the index of a small universe.
pub fn index(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(';').map(str::trim);
        let words: Vec<&str> = parts.next().unwrap_or_default().split(' ').collect();
        let [name, version, architecture] = words[..] else { panic!("{line}") };
        let digest = Sha256::of(line.as_bytes());
        text += &format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n");
        text += &format!("Filename: pool/{name}.deb\nSize: 1\nSHA256: {digest}\n");
        parts.for_each(|field| text += &format!("{field}\n"));
        text += "\n";
    }
    text
}

/// Makes a universe of one source, for amd64 and i386.
pub fn universe(lines: &str) -> Universe {
    sources(&[("stable", 500, lines)])
}

/// Makes a universe of several sources: suite, priority, packages.
pub fn sources(sources: &[(&str, i32, &str)]) -> Universe {
    let mut universe = Universe::new("amd64", &["i386".to_owned()]);
    for (number, (suite, priority, lines)) in sources.iter().enumerate() {
        universe.name_source(number, suite);
        universe.add(number, *priority, index(lines)).expect("an index");
    }
    assert_eq!(universe.refused(), []);
    universe
}

/// Asks for packages: `name`, `name=version` or `name/suite`, with dependencies and nothing else.
pub fn problem(roots: &str) -> Problem {
    let root = |word: &str| {
        let (name, suite) = word.split_once('/').map_or((word, None), |(name, suite)| (name, Some(suite)));
        let (name, version) =
            name.split_once('=').map_or((name, None), |(name, version)| (name, Some(version)));
        Root { name: name.to_owned(), version: version.map(str::to_owned), suite: suite.map(str::to_owned) }
    };
    let rules = Rules { dependencies: true, ..Rules::default() };
    Problem { roots: roots.split_whitespace().map(root).collect(), rules, locked: BTreeMap::new() }
}

/// Writes a solution: `name version` of each package, with the architecture where it is not amd64 or all.
pub fn shown(universe: &Universe, solution: &Solution) -> String {
    let word = |chosen: &Chosen| {
        let architecture = universe.architecture(chosen.id);
        let suffix = if architecture == "i386" { ":i386" } else { "" };
        format!("{}{suffix} {}", universe.name(chosen.id), universe.version(chosen.id))
    };
    solution.packages.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Solves, and writes the solution or the sentences.
pub fn solved(universe: &Universe, problem: &Problem) -> String {
    match solve(universe, problem) {
        Ok(solution) => shown(universe, &solution),
        Err(error) => error.to_string(),
    }
}

/// Solves what has no solution.
pub fn dead_end(universe: &Universe, problem: &Problem) -> Unsolvable {
    match solve(universe, problem) {
        Ok(solution) => panic!("solved: {}", shown(universe, &solution)),
        Err(error) => error,
    }
}

/// Writes why each package of a solution is in it.
pub fn reasons(universe: &Universe, solution: &Solution) -> Vec<String> {
    let reason = |chosen: &Chosen| {
        let name = universe.name(chosen.id);
        match &chosen.why {
            Why::Asked(asked) => format!("{name}: asked for as {asked}"),
            Why::Essential => format!("{name}: essential"),
            Why::Needed { by, relation, text } => format!("{name}: {by} {relation:?} {text}"),
        }
    };
    solution.packages.iter().map(reason).collect()
}
