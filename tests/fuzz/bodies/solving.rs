//! Relations, indexes, and the solver on what they hold.

use std::collections::BTreeMap;

use mkimage::packages::deb::{relation, scan};
use mkimage::packages::solve::{Problem, solve};
use mkimage::packages::universe::Universe;
use mkimage::packages::{Root, Rules, Sha256};

pub const WORDS: &[&str] = &[
    "Package: aa\n",
    "Version: 2\n",
    "Architecture: all\n",
    "Architecture: i386\n",
    "Multi-Arch: same\n",
    "Multi-Arch: foreign\n",
    "Essential: yes\n",
    "Priority: required\n",
    "Depends: ",
    "Pre-Depends: ",
    "Recommends: ",
    "Conflicts: ",
    "Breaks: ",
    "Provides: ",
    "aa (>= 1)",
    "bb (<< 2)",
    "cc:any",
    "dd:i386",
    " [amd64 !i386]",
    " <!nocheck>",
    "vv (= 1)",
    " | ",
    ", ",
    "\n\n",
    "\n ",
    "\r\n",
    "Filename: p\n",
];

/// Reads relations: what was read prints as a text that reads the same.
pub fn relations(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(groups) = relation::parse(text, "amd64") else { return };
    let printed: Vec<String> = groups
        .iter()
        .map(|group| group.atoms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
        .collect();
    let printed = printed.join(", ");
    let again = relation::parse(&printed, "amd64").expect("what was printed");
    assert!(groups.iter().map(|group| &group.atoms).eq(again.iter().map(|group| &group.atoms)), "{printed}");
    for atom in groups.iter().flat_map(|group| &group.atoms) {
        let _ = atom.accepts("1:2-3");
    }
    let _ = relation::parse_provides(text, "amd64");
}

pub fn relations_seeds() -> Vec<Vec<u8>> {
    let fields = [
        "libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0, python3:any",
        "aa (<< 1), bb (<= 1),\n cc (= 1:2-3~), dd (>> 1) [amd64 arm64] <!nocheck> <x y>, ee:i386 [!i386]",
        "vv, ww (= 2)",
    ];
    fields.iter().map(|field| field.as_bytes().to_vec()).collect()
}

/// Reads an index whole and in pieces, which gives the same packages, and asks for each of them.
pub fn index(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut universe = Universe::new("amd64", &["i386".to_owned()]);
    let Ok(()) = universe.add(0, 500, text.to_owned()) else { return };
    let parts: Result<Vec<_>, _> =
        scan::pieces(text, 64).into_iter().map(|piece| scan::scan(text, piece, false)).collect();
    if let Ok(parts) = parts {
        let whole = scan::scan(text, 0..text.len(), false).expect("an index");
        let names = |scan: &scan::Scan| scan.paragraphs.iter().map(|found| found.name).collect::<Vec<_>>();
        assert_eq!(names(&whole), parts.iter().flat_map(names).collect::<Vec<_>>());
    }
    let names: Vec<String> = universe.names().take(6).map(str::to_owned).collect();
    for name in &names {
        for id in universe.find(name, None) {
            assert_eq!(universe.package(id).name, *name);
        }
        let _ = universe.bare(name, &Default::default());
    }
    for (dependencies, recommends) in [(true, false), (true, true), (false, false)] {
        let root = |name: &String| Root { name: name.clone(), version: None, suite: None };
        let rules = Rules { dependencies, recommends, essential: true, ..Rules::default() };
        let problem = Problem { roots: names.iter().map(root).collect(), rules, locked: BTreeMap::new() };
        if let Err(error) = solve(&universe, &problem) {
            assert!(!error.to_string().is_empty());
        }
    }
}

pub fn index_seeds() -> Vec<Vec<u8>> {
    let file = format!("Filename: pool/x.deb\nSize: 3\nSHA256: {}\n", Sha256::of(b"x"));
    let package = |fields: &str| format!("{fields}{file}\n");
    let world = [
        "Package: aa\nVersion: 1\nArchitecture: amd64\nDepends: bb (>= 1) | vv, cc:any\nConflicts: dd\n",
        "Package: bb\nVersion: 2\nArchitecture: i386\nMulti-Arch: foreign\nProvides: vv (= 1)\n",
        "Package: cc\nVersion: 1:2-3\nArchitecture: all\nMulti-Arch: allowed\nEssential: yes\nBreaks: bb (<< 1)\n",
        "Package: dd\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nProvides: vv,\n ww\nRecommends: aa\n",
    ];
    let whole: String = world.iter().map(|fields| package(fields)).collect();
    vec![whole.into_bytes(), package(world[0]).into_bytes()]
}
