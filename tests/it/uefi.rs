//! Real boots under UEFI firmware: firmware, loader, UKI, verity, PID 1, app.

use std::path::{Path, PathBuf};

use crate::tool::{hello_image, inspect, inspect_with, kept, mkimage, root, succeed, tool};
use crate::trial::{damage_second_slot, install_second_slot};

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
    assert!(
        blocks * 4096 >= size - (1 << 20),
        "the file system has {blocks} blocks, the partition {size} bytes"
    );
}

fn data(image: &Path) -> (u64, u64) {
    let facts = inspect(image);
    let partitions = facts["partitions"].as_array().expect("partitions").clone();
    let data = partitions.iter().find(|partition| partition["name"] == "data").expect("the data partition");
    (data["start_bytes"].as_u64().expect("a start"), data["size_bytes"].as_u64().expect("a size"))
}

#[test]
fn a_whole_system_with_its_own_init_boots() {
    let packages = "systemd-sysv,dbus,udev";
    let folder = kept(&format!("systemd-{packages}"));
    let tar = folder.join("rootfs.tar");
    if !tar.exists() {
        let made = folder.join("rootfs.new.tar");
        let include = format!("--include={packages}");
        let mut command = tool("mmdebstrap", ["--variant=minbase", &include, "--format=tar", "bookworm"]);
        succeed(command.arg(&made));
        mkimage::base::fs::rename(&made, &tar).expect("renamed");
    }
    let recipe = folder.join("systemd.hcl");
    std::fs::write(&recipe, SYSTEMD).expect("the recipe");
    let image = kept("images").join("systemd.img");
    succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
    let token = folder.join("token");
    std::fs::write(&token, "a systemd credential").expect("written");
    let (greeting, token) = ("GREETING=a \"quoted\" $value", format!("token={}", token.display()));
    let mut told = vec!["--env", greeting, "--credential", &token];
    told.extend(["--snapshot", "--memory", "512MiB", "--timeout", "240", "--port", "8080"]);
    let page = fetch(&image, &told);
    assert!(page.contains("systemd is up: running"), "{page}");
    assert!(page.contains("variable: a \"quoted\" $value\n"), "{page}");
    assert!(
        page.contains("credential: a systemd credential\n") && page.contains("seen by all: 600\n"),
        "{page}"
    );
}

/// A Debian tree whose systemd starts a socket that answers with its own state.
const SYSTEMD: &str = include_str!("systemd.hcl");

#[test]
fn a_second_slot_on_trial_boots_and_is_blessed_once_it_is_healthy() {
    let image = copy(&hello_image(), "trial.img");
    install_second_slot(&image, 3);
    let before = inspect(&image);
    assert_eq!((&before["slots"][1]["state"], &before["next"]["slot"]), (&"trial".into(), &"slot-b".into()));
    judge_slots(&image);
    fetch(&image, &["--until", "slot-b blessed"]);
    let after = inspect(&image);
    assert_eq!(after["slots"][1]["state"], "blessed", "{after}");
    assert_eq!(after["slots"][0]["state"], "blessed", "{after}");
    judge_slots(&image);
}

/// Lets the checkers of both file systems look at each slot and at the ESP.
fn judge_slots(image: &Path) {
    let facts = inspect(image);
    for partition in facts["partitions"].as_array().expect("partitions") {
        let checker = match partition["name"].as_str().expect("a name") {
            "esp" => ("fsck.fat", "-n"),
            "slot-a" | "slot-b" => ("e2fsck", "-fn"),
            _ => continue,
        };
        let file = tempfile::NamedTempFile::new().expect("a file");
        let number = |key: &str| partition[key].as_u64().expect("a number");
        crate::tool::cut(image, number("start_bytes"), number("size_bytes"), file.path());
        succeed(&mut tool(checker.0, [checker.1.as_ref(), file.path().as_os_str()]));
    }
}

#[test]
fn with_systemd_boot_a_trial_is_counted_and_blessed_in_the_directory_sector() {
    crate::tool::hello_app();
    let folder = root().join("recipes/hello");
    let text = std::fs::read_to_string(folder.join("hello.hcl")).expect("the recipe");
    let recipe = kept("images").join("systemd-boot.hcl");
    let app = folder.join("target").to_string_lossy().into_owned();
    let text = text.replace("\"target", &format!("\"{app}"));
    std::fs::write(&recipe, format!("{text}\nboot {{\n  loader = \"systemd-boot\"\n}}\n")).expect("written");
    let image = kept("images").join("systemd-boot.img");
    succeed(&mut mkimage(["build".as_ref(), recipe.as_os_str(), "-o".as_ref(), image.as_os_str()]));
    assert_eq!(inspect(&image)["slots"][0]["file"], "g1.efi");
    install_second_slot(&image, 3);
    judge_slots(&image);
    fetch(&image, &["--until", "slot-b blessed"]);
    let after = inspect(&image);
    assert_eq!((&after["layout"], &after["slots"][1]["file"]), (&1.into(), &"g2.efi".into()), "{after}");
    judge_slots(&image);
}

#[test]
fn a_slot_that_can_not_boot_gives_way_to_the_one_before() {
    let image = copy(&hello_image(), "broken.img");
    install_second_slot(&image, 1);
    damage_second_slot(&image);
    fetch(&image, &[]);
    let facts = inspect_with(&[], &image);
    assert_eq!(facts["slots"][1]["tries_left"], 0, "{facts}");
    assert_eq!(facts["next"]["slot"], "slot-a", "{facts}");
}
