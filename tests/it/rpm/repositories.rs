//! Repositories: whose word counts, and for what.

use std::path::PathBuf;

use mkimage::base::Job;
use mkimage::packages::lock::Reason;
use mkimage::packages::{Keyring, Sha256, rpm};

use super::kit::{Kit, Spec, files, now};
use super::solving::{Memory, package, primary, repomd};
use crate::packages::keys::{self, GOOD};

fn small(kit: &Kit, signed_index: bool, signed_package: bool) -> PathBuf {
    let package = kit.build(
        "main",
        Spec {
            name: "small",
            evr: "1-1",
            head: "BuildArch: noarch",
            install: "mkdir -p $R/etc; echo x > $R/etc/small",
            files: "/etc/small",
            ..Spec::default()
        },
    );
    if signed_package {
        kit.sign_package(&package);
    }
    kit.index("main", signed_index);
    package
}

fn resolve(kit: &Kit) -> Result<rpm::Resolved, String> {
    let request = kit.request(&["main"], &["small"]);
    rpm::resolve(&request, &files(), now(), &Job::quiet(1)).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

#[test]
fn a_signed_index_pins_its_packages() {
    let kit = Kit::new();
    kit.key();
    let file = small(&kit, true, false);
    let resolved = resolve(&kit).expect("resolved");
    let bytes = std::fs::read(&file).expect("a package");
    let chosen = &resolved.packages[0];
    assert_eq!((&*chosen.name, &*chosen.version, &*chosen.architecture), ("small", "1-1", "noarch"));
    assert_eq!((chosen.size_bytes, chosen.sha256), (bytes.len() as u64, Sha256::of(&bytes)));
    assert_eq!((&*chosen.filename, &*chosen.source), ("small-1-1.noarch.rpm", "main"));
    assert_eq!(chosen.why, Reason::Asked("small".into()));
    assert!(resolved.states[0].signer.is_some());
    std::fs::write(&file, [&bytes[..], b"x"].concat()).expect("written");
    let request = kit.request(&["main"], &["small"]);
    assert!(rpm::read_package(chosen, &request.sources[0], &files(), &Job::quiet(1)).is_err());
}

#[test]
fn without_a_signed_index_each_package_must_be_signed() {
    let kit = Kit::new();
    kit.key();
    let file = small(&kit, false, true);
    let resolved = resolve(&kit).expect("resolved");
    assert_eq!(resolved.states[0].signer, None);

    let bytes = std::fs::read(&file).expect("a package");
    let keyring = Keyring::open(&kit.path("key.gpg")).expect("a keyring");
    let signed = rpm::Package::parse(&bytes).expect("a package");
    assert!(rpm::verify_package(&signed, &keyring, now()).is_ok());
    assert!(rpm::verify_package(&signed, &keys::make(GOOD).keyring(), now()).is_err());
    assert!(rpm::verify_package(&signed, &keyring, now() - 1_000_000).is_err());

    let unsigned = Kit::new();
    unsigned.key();
    small(&unsigned, false, false);
    let said = resolve(&unsigned).expect_err("refused");
    assert!(said.contains("small 1-1") && said.contains("no good signature"), "{said}");
}

#[test]
fn a_keyring_must_be_named_and_fit() {
    let kit = Kit::new();
    kit.key();
    small(&kit, true, true);
    let mut request = kit.request(&["main"], &["small"]);
    request.sources[0].signed_by = None;
    let resolve = |request: &rpm::Request| {
        rpm::resolve(request, &files(), now(), &Job::quiet(1)).map_err(|error| error.to_string())
    };
    assert!(resolve(&request).is_err_and(|said| said.contains("signed_by")));
    let other = kit.path("other");
    std::fs::write(&other, keys::make(GOOD).binary()).expect("written");
    request.sources[0].signed_by = Some(other);
    assert!(resolve(&request).is_err_and(|said| said.contains("not in the keyring")));
}

#[test]
fn every_changed_byte_of_the_metadata_is_noticed() {
    let kit = Kit::new();
    kit.key();
    small(&kit, true, false);
    let folder = kit.path("main/repodata");
    for name in ["repomd.xml", "primary.xml.gz"] {
        let file = folder.join(name);
        let good = std::fs::read(&file).expect("a file");
        for at in (0..good.len()).step_by(1 + good.len() / 40) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&file, bad).expect("written");
            assert!(resolve(&kit).is_err(), "{name} at {at}");
        }
        std::fs::write(&file, &good[..good.len() - 1]).expect("written");
        assert!(resolve(&kit).is_err(), "{name} cut off");
        std::fs::write(&file, good).expect("written");
    }
    resolve(&kit).expect("good again");
    // Another repository's good signature is no signature of this one.
    std::fs::write(folder.join("repomd.xml"), repomd(b"", "primary")).expect("written");
    assert!(resolve(&kit).is_err_and(|said| said.contains("no signature of its repomd.xml is good")));
}

#[test]
fn weak_digests_and_paths_that_lead_elsewhere_are_refused() {
    let key = keys::make(GOOD);
    let good = primary(&[package("a", "1-1", &[])]);
    let with = |repomd: String, primary: &str| {
        let memory = Memory::of(&repomd, primary.as_bytes(), &key);
        memory.resolve(&memory.request(&["a"])).expect_err("refused")
    };
    let plain = || repomd(good.as_bytes(), "primary");
    let weak = plain().replace("type=\"sha256\"", "type=\"sha\"");
    assert!(with(weak, &good).contains("nothing weaker"), "sha1 of an index");
    let outside = plain().replace("repodata/primary.xml", "../primary.xml");
    assert!(with(outside, &good).contains("nothing weaker"));
    for (from, to, part) in [
        ("type=\"sha256\" pkgid", "type=\"md5\" pkgid", "nothing weaker"),
        ("href=\"a-1-1.rpm\"", "href=\"../a-1-1.rpm\"", "no path below"),
        ("href=\"a-1-1.rpm\"", "xml:base=\"http://mirror.invalid/\" href=\"a-1-1.rpm\"", "no path below"),
        ("<name>a</name>", "<name>a b</name>", "is no package"),
        ("ver=\"1\" rel", "ver=\"1 2\" rel", "is no package"),
        ("<size package=\"1\"/>", "", "has no size"),
        ("<metadata", "<!DOCTYPE x><metadata", "document types"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let said = with(repomd(bad.as_bytes(), "primary"), &bad);
        assert!(said.contains(part), "{to}: {said}");
    }
}

#[test]
fn the_better_priority_wins_and_the_first_of_equals() {
    let kit = Kit::new();
    kit.key();
    for (repository, evr) in [("one", "1-1"), ("two", "2-1")] {
        let spec = Spec { name: "small", evr, head: "BuildArch: noarch", ..Spec::default() };
        kit.build(repository, spec);
        kit.index(repository, true);
    }
    let version = |priorities: [i32; 2]| {
        let mut request = kit.request(&["one", "two"], &["small"]);
        request.sources.iter_mut().zip(priorities).for_each(|(source, priority)| source.priority = priority);
        let resolved = rpm::resolve(&request, &files(), now(), &Job::quiet(1)).expect("resolved");
        (resolved.packages[0].version.clone(), resolved.packages[0].source.clone())
    };
    assert_eq!(version([500, 500]), ("2-1".to_owned(), "two".to_owned()));
    assert_eq!(version([900, 500]), ("1-1".to_owned(), "one".to_owned()));
}
