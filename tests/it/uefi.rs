//! Real boots under UEFI firmware: firmware, loader, UKI, verity, PID 1, app.

use std::path::{Path, PathBuf};

use crate::tool::{hello_image, inspect, kept, mkimage, succeed, tool};

fn copy(image: &Path, name: &str) -> PathBuf {
    let to = kept("images").join(name);
    succeed(&mut tool("cp", ["--sparse=always".as_ref(), image.as_os_str(), to.as_os_str()]));
    to
}

fn fetch(image: &Path, more: &[&str]) -> String {
    let mut command = mkimage(["run".as_ref(), image.as_os_str(), "--accel".as_ref(), "tcg".as_ref()]);
    succeed(command.args(["--fetch", "/"]).args(more))
}

#[test]
fn the_hello_image_boots_and_serves_with_the_environment_it_is_given() {
    let page = fetch(&hello_image(), &["--snapshot", "--env", "GREETING=Good evening from the test"]);
    assert!(page.contains("Good evening from the test"), "{page}");
}

#[test]
fn the_data_partition_grows_at_first_boot_and_stays_sound() {
    let image = copy(&hello_image(), "grown.img");
    let before = data(&image).1;
    let file = std::fs::OpenOptions::new().write(true).open(&image).expect("the image");
    file.set_len(file.metadata().expect("a length").len() + (1 << 30)).expect("a longer disk");
    fetch(&image, &[]);
    let (start, size) = data(&image);
    assert!(size >= before + (1 << 30) - (2 << 20), "the partition has {size} bytes, it had {before}");
    succeed(&mut tool("sgdisk", ["-v".as_ref(), image.as_os_str()]));
    let partition = tempfile::NamedTempFile::new().expect("a file");
    crate::tool::cut(&image, start, size, partition.path());
    // The journal is replayed first where the machine was cut off; then the check must be clean.
    let replay = crate::tool::run(&mut tool("e2fsck", ["-p".as_ref(), partition.path().as_os_str()]));
    assert!(matches!(replay.status.code(), Some(0 | 1)), "{replay:?}");
    let said = succeed(&mut tool("dumpe2fs", ["-h".as_ref(), partition.path().as_os_str()]));
    let blocks = said.lines().find_map(|line| line.strip_prefix("Block count:")).expect("a count");
    let blocks: u64 = blocks.trim().parse().expect("a number");
    assert!(blocks * 4096 >= size - (1 << 20), "the file system has {blocks} blocks, the partition {size} bytes");
}

fn data(image: &Path) -> (u64, u64) {
    let facts = inspect(image);
    let partitions = facts["partitions"].as_array().expect("partitions").clone();
    let data = partitions.iter().find(|partition| partition["name"] == "data").expect("the data partition");
    (data["start_bytes"].as_u64().expect("a start"), data["size_bytes"].as_u64().expect("a size"))
}

#[test]
fn a_whole_system_with_its_own_init_boots() {
    let tar = kept("systemd").join("rootfs.tar");
    if !tar.exists() {
        let made = tar.with_extension("new");
        let packages = "--include=systemd-sysv,dbus";
        let mut command = tool("mmdebstrap", ["--variant=minbase", packages, "--format=tar", "bookworm"]);
        succeed(command.arg(&made));
        std::fs::rename(&made, &tar).expect("renamed");
    }
    let recipe = kept("systemd").join("systemd.hcl");
    std::fs::write(&recipe, SYSTEMD).expect("the recipe");
    let image = kept("images").join("systemd.img");
    succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
    let page = fetch(&image, &["--snapshot", "--memory", "512MiB", "--timeout", "240", "--port", "8080"]);
    assert!(page.contains("systemd is up: running"), "{page}");
}

/// A Debian tree whose systemd starts a socket that answers with its own state.
const SYSTEMD: &str = include_str!("systemd.hcl");

#[test]
fn a_trial_slot_is_blessed_once_it_is_healthy() {
    let image = copy(&hello_image(), "trial.img");
    crate::trial::put_first_slot_on_trial(&image);
    assert_eq!(inspect(&image)["slots"][0]["state"], "trial");
    fetch(&image, &["--until", "slot-a is blessed"]);
    let facts = inspect(&image);
    assert_eq!(facts["slots"][0]["state"], "blessed", "{facts}");
}
