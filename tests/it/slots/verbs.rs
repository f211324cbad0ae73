//! The verbs on a disk image: what they say, their exit codes, what they refuse.

use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::boot::slots::Slot;
use mkimage::disk::BlockDevice;

use super::kit::{Kit, put};
use crate::tool::{fail_with, mkimage, run, succeed};

pub struct Disk {
    layout: u32,
    pub path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Disk {
        Disk::of(1)
    }

    /// Makes an image file with v1 in slot A.
    pub fn of(layout: u32) -> Disk {
        let folder = crate::store::folder();
        let path = folder.path().join("disk.img");
        std::fs::write(&path, Kit::of(layout).fresh(1)).expect("written");
        Disk { layout, path, _folder: folder }
    }

    /// The store whose refs the disk's versions are.
    pub fn store(&self) -> &'static Path {
        Kit::of(self.layout).store.path()
    }

    pub fn call(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = mkimage([verb]);
        command.env("MKIMAGE_STORE", self.store()).arg(&self.path).args(more);
        command
    }

    pub fn say(&self, verb: &str, more: &[&str]) -> String {
        succeed(&mut self.call(verb, more))
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.say("status", &["--verify", "--json"])).expect("JSON")
    }
}

#[test]
fn an_image_is_updated_confirmed_and_rolled_back() {
    a_disk_lives(&Disk::of(1));
}

#[test]
fn an_image_with_our_own_loader_is_updated_confirmed_and_rolled_back() {
    a_disk_lives(&Disk::of(2));
}

fn a_disk_lives(disk: &Disk) {
    let said = disk.say("status", &["--verify"]);
    assert!(said.contains("slot-a: confirmed, generation 1"), "{said}");
    assert!(said.contains("app 1.0") && said.contains("(app/v1)") && said.contains("(verified)"), "{said}");
    assert!(said.contains("boots next: slot-a: the other slot is not selectable"), "{said}");

    let said = disk.say("update", &["app/v2"]);
    assert!(said.starts_with("slot-b holds app 2.0 now: "), "{said}");
    let status = disk.status();
    assert_eq!(status["slots"][1]["state"], "trial", "{status}");
    assert_eq!(status["slots"][1]["tries_left"], 3);
    assert_eq!(status["slots"][1]["refs"][0], "app/v2");
    assert_eq!(status["slots"][1]["verified"], true);
    assert_eq!((&status["next"]["slot"], &status["next"]["trial"]), (&"slot-b".into(), &true.into()));
    let said = disk.say("update", &["app/v2"]);
    assert!(said.contains("nothing was written"), "{said}");

    assert_eq!(disk.say("confirm", &[]), "slot-b is confirmed\n");
    assert_eq!(disk.say("confirm", &[]), "slot-b is confirmed, as before: nothing to do\n");
    let said = disk.say("update", &["app/v2"]);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(disk.say("rollback", &[]), "slot-a boots next\n");
    assert_eq!(disk.status()["next"]["slot"], "slot-a");
    assert_eq!(disk.say("switch", &["slot-b"]), "slot-b boots next\n");
    assert_eq!(disk.say("switch", &["b"]), "slot-b boots next, as before: nothing to do\n");
    let turned: serde_json::Value = serde_json::from_str(&disk.say("rollback", &["--json"])).expect("JSON");
    assert_eq!((&turned["slot"], &turned["changed"]), (&"slot-a".into(), &true.into()));
}

#[test]
fn inspect_and_the_checkers_of_file_systems_agree_with_an_updated_image() {
    for layout in [1, 2] {
        checkers_agree(&Disk::of(layout));
    }
}

fn checkers_agree(disk: &Disk) {
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    disk.say("update", &["app/v3"]);
    let facts = crate::tool::inspect(&disk.path);
    assert_eq!(facts["slots"][0]["version"], "3.0", "{facts}");
    assert_eq!(facts["slots"][1]["version"], "2.0", "{facts}");
    for partition in facts["partitions"].as_array().expect("partitions") {
        let checker = match partition["name"].as_str().expect("a name") {
            "esp" => ("fsck.fat", "-n"),
            "slot-a" | "slot-b" => ("e2fsck", "-fn"),
            _ => continue,
        };
        let file = tempfile::NamedTempFile::new().expect("a file");
        let number = |key: &str| partition[key].as_u64().expect("a number");
        crate::tool::cut(&disk.path, number("start_bytes"), number("size_bytes"), file.path());
        succeed(&mut crate::tool::tool(checker.0, [checker.1.as_ref(), file.path().as_os_str()]));
    }
}

#[test]
fn what_would_leave_nothing_that_boots_is_refused() {
    let disk = Disk::new();
    let said = fail_with(1, &mut disk.call("rollback", &[]));
    assert!(said.contains("slot-b holds nothing that could boot: it was never written"), "{said}");
    assert!(said.contains("`mkimage update DISK COMMIT` writes it"), "{said}");
    let said = fail_with(1, &mut disk.call("switch", &["slot-b"]));
    assert!(said.contains("holds nothing that could boot") && said.contains("hint:"), "{said}");
    disk.say("update", &["app/v2"]);
    let said = fail_with(1, &mut disk.call("update", &["app/v3", "--running", "slot-b"]));
    assert!(said.contains("slot-b runs and is still on trial") && said.contains("mkimage confirm"), "{said}");
    let said = fail_with(1, &mut disk.call("confirm", &["--running", "slot-a"]));
    assert!(said.contains("slot-b is on trial, but slot-a runs"), "{said}");
    let said = fail_with(5, &mut disk.call("update", &["app/v9"]));
    assert!(said.contains("app/v9"), "{said}");
    assert_eq!(disk.status()["slots"][0]["state"], "confirmed");
}

#[test]
fn a_damaged_slot_is_named_and_never_switched_to() {
    let disk = Disk::new();
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    let start = crate::tool::inspect(&disk.path)["partitions"][1]["start_bytes"].as_u64().expect("a start");
    let mut bytes = std::fs::read(&disk.path).expect("read");
    bytes[start as usize + 3 * 4096 + 5] ^= 1;
    std::fs::write(&disk.path, &bytes).expect("written");
    let mut status = disk.call("status", &["--verify"]);
    let output = run(&mut status);
    assert_eq!(output.status.code(), Some(6));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("DAMAGED") && said.contains("data block 3"), "{said}");
    let said = fail_with(6, &mut disk.call("rollback", &[]));
    assert!(said.contains("slot-a is damaged"), "{said}");
    assert!(std::fs::read(&disk.path).expect("read") == bytes, "something was written");
    // An update makes it whole again, and writes only what is not.
    disk.say("update", &["app/v3"]);
    assert_eq!(disk.status()["slots"][0]["verified"], true);
}

#[test]
fn an_update_over_the_only_sound_slot_is_refused() {
    let disk = Disk::new();
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    let start = crate::tool::inspect(&disk.path)["partitions"][2]["start_bytes"].as_u64().expect("a start");
    let mut bytes = std::fs::read(&disk.path).expect("read");
    bytes[start as usize + 4096] ^= 1;
    std::fs::write(&disk.path, &bytes).expect("written");
    let said = fail_with(6, &mut disk.call("update", &["app/v3"]));
    assert!(said.contains("slot-b is damaged"), "{said}");
    assert!(std::fs::read(&disk.path).expect("read") == bytes, "something was written");
}

#[test]
fn beside_a_damaged_slot_an_empty_one_is_not_written_either() {
    let disk = Disk::new();
    let start = crate::tool::inspect(&disk.path)["partitions"][1]["start_bytes"].as_u64().expect("a start");
    let mut bytes = std::fs::read(&disk.path).expect("read");
    bytes[start as usize + 4096] ^= 1;
    std::fs::write(&disk.path, &bytes).expect("written");
    let said = fail_with(6, &mut disk.call("update", &["app/v2"]));
    assert!(said.contains("slot-a is damaged"), "{said}");
    assert!(std::fs::read(&disk.path).expect("read") == bytes, "something was written");
}

#[test]
fn sizes_names_and_processors_are_checked_before_anything_is_touched() {
    let kit = Kit::of(1);
    let disk = Disk::new();
    let store = &kit.store;
    put(store, 1, "other", (1, 1 << 20));
    put(store, 7, "app", (2, 64 << 20));
    large(store);
    let before = std::fs::read(&disk.path).expect("read");
    let said = fail_with(2, &mut disk.call("update", &["other/v1"]));
    assert!(
        said.contains("the disk is of app, the commit is of other") && said.contains("--other-image"),
        "{said}"
    );
    let said = fail_with(8, &mut disk.call("update", &["app/large"]));
    assert!(said.contains("slot-b has room for 1 MiB") && said.contains("disk.slot_size"), "{said}");
    assert!(std::fs::read(&disk.path).expect("read") == before, "something was written");
    // Another size of slots or another loader in the recipe is no obstacle as long as the content fits.
    disk.say("update", &["app/v7"]);
    disk.say("update", &["other/v1", "--other-image"]);
    assert_eq!(disk.status()["slots"][1]["name"], "other");
}

/// Publishes a version that no slot of a megabyte can hold.
fn large(store: &mkimage::store::Store) {
    use crate::store::{add_file, job, noise, update};
    use mkimage::store::Objects;
    let transaction = store.begin(&job());
    let mut root = mkimage::tree::Directory::default();
    add_file(&transaction, &mut root, "/large", &noise(9, 2 << 20));
    let tree = transaction.put_tree(&job(), &root.seal().expect("sealed")).expect("put");
    let mut commit = store.read_commit(&Kit::of(1).commits[1]).expect("read");
    commit.tree = tree;
    commit.disk.slot_size = Some(8 << 20);
    let id = transaction.put_commit(&commit).expect("put");
    transaction.commit(&[update("app/large", id)], "a test").expect("committed");
}

#[test]
fn two_updates_never_interleave() {
    let disk = Disk::new();
    let held = mkimage::slots::Disk::change(&disk.path).expect("locked");
    for verb in ["rollback", "confirm"] {
        let said = fail_with(1, &mut disk.call(verb, &[]));
        assert!(said.contains("another program changes"), "{said}");
    }
    disk.say("status", &[]);
    drop(held);
    disk.say("update", &["app/v2"]);
}

#[test]
fn what_is_no_disk_is_an_error_that_says_so() {
    let folder = crate::store::folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text"), "no disk").expect("written");
    succeed(&mut crate::tool::tool("mkfifo", [at("fifo")]));
    let call = |path: &Path| mkimage(["status".as_ref(), path.as_os_str()]);
    let said = fail_with(6, &mut call(&at("text")));
    assert!(said.contains("text"), "{said}");
    let said = fail_with(2, &mut call(&at("fifo")));
    assert!(said.contains("neither a file nor a block device"), "{said}");
    fail_with(5, &mut call(&at("missing")));
}

/// Changes a byte of a slot's kernel image.
fn rot(disk: &Disk, slot: Slot) {
    let device = crate::trial::open(&disk.path);
    let esp = crate::trial::window(&device, "esp");
    let at = crate::trial::table(&esp).map().uki_offset(slot) + 700;
    let byte = crate::trial::sector(&esp, at)[0];
    esp.write_at(at, &[byte ^ 1]).expect("written");
}

#[test]
fn a_kernel_image_that_rotted_is_not_said_to_boot_next() {
    let disk = Disk::of(2);
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    rot(&disk, Slot::B);
    for (verb, code) in [("status", 6), ("inspect", 0)] {
        let output = run(&mut disk.call(verb, &[]));
        let said = String::from_utf8(output.stdout).expect("text");
        let why = "boots next: slot-a: slot-b comes first, but its kernel image is not what its record says";
        assert!(output.status.code() == Some(code) && said.contains(why), "{said}");
    }
    rot(&disk, Slot::A);
    for verb in ["status", "inspect"] {
        let said = String::from_utf8(run(&mut disk.call(verb, &[])).stdout).expect("text");
        assert!(said.contains("boots next: nothing"), "{said}");
    }
}

#[test]
fn a_disk_that_cannot_be_written_is_said_to_be_read_only() {
    let disk = Disk::of(2);
    let folder = disk.path.parent().expect("a folder");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let rollback = disk.call("rollback", &[]);
    let mut read_only = crate::tool::tool("unshare", ["--map-root-user", "--mount", "sh", "-c", script]);
    read_only.arg(folder).arg(rollback.get_program()).args(rollback.get_args());
    let said = fail_with(1, &mut read_only);
    assert!(said.contains("Read-only file system") && said.contains("is the disk read-only"), "{said}");
    assert!(!said.contains("--store"), "{said}");
}

#[test]
fn a_rollback_while_an_update_waits_for_its_first_boot_calls_it_off() {
    let disk = Disk::of(2);
    disk.say("update", &["app/v2"]);
    assert_eq!(disk.say("rollback", &["--running", "slot-a"]), "slot-a boots next\n");
    assert_eq!(disk.status()["next"]["slot"], "slot-a");
    let said = fail_with(1, &mut disk.call("rollback", &["--running", "slot-a"]));
    assert!(said.contains("slot-b is not confirmed: it is on trial"), "{said}");
    disk.say("update", &["app/v2"]);
    disk.say("confirm", &[]);
    for said in ["slot-a boots next\n", "slot-a boots next, as before: nothing to do\n"] {
        assert_eq!(disk.say("rollback", &["--running", "slot-b"]), said);
    }
}

#[test]
fn a_disk_that_somebody_looks_at_for_a_moment_is_waited_for() {
    let disk = Disk::of(2);
    let file = std::fs::File::open(&disk.path).expect("opened");
    file.lock_shared().expect("locked, as udev does");
    let look = || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        file.unlock().expect("let go");
    };
    let workers = mkimage::base::parallel::Workers::new(2);
    let (said, ()) = workers.join(|| disk.say("confirm", &[]), look);
    assert!(said.contains("slot-a is confirmed"), "{said}");
}
