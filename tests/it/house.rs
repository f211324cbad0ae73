//! The layer rule and the other laws of the house: what no compiler checks inside one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may name, as in the table of CONTRIBUTING.md. A room may always name itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("recipe", &["base"]),
    ("tree", &["base"]),
    ("archive", &["base", "tree"]),
    ("store", &["base", "tree"]),
    ("trust", &["base"]),
    ("web", &["base"]),
    ("bundle", &["base", "tree", "store"]),
    ("remote", &["base", "tree", "store", "bundle", "trust", "web"]),
    ("disk", &["base", "tree"]),
    ("agent", &["base", "tree", "store", "disk", "boot", "image", "slots", "bundle", "trust", "remote"]),
    ("boot", &["base", "tree", "disk"]),
    ("image", &["base", "tree", "store", "disk", "boot"]),
    ("confine", &["base", "disk"]),
    ("view", &["base", "tree", "store", "disk", "boot", "image", "confine"]),
    ("slots", &["base", "tree", "store", "disk", "boot", "image"]),
    ("packages", &["base", "tree", "archive", "web"]),
    ("elf", &["base", "tree"]),
    ("finalize", &["base", "tree", "elf"]),
    ("sandbox", &["base", "tree"]),
    ("compose", &["base", "recipe", "tree", "archive", "packages", "elf"]),
    ("verify", &["base", "tree", "store", "disk", "boot", "image", "trust"]),
    ("machine", &["base"]),
    ("ostree", &["base", "tree", "store"]),
    ("report", &["base", "tree", "store", "disk", "boot", "image", "elf", "packages"]),
    (
        "pipeline",
        &[
            "base", "recipe", "tree", "archive", "store", "disk", "boot", "image", "view", "packages", "elf",
            "finalize", "sandbox", "compose", "agent",
        ],
    ),
    (
        "cli",
        &[
            "base", "recipe", "tree", "archive", "store", "trust", "disk", "boot", "image", "slots", "view",
            "packages", "elf", "finalize", "sandbox", "compose", "machine", "ostree", "pipeline", "remote",
            "report", "verify", "confine",
        ],
    ),
];

/// What the feature-less build of PID 1 may use: files of `boot/` that name only `base`.
const SHARED_WITH_INIT: &[&str] = &["base", "boot"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[allow(clippy::disallowed_methods, reason = "a test may list the sources in any order: it sorts them")]
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        (path, text)
    };
    files(&root().join("src")).into_iter().filter(rust).map(read).collect()
}

/// Returns the room of a source file: its first folder under `src`, or its own name.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).expect("a file under src").to_owned();
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns the rooms that a text names, by `crate::ROOM` or `mkimage::ROOM`, comments left out.
fn named(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let before = code[..at].chars().next_back();
        if before.is_some_and(|character| character.is_alphanumeric() || character == '_' || character == ':')
        {
            continue;
        }
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        rooms.insert(std::mem::take(&mut word));
                        continue;
                    }
                    _ => {}
                }
                if depth == 0 && !character.is_whitespace() {
                    word.push(character);
                }
            }
            rooms.insert(word);
        } else {
            rooms.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
        .into_iter()
        .map(|room| room.split(':').next().unwrap_or_default().trim_end_matches('{').to_owned())
        .collect()
}

#[test]
fn rooms_name_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        // The boot loader is compiled alone: it can't name a room. Its one shared file is core's only.
        if matches!(room.as_str(), "lib" | "main" | "loader") {
            continue;
        }
        let (allowed, prefix) = match room.as_str() {
            "init" => (SHARED_WITH_INIT, "mkimage::"),
            _ => (
                *table.get(room.as_str()).unwrap_or_else(|| panic!("{room} is in no row of the table")),
                "crate::",
            ),
        };
        for other in named(&text, prefix) {
            if table.contains_key(other.as_str()) && other != room && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}: {room} must not name {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_paths_sees_both_spellings() {
    let text = "use crate::base::{Bytes, Job};\nuse crate::{tree::{Node, File}, store::Store, disk};\n// crate::cli\n";
    let rooms = named(text, "crate::");
    assert_eq!(rooms, ["base", "disk", "store", "tree"].map(str::to_owned).into());
}

#[test]
fn every_room_has_a_card() {
    for (room, _) in ROOMS {
        let file = root().join("src").join(room).join("mod.rs");
        if !file.exists() {
            assert!(root().join(format!("src/{room}.rs")).exists(), "{room} has no file");
            continue;
        }
        let text = fs::read_to_string(&file).expect("a mod.rs");
        let card = text.lines().take_while(|line| line.starts_with("//!")).count();
        assert!((8..=60).contains(&card), "src/{room}/mod.rs: the card has {card} lines, 8 to 60 are a card");
        assert!(!text.contains("Stub card"), "src/{room}/mod.rs still has its stub card");
        for part in ["Always true", "Not here", "Read first"] {
            assert!(text.contains(part), "src/{room}/mod.rs: the card lacks {part:?}");
        }
    }
}

#[test]
fn every_test_file_is_wired_in() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).expect("main.rs");
    for path in files(&root().join("tests/it")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let direct = path.parent() == Some(&root().join("tests/it"));
        if direct && name != "main" && path.extension().is_some_and(|extension| extension == "rs") {
            assert!(main.contains(&format!("mod {name};")), "tests/it/{name}.rs is not wired into main.rs");
        }
    }
}

#[test]
fn every_binary_fixture_has_its_generator() {
    for path in files(&root().join("fixtures")) {
        let bytes = fs::read(&path).expect("a fixture");
        if std::str::from_utf8(&bytes).is_err() || bytes.contains(&0) {
            let folder = path.parent().expect("a folder");
            let generator = files(folder).iter().any(|file| file.to_string_lossy().contains("generate"));
            assert!(generator, "{} is binary and has no generator beside it", path.display());
        }
    }
}

#[test]
fn unsafe_code_stands_in_few_files() {
    for (path, text) in sources() {
        let room = room(&path);
        let allowed = match room.as_str() {
            "init" | "sandbox" => path.ends_with("sys.rs"),
            // The entry point of `main.rs` is what firmware calls.
            "loader" => {
                path.ends_with("efi.rs") || path.ends_with("memory.rs") || path.ends_with("loader/main.rs")
            }
            _ => false,
        };
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        });
        assert!(allowed || !uses, "{} uses unsafe code", path.display());
    }
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("lib.rs");
    assert!(lib.contains("#![deny(unsafe_code)]"));
    for (room, _) in ROOMS.iter().filter(|(room, _)| *room != "sandbox") {
        let card = root().join("src").join(room).join("mod.rs");
        let text = fs::read_to_string(&card).expect("a mod.rs");
        assert!(text.contains("#![forbid(unsafe_code)]"), "src/{room}/mod.rs does not forbid unsafe code");
    }
}

#[test]
fn rayon_is_named_in_one_file_and_every_dependency_says_why() {
    for (path, text) in sources() {
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let uses = code.iter().any(|line| line.contains("rayon::"));
        assert!(!uses || path.ends_with("base/parallel.rs"), "{} names rayon", path.display());
    }
    for name in ["Cargo.toml", "tests/fuzz/Cargo.toml"] {
        let manifest = fs::read_to_string(root().join(name)).expect(name);
        let mut inside = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if inside && line.contains(" = ") {
                assert!(line.contains(" # "), "{name}: {line:?} does not say why");
            }
        }
    }
}

#[test]
fn what_the_loader_shares_needs_nothing_but_core() {
    let shared = fs::read_to_string(root().join("src/boot/slots/record.rs")).expect("the records");
    for word in ["std::", "crate::", "super::", "alloc::", "vec!", "String", "format!"] {
        let uses = shared.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
        assert!(!uses, "src/boot/slots/record.rs names {word}: the loader can't compile it");
    }
    for (path, text) in sources().iter().filter(|(path, _)| room(path) == "loader") {
        assert!(
            named(text, "mkimage::").is_empty() && !text.contains("std::"),
            "{} names a room",
            path.display()
        );
    }
}
