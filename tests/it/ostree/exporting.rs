//! What we write, judged by OSTree's own tools.

use std::process::Command;

use mkimage::tree::{Device, DeviceKind, Node};

use super::kit::{Place, Server, dump_host, everything, is_root, metadata, path, unlinked};
use crate::tool::{fail_with, run, succeed};

/// The modes that this user can write.
fn modes() -> &'static [&'static str] {
    if is_root() { &["archive", "bare-user", "bare"] } else { &["archive", "bare-user"] }
}

#[test]
fn stock_clients_check_and_check_out_what_we_export_with_all_metadata() {
    let place = Place::new();
    let commit = place.commit("1.0", everything);
    let expected = unlinked(&place.dump(&commit));
    let mut checksums = Vec::new();
    for mode in modes() {
        let export = place.mkimage(["ostree", "export", "nasty", "--repo", mode, "--mode", mode]).output();
        let export = export.expect("run");
        assert!(export.status.success(), "{mode}: {}", String::from_utf8_lossy(&export.stderr));
        checksums.push(String::from_utf8_lossy(&export.stdout).into_owned());
        succeed(&mut place.ostree(mode, ["fsck", "--quiet"]));
        let refs = succeed(&mut place.ostree(mode, ["refs"]));
        let mut refs: Vec<&str> = refs.lines().collect();
        refs.sort();
        assert_eq!(refs, ["mkimage/nasty", "nasty"]);
        if is_root() {
            let out = format!("out-{mode}");
            succeed(&mut place.ostree(mode, ["checkout", "nasty", &out]));
            assert_eq!(dump_host(&place.path(&out)), expected, "{mode}");
        }
    }
    checksums.dedup();
    assert_eq!(checksums.len(), 1, "a commit has one checksum, whatever the mode");
    let shown = succeed(&mut place.ostree("archive", ["show", "nasty"]));
    assert!(shown.contains("Version: 1.0") && shown.contains(&format!("mkimage commit {commit}")), "{shown}");
    assert!(shown.contains("2023-11-14 22:13:20 +0000"), "the time is the epoch: {shown}");
    // Without root's rights, owners and some modes are not kept; contents are.
    succeed(&mut place.ostree("bare-user", ["checkout", "-U", "nasty", "out-user"]));
    let contents = |dump: String| -> Vec<String> {
        let word = |line: &str, number: usize| line.split(' ').nth(number).map(str::to_owned);
        let files = dump.lines().filter(|line| line.contains(" f ") && !line.contains("/names/"));
        files.map(|line| format!("{:?} {:?}", word(line, 0), word(line, 5))).collect()
    };
    assert_eq!(contents(dump_host(&place.path("out-user"))), contents(expected));
}

#[test]
fn stock_clients_pull_what_we_export_over_http_and_between_repositories() {
    let place = Place::new();
    let commit = place.commit("1.0", everything);
    let expected = unlinked(&place.dump(&commit));
    succeed(&mut place.mkimage([
        "ostree",
        "export",
        "nasty",
        "--repo",
        "served",
        "--branch",
        "os/x86_64/stable",
    ]));
    let server = Server::over(&place.path("served"));
    let mode = if is_root() { "bare" } else { "bare-user" };
    succeed(&mut place.ostree("client", ["init", &format!("--mode={mode}")]));
    let address = format!("http://127.0.0.1:{}/", server.port);
    succeed(&mut place.ostree("client", ["remote", "add", "--no-gpg-verify", "origin", &address]));
    succeed(&mut place.ostree("client", ["pull", "origin", "os/x86_64/stable"]));
    succeed(&mut place.ostree("client", ["fsck", "--quiet"]));
    succeed(&mut place.ostree("local", ["init", &format!("--mode={mode}")]));
    succeed(&mut place.ostree("local", ["pull-local", "--untrusted", "served", "os/x86_64/stable"]));
    succeed(&mut place.ostree("local", ["fsck", "--quiet"]));
    if is_root() {
        succeed(&mut place.ostree("client", ["checkout", "origin:os/x86_64/stable", "out"]));
        assert_eq!(dump_host(&place.path("out")), expected);
        succeed(&mut place.ostree("local", ["checkout", "os/x86_64/stable", "out-local"]));
        assert_eq!(dump_host(&place.path("out-local")), expected);
    }
    // A client that asks for the commit under another name is refused: the branch is bound into it.
    std::fs::copy(place.path("served/refs/heads/os/x86_64/stable"), place.path("served/refs/heads/forged"))
        .expect("copied");
    let refused = run(&mut place.ostree("client", ["pull", "origin", "forged"]));
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("forged"));
}

#[test]
fn objects_that_are_there_are_not_written_again() {
    let place = Place::new();
    place.commit("1.0", everything);
    let export = |more: &[&str]| -> serde_json::Value {
        let mut command = place.mkimage(["ostree", "export", "nasty", "--repo", "repo", "--json"]);
        serde_json::from_str(&succeed(command.args(more))).expect("JSON")
    };
    let first = export(&[]);
    assert!(first["objects"].as_u64() > Some(30), "{first}");
    let again = export(&[]);
    assert_eq!((&again["objects"], &again["checksum"]), (&0.into(), &first["checksum"]));
    let branch = export(&["--branch", "other"]);
    assert_eq!(branch["objects"], 2, "a commit and a companion: they are bound to their branches");
    place.commit("2.0", |nasty| {
        nasty.everything();
        nasty.file("/new", b"new in 2.0", metadata(0o644, 0, 0, &[]));
    });
    let second = export(&[]);
    assert_eq!(second["objects"], 4, "a file, the root, a commit, a companion: {second}");
    assert_ne!(second["checksum"], first["checksum"]);
    succeed(&mut place.ostree("repo", ["fsck", "--quiet"]));
    // From another store, another folder, with one worker: the same commit.
    let elsewhere = Place::new();
    elsewhere.commit("1.0", everything);
    let checksum = succeed(&mut elsewhere.mkimage(["ostree", "export", "nasty", "--repo", "r", "-j", "1"]));
    assert_eq!(checksum.trim(), first["checksum"]);
}

#[test]
fn what_ostree_can_not_hold_is_refused_by_path_or_left_out_by_choice() {
    let place = Place::new();
    let commit = place.commit("1.0", |nasty| {
        nasty.file("/kept", b"kept", metadata(0o644, 0, 0, &[("user.empty", b"")]));
        let metadata = metadata(0o600, 0, 0, &[]);
        let null = Device { metadata: metadata.clone(), kind: DeviceKind::Character, major: 1, minor: 3 };
        nasty.put("/dev/null", Node::Device(null));
        nasty.put("/run/pipe", Node::Fifo(metadata.clone()));
        nasty.put("/run/socket", Node::Socket(metadata.clone()));
        nasty.put("/run/zz", Node::HardLink(path("/run/pipe")));
        let name = mkimage::base::ImagePath::new(b"/bad\xff").expect("a path");
        nasty.root.insert(&name, Node::Fifo(metadata)).expect("inserted");
    });
    let refused = fail_with(4, &mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo"]));
    for line in [
        "can't hold 6 things of the tree",
        "/bad\\xff: a name that is not UTF-8",
        "/dev/null: a character device",
        "/kept: the attribute user.empty, which has no value",
        "/run/pipe: a fifo",
        "/run/socket: a socket",
        "/run/zz: another name of /run/pipe: a fifo",
        "--lossy",
    ] {
        assert!(refused.contains(line), "{line:?} is not in {refused}");
    }
    assert!(!place.path("repo").exists(), "nothing was made");
    let mut lossy = place.mkimage(["ostree", "export", "nasty", "--repo", "repo", "--lossy", "--json"]);
    let lossy: serde_json::Value = serde_json::from_str(&succeed(&mut lossy)).expect("JSON");
    assert_eq!(lossy["losses"].as_array().map(Vec::len), Some(6));
    succeed(&mut place.ostree("repo", ["fsck", "--quiet"]));
    let listed = succeed(&mut place.ostree("repo", ["ls", "-R", "nasty"]));
    assert!(listed.contains("/kept") && !listed.contains("null") && !listed.contains("pipe"), "{listed}");
    // What comes back is less, and says so.
    let back = succeed(
        &mut place.mkimage(["ostree", "import", "nasty", "--repo", "repo", "--name", "back", "--json"]),
    );
    let back: serde_json::Value = serde_json::from_str(&back).expect("JSON");
    assert_eq!(back["restored"], false);
    assert!(back["note"].as_str().is_some_and(|note| note.contains(&commit.to_string())), "{back}");
}

#[test]
fn a_repository_is_never_made_of_something_else_and_keeps_its_mode() {
    let place = Place::new();
    place.commit("1.0", everything);
    std::fs::create_dir(place.path("folder")).expect("made");
    std::fs::write(place.path("folder/diary"), "mine").expect("written");
    let refused = fail_with(2, &mut place.mkimage(["ostree", "export", "nasty", "--repo", "folder"]));
    assert!(refused.contains("diary") && refused.contains("no OSTree repository"), "{refused}");
    succeed(&mut place.ostree("only", ["init", "--mode=bare-user-only"]));
    let refused = fail_with(2, &mut place.mkimage(["ostree", "export", "nasty", "--repo", "only"]));
    assert!(refused.contains("neither owners nor attributes"), "{refused}");
    succeed(&mut place.ostree("user", ["init", "--mode=bare-user"]));
    let export = ["ostree", "export", "nasty", "--repo", "user", "--mode", "archive"];
    let refused = fail_with(2, &mut place.mkimage(export));
    assert!(refused.contains("is bare-user, not archive"), "{refused}");
    let export = ["ostree", "export", "nasty", "--repo", "user", "--branch", "../../escape"];
    let refused = fail_with(1, &mut place.mkimage(export));
    assert!(refused.contains("../../escape"), "{refused}");
    let left = succeed(&mut place.ostree("user", ["refs"]));
    assert_eq!(left, "", "a refused export moves nothing");
}

#[test]
fn exports_at_the_same_time_do_not_disturb_each_other() {
    let place = Place::new();
    place.commit("1.0", everything);
    let export = |number: u32| {
        let branch = format!("branch-{number}");
        let mut command = place.mkimage(["ostree", "export", "nasty", "--repo", "repo", "--branch", &branch]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().expect("run")
    };
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo", "--tree-only"]));
    let running: Vec<_> = (0..3).map(export).collect();
    for child in running {
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    succeed(&mut place.ostree("repo", ["fsck", "--quiet"]));
    assert_eq!(succeed(&mut place.ostree("repo", ["refs"])).lines().count(), 7);
}

/// Takes every capability from a command of root's.
fn powerless(command: &Command) -> Command {
    let mut without = crate::tool::tool("setpriv", ["--bounding-set=-all", "--inh-caps=-all", "--"]);
    without.arg(command.get_program()).args(command.get_args());
    without.current_dir(command.get_current_dir().expect("a folder"));
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    without.envs(set);
    without
}

#[test]
fn no_rights_are_needed_but_for_repositories_that_keep_owners_in_the_file_system() {
    if !is_root() {
        // Then every other test shows it.
        return;
    }
    let place = Place::new();
    let commit = place.commit("1.0", everything);
    for mode in ["archive", "bare-user"] {
        let export = place.mkimage(["ostree", "export", "nasty", "--repo", mode, "--mode", mode]);
        succeed(&mut powerless(&export));
        succeed(&mut place.ostree(mode, ["fsck", "--quiet"]));
        let mut import = place.mkimage(["ostree", "import", "nasty", "--repo", mode, "--quiet"]);
        import.env("MKIMAGE_STORE", place.path(&format!("store-{mode}")));
        assert_eq!(succeed(&mut powerless(&import)).trim(), commit.to_string());
    }
    let export = place.mkimage(["ostree", "export", "nasty", "--repo", "bare", "--mode", "bare"]);
    let refused = fail_with(1, &mut powerless(&export));
    assert!(refused.contains("Operation not permitted") && refused.contains("--mode archive"), "{refused}");
}

#[test]
fn a_helper_that_is_not_there_is_missed_by_name() {
    let place = Place::new();
    place.commit("1.0", everything);
    let export = ["ostree", "export", "nasty", "--repo", "repo", "--helper"];
    let missing = fail_with(5, place.mkimage(export).arg("/nowhere/mkimage-ostree"));
    assert!(missing.contains("/nowhere/mkimage-ostree") && missing.contains("make ostree"), "{missing}");
    let silent = fail_with(1, place.mkimage(export).arg("/bin/true"));
    assert!(silent.contains("/bin/true ended"), "{silent}");
    let other = fail_with(1, place.mkimage(export).arg("/bin/cat"));
    assert!(other.contains("/bin/cat"), "{other}");
}
