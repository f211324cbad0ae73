//! What is chosen, rule by rule.

use std::path::Path;

use mkimage::base::parallel::Workers;
use mkimage::packages::Sha256;
use mkimage::packages::solve::{Problem, solve};
use mkimage::packages::universe::{BareError, Origin, Universe};

use super::worlds::{index, problem, reasons, shown, solved, sources, universe};

#[test]
fn the_first_alternative_that_can_be_had_is_taken_and_what_is_there_suffices() {
    let world = universe(
        "app 1 all; Depends: ghost | old (>= 2) | good, extra | good
         old 1 all
         good 1 all
         extra 1 all
         late 1 all; Depends: extra | good",
    );
    assert_eq!(solved(&world, &problem("app")), "app 1, good 1");
    assert_eq!(solved(&world, &problem("late")), "extra 1, late 1");
    assert_eq!(solved(&world, &problem("late good")), "good 1, late 1", "roots count before what they need");
    let deep = universe(
        "app 1 all; Depends: bad | good
         bad 1 all; Depends: middle
         middle 1 all; Pre-Depends: leaf; Depends: ghost
         leaf 1 all
         good 1 all",
    );
    assert_eq!(solved(&deep, &problem("app")), "app 1, good 1", "a branch that fails leaves nothing behind");
}

#[test]
fn every_package_has_its_first_reason() {
    let world = universe(
        "app 1 all; Depends: libx (>= 1), tool; Pre-Depends: base; Recommends: nice, ghost, clash
         libx 1 amd64
         tool 1 all; Depends: libx
         base 1 all
         nice 1 all; Depends: more
         more 1 all
         clash 1 all; Conflicts: tool
         core 1 all; Essential: yes; Depends: libc
         libc 1 amd64",
    );
    let mut wanted = problem("app");
    let solution = solve(&world, &wanted).expect("solved");
    assert_eq!(
        reasons(&world, &solution),
        [
            "app: asked for as app",
            "base: app PreDepends base",
            "libx: app Depends libx (>= 1)",
            "tool: app Depends tool"
        ]
    );
    wanted.rules.recommends = true;
    assert_eq!(solved(&world, &wanted), "app 1, base 1, libx 1, more 1, nice 1, tool 1");
    wanted.rules.essential = true;
    let solution = solve(&world, &wanted).expect("solved");
    assert!(reasons(&world, &solution).contains(&"core: essential".to_owned()));
    assert!(reasons(&world, &solution).contains(&"libc: core Depends libc".to_owned()));
    wanted.rules.exclude = vec!["core".to_owned(), "nice".to_owned()];
    assert_eq!(solved(&world, &wanted), "app 1, base 1, libx 1, tool 1");
    wanted.rules.dependencies = false;
    wanted.rules.essential = false;
    assert_eq!(solved(&world, &wanted), "app 1", "names alone");
}

#[test]
fn virtual_packages_count_with_their_versions_and_rank_as_apt_ranks_them() {
    let world = universe(
        "app 1 all; Depends: mta
         exact 1 all; Depends: api (= 2)
         later 1 all; Depends: api (>= 3)
         first 1 all; Provides: mta
         second 1 all; Provides: mta, api (= 2); Priority: important
         third 1 all; Provides: mta; Priority: important; Suggests: second
         unversioned 1 all; Provides: api
         apithree 1 all; Provides: api (= 3)",
    );
    let solution = solve(&world, &problem("app")).expect("solved");
    assert_eq!(
        shown(&world, &solution),
        "app 1, third 1",
        "by priority, then the one that is mentioned last"
    );
    assert_eq!(
        solution.notes,
        ["app needs mta, which 2 packages provide alike: took third; name another one to have that instead"]
    );
    assert_eq!(solved(&world, &problem("app first")), "app 1, first 1");
    assert_eq!(solved(&world, &problem("exact")), "exact 1, second 1");
    assert_eq!(solved(&world, &problem("later")), "apithree 1, later 1");
    assert_eq!(
        solved(&world, &problem("mta")),
        "mta can't be installed:\n  mta is a virtual package, which 3 packages provide.\n  Name one of them: third, \
         second or first."
    );
    let single = universe("first 1 all; Provides: mta");
    assert_eq!(solved(&single, &problem("mta")), "first 1");
}

#[test]
fn conflicts_hold_both_ways_but_never_against_oneself() {
    let world = universe(
        "app 1 all; Depends: one | two, three
         one 1 all; Conflicts: three
         two 1 all
         three 1 all; Breaks: two (<< 1)
         exim 1 all; Provides: mta; Conflicts: mta
         postfix 1 all; Provides: mta; Conflicts: mta
         either 1 all; Depends: postfix | exim",
    );
    assert_eq!(solved(&world, &problem("app three")), "app 1, three 1, two 1");
    assert_eq!(
        solved(&world, &problem("app")),
        "app 1, three 1, two 1",
        "where apt's way ends, all ways are tried"
    );
    assert_eq!(solved(&world, &problem("exim")), "exim 1");
    assert_eq!(solved(&world, &problem("either exim")), "either 1, exim 1");
}

#[test]
fn the_highest_priority_wins_then_the_highest_version() {
    let world = sources(&[
        ("stable", 500, "app 1 all; Depends: lib\nlib 1 all\nlib 1.5 all"),
        ("backports", 100, "app 3 all; Depends: lib (>= 2)\nlib 2 all"),
        ("updates", 500, "app 2 all; Depends: lib"),
        ("never", -1, "app 9 all\nonly 1 all"),
    ]);
    assert_eq!(solved(&world, &problem("app")), "app 2, lib 1.5");
    assert_eq!(solved(&world, &problem("app=1*")), "app 1, lib 1.5");
    assert_eq!(solved(&world, &problem("app/backports")), "app 3, lib 2", "another version where it must be");
    let mut pinned = problem("app");
    pinned.rules.pins = [("app".to_owned(), "3*".to_owned()), ("lib".to_owned(), "2".to_owned())].into();
    assert_eq!(solved(&world, &pinned), "app 3, lib 2");
    assert!(solved(&world, &problem("only")).contains("only 1 comes from a source of priority -1."));
}

#[test]
fn what_is_locked_stays_where_it_can_and_what_is_held_stays() {
    let world = universe(
        "app 1 amd64; Depends: lib
         app 2 amd64; Depends: lib (>= 2), tool
         lib 1 amd64
         lib 2 amd64
         tool 1 all
         tool 2 all",
    );
    let key = |name: &str, architecture: &str| (name.to_owned(), architecture.to_owned());
    let locked = [(key("lib", "amd64"), "1".to_owned()), (key("tool", "all"), "1".to_owned())];
    let mut wanted = Problem { locked: locked.into(), ..problem("app") };
    assert_eq!(solved(&world, &wanted), "app 2, lib 2, tool 1", "lib must move, tool need not");
    wanted.rules.holds = vec!["lib".to_owned()];
    assert_eq!(solved(&world, &wanted), "app 1, lib 1");
    wanted.locked.insert(key("app", "amd64"), "1".to_owned());
    wanted.rules.holds.clear();
    assert_eq!(solved(&world, &wanted), "app 1, lib 1");
}

#[test]
fn architectures_keep_apart_but_for_what_says_otherwise() {
    let world = universe(
        "app 1 i386; Depends: lib, tool, data, interp:any, native
         lib 1 i386; Multi-Arch: same
         lib 1 amd64; Multi-Arch: same
         tool 1 amd64; Multi-Arch: foreign
         data 1 all; Multi-Arch: foreign
         interp 1 amd64; Multi-Arch: allowed
         native 1 amd64
         native 1 i386
         host 1 amd64; Depends: lib, native
         odd 1 amd64; Depends: lib:i386
         plain 1 all; Depends: native:any",
    );
    assert_eq!(
        solved(&world, &problem("app:i386")),
        "app:i386 1, data 1, interp 1, lib:i386 1, native:i386 1, tool 1"
    );
    assert_eq!(
        solved(&world, &problem("app")),
        solved(&world, &problem("app:i386")),
        "there is no other app"
    );
    assert_eq!(solved(&world, &problem("odd lib")), "lib 1, lib:i386 1, odd 1", "libraries lie side by side");
    assert!(solved(&world, &problem("host app:i386")).contains("native"), "programs don't");
    assert!(solved(&world, &problem("plain")).contains("plain 1 (asked for) needs native:any"));
}

#[test]
fn local_files_go_before_every_source() {
    let mut world = sources(&[("stable", 990, "app 5 all; Depends: lib\nlib 1 all")]);
    let control = "Package: app\nVersion: 1\nArchitecture: amd64\nDepends: lib\n".to_owned();
    let path = Path::new("/somewhere/app.deb");
    let id = world.add_local(control, path, 7, Sha256::of(b"x")).expect("added");
    assert_eq!(solved(&world, &problem("app")), "app 1, lib 1");
    assert_eq!(world.origin(id), Origin::Local(path));
    let entry = world.package(id);
    assert_eq!((&*entry.filename, entry.size_bytes, entry.sha256), ("local:app.deb", 7, Sha256::of(b"x")));
    for wrong in ["Package: app\n", "Package: app\nVersion: 1\nArchitecture: arm64\n", "", "Version: 1\n"] {
        assert!(world.add_local(wrong.to_owned(), path, 7, Sha256::of(b"x")).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_bare_metapackage_stands_for_its_kernel() {
    let world = universe(
        "linux-image-amd64 6.1.2 amd64; Depends: kmod, linux-image-6.1.0-2-amd64 (= 6.1.2-1)
         linux-image-6.1.0-2-amd64 6.1.2-1 amd64; Depends: kmod
         linux-image-6.1.0-2-amd64 6.1.2-2 amd64
         linux-image-broken 1 amd64; Depends: linux-image-6.0 (= 6.0-1)
         shim 1 all; Depends: ghost",
    );
    let pinned = |name: &str, pins: &[(&str, &str)]| {
        let pins = pins.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect();
        world.bare(name, &pins).map(|id| format!("{} {}", world.name(id), world.version(id)))
    };
    let shown = |name: &str| pinned(name, &[]);
    let kernel = "linux-image-6.1.0-2-amd64";
    assert_eq!(pinned(kernel, &[(kernel, "6.1.2-1")]), Ok(format!("{kernel} 6.1.2-1")));
    let error = pinned(kernel, &[(kernel, "5.*")]).expect_err("no such version").to_string();
    assert!(error.contains("\"5.*\"") && error.contains("6.1.2-2, 6.1.2-1"), "{error}");
    assert!(pinned("linux-image-amd64", &[(kernel, "6.1.2-2")]).is_err(), "the metapackage wants the other");
    assert_eq!(shown("linux-image-amd64"), Ok("linux-image-6.1.0-2-amd64 6.1.2-1".to_owned()));
    assert_eq!(shown("linux-image-6.1.0-2-amd64"), Ok("linux-image-6.1.0-2-amd64 6.1.2-2".to_owned()));
    assert_eq!(shown("shim"), Ok("shim 1".to_owned()));
    let error = shown("linux-image-broken").expect_err("no kernel").to_string();
    assert_eq!(error, "linux-image-broken 1 asks for linux-image-6.0 (= 6.0-1), which is not there");
    assert!(matches!(shown("shin"), Err(BareError::Unknown { similar, .. }) if similar == ["shim"]));
}

#[test]
fn an_index_reads_the_same_in_one_piece_and_in_many() {
    let many: String =
        (0..60_000).map(|n| format!("pkg{n} {} all; Depends: pkg{}\n", n % 7, n / 2)).collect();
    let text = index(&many);
    let mut whole = Universe::new("amd64", &[]);
    whole.add(0, 500, text.clone()).expect("an index");
    let mut pieces = Universe::new("amd64", &[]);
    let other = index("pkg1 99 all");
    whole.add(1, 500, other.clone()).expect("an index");
    pieces.add_all(vec![(0, 500, text), (1, 500, other)], &Workers::new(3)).expect("indexes");
    assert_eq!((whole.len(), whole.names().count()), (pieces.len(), pieces.names().count()));
    assert!(whole.names().eq(pieces.names()));
    for roots in ["pkg59999", "pkg31000 pkg2"] {
        assert_eq!(solved(&whole, &problem(roots)), solved(&pieces, &problem(roots)));
    }
    assert!(solved(&whole, &problem("pkg59999")).contains("pkg1 99"));
}

#[test]
fn a_chain_of_any_length_is_walked() {
    let chain: String =
        (0..30_000).map(|n| format!("pkg{n} 1 all; Depends: pkg{}\n", (n + 1) % 30_000)).collect();
    let world = universe(&chain);
    let solution = solve(&world, &problem("pkg0")).expect("solved");
    assert_eq!(solution.packages.len(), 30_000);
}
