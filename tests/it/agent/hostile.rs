//! Far ends that lie, are away, or hold garbage: nothing of it does harm, and the next honest word is heard.

use std::path::Path;

use super::*;

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
}

#[allow(clippy::disallowed_methods, reason = "a test may list a folder in any order")]
fn largest_bundle(site: &Path) -> PathBuf {
    let bundles = std::fs::read_dir(site.join("bundles")).expect("bundles");
    let paths = bundles.map(|entry| entry.expect("an entry").path());
    paths.max_by_key(|path| path.metadata().expect("metadata").len()).expect("a bundle")
}

#[test]
fn a_far_end_that_lies_or_is_away_changes_nothing_and_an_older_index_is_refused() {
    let farm = Farm::new("agent-lies");
    let site = "https://updates.invalid/site";
    farm.build(site, healthy("1"), "disk.img");
    farm.push("agent-lies");
    let index = farm.path("site/index");
    let older = std::fs::read(&index).expect("the index");
    let second = farm.build(site, healthy("2"), "second.img");
    farm.push("agent-lies");
    let newer = std::fs::read(&index).expect("the index");
    let before = std::fs::read(farm.path("disk.img")).expect("the image");
    let unchanged = |what: &str| {
        assert!(
            std::fs::read(farm.path("disk.img")).expect("the image") == before,
            "{what} changed the disk"
        );
    };

    mkimage::base::fs::rename(&farm.path("site"), &farm.path("away")).expect("renamed");
    farm.refused("disk.img", "slot-a", &["upgrade"]);
    unchanged("a site that is away");
    mkimage::base::fs::rename(&farm.path("away"), &farm.path("site")).expect("renamed");

    for (what, bytes) in [
        ("garbage", vec![0x5a; 70_000]),
        ("nothing", Vec::new()),
        (
            "an index of nobody",
            String::from_utf8_lossy(&newer).replace("\"sig\":\"", "\"sig\":\"AAAA").into_bytes(),
        ),
    ] {
        std::fs::write(&index, bytes).expect("written");
        farm.refused("disk.img", "slot-a", &["upgrade"]);
        unchanged(what);
    }

    std::fs::write(&index, &newer).expect("written");
    assert_eq!(farm.say("disk.img", "slot-a", &["upgrade", "--check"])["state"], "available");
    std::fs::write(&index, &older).expect("written");
    let said = farm.refused("disk.img", "slot-a", &["upgrade"]);
    assert!(said.contains("went back"), "{said}");
    unchanged("an older index");

    std::fs::write(&index, &newer).expect("written");
    let release = farm.path("site/releases").join(&second);
    let sound = std::fs::read(&release).expect("a release");
    let other = sign_another_root_hash(&farm, &second);
    for wrong in [vec![0x5a; 1000], other] {
        std::fs::write(&release, wrong).expect("written");
        let said = farm.refused("disk.img", "slot-a", &["upgrade"]);
        assert!(said.contains("release"), "{said}");
        unchanged("a release that is not this machine's");
    }
    std::fs::write(&release, sound).expect("written");
    let bundle = largest_bundle(&farm.path("site"));
    let length = bundle.metadata().expect("metadata").len() as usize;
    let sound = std::fs::read(&bundle).expect("the bundle");
    for at in [0, 100, length / 2, length - 1] {
        flip(&bundle, at);
        let done = run(&mut farm.agent("disk.img", "slot-a", &["upgrade"]));
        // What the running slot has is not fetched: a damage there is none of this machine's.
        assert!(at > 100 || !done.status.success(), "a flip at {at} of {length} went unseen");
        std::fs::write(&bundle, &sound).expect("written");
        if done.status.success() {
            break;
        }
        unchanged("a damaged bundle");
    }
    let state = farm.say("disk.img", "slot-a", &["upgrade"]);
    assert!(["staged", "waiting"].contains(&state["state"].as_str().expect("a state")), "{state}");
    let facts = inspect(&farm.path("disk.img"));
    assert_eq!(
        (&facts["slots"][1]["verified"], &facts["slots"][0]["state"]),
        (&true.into(), &"blessed".into())
    );
}

/// Signs, with the right key, that the image comes out otherwise than it does: what a faulty machine would find.
fn sign_another_root_hash(farm: &Farm, commit: &str) -> Vec<u8> {
    use mkimage::base::Digest;
    use mkimage::trust::{Release, SecretKey};
    let key = SecretKey::read(&farm.path("site.key")).expect("the key");
    let commit = commit.parse().expect("a commit");
    let release = Release { commit, root_hash: [7; 32], uki: Digest::of(b""), uki_bytes: 1 };
    release.sign(&[&key]).expect("signed")
}

#[test]
fn a_machine_without_keys_follows_nobody() {
    let farm = Farm::new("agent-keys");
    farm.build("https://updates.invalid/site", healthy("1"), "disk.img");
    farm.push("agent-keys");
    for keys in ["", "# nobody\n", "no key\n"] {
        std::fs::write(farm.path("site.key.pub"), keys).expect("written");
        farm.refused("disk.img", "slot-a", &["upgrade"]);
    }
    let mut command = mkimage(["build", "recipe.hcl", "-o", "new.img"]);
    command.env("MKIMAGE_AGENT", agent()).current_dir(farm.folder.path());
    let said = tool::fail_with(4, &mut command);
    assert!(said.contains("site.key.pub") && said.contains("update"), "{said}");
}
