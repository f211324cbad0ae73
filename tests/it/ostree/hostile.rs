//! Repositories that are damaged or made to harm, and helpers that lie: an error with the object's name, and
//! nothing half-imported.

use std::path::Path;
use std::process::Command;

use super::kit::{Place, everything, helper, metadata, noise};
use crate::tool::{fail_with, run, succeed, tool};

/// Makes a repository with the nasty tree, and a store of its own for what comes in.
fn exported(mode: &str) -> Place {
    let place = Place::new();
    place.commit("1.0", |nasty| {
        everything(nasty);
        nasty.file("/noise", &noise(200_000), metadata(0o644, 0, 0, &[]));
    });
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo", "--mode", mode]));
    place
}

fn import<'a>(place: &Place, name: &'a str, repository: &'a str) -> Command {
    let mut command = place.mkimage(["ostree", "import", name, "--repo", repository]);
    command.env("MKIMAGE_STORE", place.path("new-store"));
    command
}

/// Fails unless a store has neither packs nor refs.
fn assert_untouched(place: &Place) {
    for folder in ["packs", "refs"] {
        let path = place.path("new-store").join(folder);
        let names = mkimage::base::fs::list(&path).unwrap_or_default();
        let left: Vec<_> = names.iter().filter(|name| *name != ".lock").collect();
        assert!(left.is_empty(), "{folder} holds {left:?}");
    }
}

/// Returns the checksum of a file in the repository, its dirmeta's or dirtree's, as OSTree lists it.
fn checksum(place: &Place, path: &str, column: usize) -> String {
    let listed = succeed(&mut place.ostree("repo", ["ls", "-C", "-d", "nasty", path]));
    listed.split_whitespace().nth(column).expect("a checksum").to_owned()
}

const TREE: usize = 4;
const META: usize = 5;

fn object(place: &Place, checksum: &str, kind: &str) -> std::path::PathBuf {
    place.path("repo/objects").join(&checksum[..2]).join(format!("{}.{kind}", &checksum[2..]))
}

fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn a_damaged_object_is_named_and_nothing_is_imported() {
    let place = exported("archive");
    let file = checksum(&place, "/noise", TREE);
    let tree = checksum(&place, "/names", TREE);
    let meta = checksum(&place, "/names", META);
    let commit = succeed(&mut place.ostree("repo", ["rev-parse", "nasty"])).trim().to_owned();
    let other = std::fs::read(object(&place, &checksum(&place, "/large", TREE), "filez")).expect("read");
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let announce = |size: u64| move |bytes: &mut Vec<u8>| bytes[8..16].copy_from_slice(&size.to_be_bytes());
    let (huge, short, long) = (announce(1 << 62), announce(1000), announce(200_001));
    let damages: [(&str, &str, Damage<'_>); 14] = [
        (&file, "filez", &|bytes| bytes.clear()),
        (&file, "filez", &|bytes| bytes.truncate(bytes.len() / 2)),
        (&file, "filez", &|bytes| bytes.truncate(20)),
        (&file, "filez", &|bytes| *bytes = other.clone()),
        (&file, "filez", &|bytes| bytes[100_000] ^= 1),
        (&file, "filez", &huge),
        (&file, "filez", &short),
        (&file, "filez", &long),
        (&tree, "dirtree", &|bytes| bytes.clear()),
        (&tree, "dirtree", &|bytes| bytes[3] ^= 0x20),
        (&meta, "dirmeta", &|bytes| bytes.truncate(6)),
        (&meta, "dirmeta", &|bytes| bytes[11] ^= 1),
        (&commit, "commit", &|bytes| bytes.clear()),
        (&commit, "commit", &|bytes| *bytes = vec![0xff; 4096]),
    ];
    for (number, (checksum, kind, damage)) in damages.iter().enumerate() {
        let path = object(&place, checksum, kind);
        let sound = std::fs::read(&path).expect("read");
        let mut bytes = sound.clone();
        damage(&mut bytes);
        overwrite(&path, &bytes);
        let output = run(&mut import(&place, "nasty", "repo"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // What libostree itself stumbles over fails with 1, what we find with 6.
        assert!(matches!(output.status.code(), Some(1 | 6)), "damage {number}: {}: {said}", output.status);
        assert!(said.contains(*checksum), "damage {number}: {said}");
        assert_untouched(&place);
        overwrite(&path, &sound);
    }
    let path = object(&place, &file, "filez");
    std::fs::remove_file(&path).expect("removed");
    let said = fail_with(6, &mut import(&place, "nasty", "repo"));
    assert!(said.contains(&format!("object {file}.file is not in repo")) && said.contains("fsck"), "{said}");
    assert_untouched(&place);
}

#[test]
fn damage_in_a_repository_of_plain_files_is_found_by_checksum() {
    let place = exported("bare-user");
    let file = checksum(&place, "/noise", TREE);
    let path = object(&place, &file, "file");
    let sound = std::fs::read(&path).expect("read");
    for bytes in [&sound[1..], &[][..], &[&sound[..], b"more"].concat()] {
        std::fs::write(&path, bytes).expect("written");
        let said = fail_with(6, &mut import(&place, "nasty", "repo"));
        assert!(said.contains(&format!("object {file}.file is damaged")), "{said}");
        assert_untouched(&place);
    }
    std::fs::write(&path, &sound).expect("written");
    succeed(&mut import(&place, "nasty", "repo"));
}

#[test]
fn refs_that_are_none_are_refused() {
    let place = exported("archive");
    std::fs::write(place.path("repo/refs/heads/garbage"), "no checksum\n").expect("written");
    std::fs::write(place.path("repo/refs/heads/dangling"), format!("{}\n", "ab".repeat(32)))
        .expect("written");
    let tree = checksum(&place, "/names", TREE);
    std::fs::write(place.path("repo/refs/heads/a-tree"), format!("{tree}\n")).expect("written");
    let bytes = std::os::unix::ffi::OsStrExt::from_bytes(&b"\xff\xfe"[..]);
    let _: &std::ffi::OsStr = bytes;
    std::fs::write(place.path("repo/refs/heads").join(bytes), "x").expect("written");
    fail_with(1, &mut import(&place, "garbage", "repo"));
    let said = fail_with(6, &mut import(&place, "dangling", "repo"));
    assert!(said.contains(&"ab".repeat(32)), "{said}");
    let said = fail_with(6, &mut import(&place, "a-tree", "repo"));
    assert!(said.contains(&tree), "{said}");
    let mut command = place.mkimage(["ostree", "import", "--repo", "repo"]);
    fail_with(2, command.arg(bytes));
    for name in ["../../etc/passwd", "-x", "a//b", "", "nasty^", "nasty^^^"] {
        let output = run(place.mkimage(["ostree", "import", "--repo", "repo"]).args(["--", name]));
        assert!(!output.status.success(), "{name:?}");
    }
    assert_untouched(&place);
    succeed(&mut import(&place, "nasty", "repo"));
}

/// Writes repositories whose objects have right checksums and wrong ideas.
const FORGE: &str = r#"
import hashlib, os, struct, sys
def ends(body, at):
    for width, letter, most in (1, "B", 0xff), (2, "H", 0xffff), (4, "I", 0xffffffff):
        if len(body) + width * len(at) <= most:
            return body + b"".join(struct.pack("<" + letter, end) for end in at)
def array(elements, align=1):
    body, at = b"", []
    for element in elements:
        body += bytes(-len(body) % align) + element
        at.append(len(body))
    return ends(body, at)
def tuple_(*members):
    body, at = b"", []
    for number, (align, fixed, member) in enumerate(members):
        body += bytes(-len(body) % align) + member
        if not fixed and number + 1 < len(members):
            at.append(len(body))
    return ends(body, at[::-1])
text = lambda value: (1, False, value.encode() + b"\0")
blob = lambda value: (1, False, value)
word = lambda value: (4, True, struct.pack(">I", value))
def put(kind, body):
    name = hashlib.sha256(body).hexdigest()
    os.makedirs("repo/objects/" + name[:2], exist_ok=True)
    with open("repo/objects/%s/%s.%s" % (name[:2], name[2:], kind), "wb") as out:
        out.write(body)
    return bytes.fromhex(name)
def attributes(pairs):
    return blob(array([tuple_(blob(name + b"\0"), blob(value)) for name, value in pairs]))
def meta(mode=0o40755, pairs=()):
    return put("dirmeta", tuple_(word(0), word(0), word(mode), attributes(pairs)))
def tree(files=(), directories=()):
    return put("dirtree", tuple_(
        blob(array([tuple_(text(name), blob(sum)) for name, sum in files])),
        blob(array([tuple_(text(name), blob(below), blob(meta)) for name, below, meta in directories]))))
def commit(branch, root, what, seconds=0, metadata=()):
    entry = lambda key, kind, value: tuple_(text(key), (8, False, value + b"\0" + kind.encode()))
    name = put("commit", tuple_(
        (8, False, array([entry(*one) for one in metadata], 8)), blob(b""), blob(b""), text(""), text(""),
        (8, True, struct.pack(">Q", seconds)), blob(root), blob(what)))
    with open("repo/refs/heads/" + branch, "w") as out:
        out.write(name.hex() + "\n")
plain, empty = meta(), tree()
below = empty
for level in range(40):
    below = tree(directories=[("%03d" % n + "n" * 252, below, plain) for n in range(100)])
commit("bomb", below, plain)
below = empty
for level in range(300):
    below = tree(directories=[("d", below, plain)])
commit("deep", below, plain)
for branch, name in ("dots", ".."), ("slash", "a/b"), ("nothing", ""), ("long", "n" * 256):
    commit(branch, tree(directories=[(name, empty, plain)]), plain)
commit("twice", tree(directories=[("x", empty, plain), ("x", empty, plain)]), plain)
commit("both", tree(files=[("x", empty)], directories=[("x", empty, plain)]), plain)
commit("file-as-directory", empty, meta(0o100644))
commit("mode", empty, meta(0o240755))
commit("fat-attribute", empty, meta(pairs=[(b"user.x", b"x" * 70000)]))
commit("odd-attribute", empty, meta(pairs=[(b"no-namespace", b"x")]))
commit("same-attribute", empty, meta(pairs=[(b"user.x", b"x"), (b"user.x", b"y")]))
flood = meta(pairs=[(b"user.%06d" % n, b"x" * 60000) for n in range(30)])
commit("flood", tree(directories=[("%03d" % n, empty, flood) for n in range(200)]), plain)
commit("short-checksum", tree(directories=[("x", b"short", plain)]), plain)
commit("late", empty, plain, seconds=1 << 63)
commit("carries-garbage", empty, plain, metadata=[("mkimage.commit-object", "ay", b"garbage")])
commit("links-garbage", empty, plain, metadata=[("mkimage.hard-links", "a(ayay)", b"\xff\xff\xff")])
commit("links-out", empty, plain, metadata=[("mkimage.hard-links", "a(ayay)",
    array([tuple_(blob(b"/../x"), blob(b"/y"))]))])
commit("sound", tree(directories=[("x", empty, plain)]), plain)
"#;

#[test]
fn objects_with_right_checksums_and_wrong_ideas_are_refused_in_bounded_time() {
    let place = Place::new();
    succeed(&mut place.ostree("repo", ["init", "--mode=archive"]));
    succeed(tool("python3", ["-c", FORGE]).current_dir(place.folder.path()));
    let cases = [
        ("bomb", 4, "at most 268435456 bytes of names, targets and attributes"),
        ("deep", 4, "at most 256 levels of directories"),
        ("dots", 6, "\"..\""),
        ("slash", 6, "\"a/b\""),
        ("nothing", 6, "empty"),
        ("long", 6, "255"),
        ("twice", 6, "\"x\" is there twice"),
        ("both", 6, "\"x\" is there twice"),
        ("file-as-directory", 6, "mode 100644"),
        ("mode", 6, "240755"),
        ("fat-attribute", 4, "/: extended attribute user.x has 70000 bytes"),
        ("odd-attribute", 4, "no-namespace"),
        ("same-attribute", 6, "user.x is there twice"),
        ("flood", 4, "at most 268435456 bytes of names, targets and attributes"),
        ("short-checksum", 6, "a checksum of 5 bytes"),
        ("late", 4, "9223372036854775808"),
        ("carries-garbage", 6, "the commit that it carries"),
        ("links-garbage", 6, ".commit is damaged"),
        ("links-out", 6, "\"..\""),
    ];
    for (branch, code, expected) in cases {
        let said = fail_with(code, &mut import(&place, branch, "repo"));
        assert!(said.contains(expected), "{branch}: {expected:?} is not in {said}");
        assert_untouched(&place);
    }
    // The forger's own bytes are right where its ideas are.
    succeed(&mut place.ostree("repo", ["ls", "-R", "sound"]));
    succeed(&mut import(&place, "sound", "repo"));
}

/// A helper that says what its first argument's folder tells it to.
const LIAR: &str = r#"#!/usr/bin/python3
import json, struct, sys
out, inp = sys.stdout.buffer, sys.stdin.buffer
def say(value):
    text = json.dumps(value).encode()
    out.write(struct.pack("<I", len(text)) + text)
    out.flush()
def hear():
    length = struct.unpack("<I", inp.read(4))[0]
    return json.loads(inp.read(length))
how = sys.argv[2].rsplit("/", 1)[-1]
if how == "garbage":
    out.write(b"\x05\0\0\0hello")
    sys.exit(0)
if how == "endless":
    out.write(b"\xff\xff\xff\xff" + b"x" * 100000)
    sys.exit(0)
say({"ready": {"protocol": 9 if how == "old" else 1, "mode": "archive"}})
while True:
    request = hear()
    if "resolve" in request:
        if how == "mute":
            sys.exit(3)
        say("done" if how == "confused" else {"resolved": {"checksum": "ab" * 32}})
    elif "load" in request:
        if how == "greedy":
            say({"object": {"bytes": 1 << 60}})
        elif how == "more":
            say({"object": {"bytes": 5}})
            out.write(struct.pack("<I", 60000) + b"x" * 60000 + b"\0\0\0\0")
            say("done")
        elif how == "less":
            say({"object": {"bytes": 500}})
            out.write(struct.pack("<I", 5) + b"x" * 5 + b"\0\0\0\0")
            say("done")
        elif how == "piece":
            say({"object": {"bytes": 500}})
            out.write(b"\xff\xff\xff\xff")
            sys.exit(0)
        elif how == "torn":
            say({"object": {"bytes": 500}})
            out.write(struct.pack("<I", 100) + b"x" * 5)
            sys.stderr.write("I fell over\n")
            sys.exit(7)
        elif how == "late":
            say({"object": {"bytes": 5}})
            out.write(struct.pack("<I", 5) + b"x" * 5 + b"\0\0\0\0")
            say({"failed": {"doing": "read on", "problem": "the disk is tired"}})
        else:
            say({"object": {"bytes": 5}})
            out.write(struct.pack("<I", 5) + b"x" * 5 + b"\0\0\0\0")
            say("done")
        out.flush()
"#;

#[test]
fn a_helper_that_lies_is_caught_and_nothing_is_imported() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let liar = place.path("liar");
    std::fs::write(&liar, LIAR).expect("written");
    std::fs::set_permissions(&liar, std::fs::Permissions::from_mode(0o755)).expect("set");
    let name = format!("{}.commit", "ab".repeat(32));
    let cases = [
        ("garbage", 1, "liar"),
        ("endless", 1, "a message of 4294967295 bytes"),
        ("old", 1, "it speaks version 9"),
        ("mute", 1, "exit status: 3"),
        ("confused", 1, "it answers Done"),
        ("greedy", 6, "it has 1152921504606846976 bytes"),
        ("more", 6, "it has more bytes than it announced"),
        ("less", 6, "it has 495 bytes fewer than it announced"),
        ("piece", 1, "a piece of 4294967295 bytes"),
        ("torn", 1, "I fell over"),
        ("late", 1, "the disk is tired"),
        ("forged", 6, "its bytes have the checksum"),
    ];
    for (how, code, expected) in cases {
        std::fs::create_dir(place.path(how)).expect("made");
        let said = fail_with(code, import(&place, "branch", how).env("MKIMAGE_OSTREE", &liar));
        assert!(said.contains(expected), "{how}: {expected:?} is not in {said}");
        assert!(code == 1 || said.contains(&name), "{how}: {said}");
        assert_untouched(&place);
    }
}

/// The helper, killed after so many bytes.
const DYING: &str = r#"#!/usr/bin/python3
import os, subprocess, sys
helper = subprocess.Popen(["HELPER"] + sys.argv[1:], stdin=subprocess.PIPE)
left = BYTES
while left:
    piece = os.read(0, min(left, 4096))
    if not piece:
        break
    os.write(helper.stdin.fileno(), piece)
    left -= len(piece)
helper.kill()
helper.wait()
os.abort()
"#;

#[test]
fn a_helper_that_dies_leaves_the_repository_as_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let place = exported("archive");
    let before = succeed(&mut place.ostree("repo", ["rev-parse", "nasty"]));
    place.commit("2.0", |nasty| nasty.file("/new", &noise(2_000_000), metadata(0o644, 0, 0, &[])));
    let dying = place.path("dying");
    for bytes in [4000, 300_000, 1_900_000] {
        let script =
            DYING.replace("BYTES", &bytes.to_string()).replace("HELPER", &helper().to_string_lossy());
        std::fs::write(&dying, script).expect("written");
        std::fs::set_permissions(&dying, std::fs::Permissions::from_mode(0o755)).expect("set");
        let mut export = place.mkimage(["ostree", "export", "nasty", "--repo", "repo"]);
        fail_with(1, export.env("MKIMAGE_OSTREE", &dying));
        assert_eq!(succeed(&mut place.ostree("repo", ["rev-parse", "nasty"])), before);
        succeed(&mut place.ostree("repo", ["fsck", "--quiet"]));
    }
    succeed(&mut place.mkimage(["ostree", "export", "nasty", "--repo", "repo"]));
    assert_ne!(succeed(&mut place.ostree("repo", ["rev-parse", "nasty"])), before);
    succeed(&mut place.ostree("repo", ["fsck", "--quiet"]));
}
