//! Held against the tools of others on the same damaged images: what they call damaged is never sound for us.

use super::{Random, Site, image};
use crate::tool::{cut, inspect_with, mkimage, run, succeed, tool};
use std::path::Path;

/// Where a tool may find fault and we may not, on a fresh image: nowhere. A data partition that was mounted is the
/// machine's own, and is not looked at.
const EXCEPTIONS: &[&str] = &[];

/// Returns which tools find fault with an image.
fn judges(path: &Path, folder: &Path) -> Vec<&'static str> {
    let mut found = Vec::new();
    let table = run(tool("sgdisk", ["-v"]).arg(path));
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    if !table.status.success() || !text.contains("No problems found") {
        found.push("sgdisk");
    }
    for (name, start, size, program) in &parts() {
        let part = folder.join(name);
        cut(path, *start, *size, &part);
        let output = match *program {
            "fsck.fat" => run(tool("fsck.fat", ["-n"]).arg(&part)),
            _ => run(tool("e2fsck", ["-fn"]).arg(&part)),
        };
        if !output.status.success() {
            found.push(program);
        }
    }
    found
}

type Part = (String, u64, u64, &'static str);

/// The partitions of the whole image, and who judges them.
fn parts() -> Vec<Part> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    image().whole().write(&path);
    let facts = inspect_with(&[], &path);
    let partitions = facts["partitions"].as_array().expect("partitions");
    let programs = [("esp", "fsck.fat"), ("slot-a", "e2fsck"), ("data", "e2fsck")];
    let part = |(name, program): (&str, &'static str)| {
        let partition = partitions.iter().find(|one| one["name"] == name).expect("a partition");
        let number = |key: &str| partition[key].as_u64().expect("a number");
        (name.to_owned(), number("start_bytes"), number("size_bytes"), program)
    };
    programs.into_iter().map(part).collect()
}

#[test]
fn the_tools_find_no_fault_with_the_whole_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    image().whole().write(&path);
    assert_eq!(judges(&path, folder.path()), [""; 0]);
}

#[test]
fn what_a_tool_calls_damaged_is_not_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    let used = image().used();
    let bounds: Vec<(u64, u64)> = parts().iter().map(|part| (part.1, part.1 + 64 * 1024)).collect();
    // Where metadata is: the tools don't look at the bytes of files.
    let is_metadata =
        |at: &u64| *at < 1 << 20 || bounds.iter().any(|(start, end)| (start..end).contains(&at));
    let metadata: Vec<u64> = used.into_iter().filter(is_metadata).collect();
    let mut random = Random(4242);
    let mut judged = 0;
    for _ in 0..14 {
        let at = metadata[random.below(metadata.len() as u64) as usize];
        let changed = image().whole().flip(at * 8 + random.below(8));
        changed.write(&path);
        let found = judges(&path, folder.path());
        judged += usize::from(!found.is_empty());
        let sound = changed.verify().is_ok_and(|report| report.sound);
        let excused = found.iter().all(|tool| EXCEPTIONS.contains(tool));
        assert!(!sound || excused, "byte {at}: {found:?} find fault, and we don't");
    }
    assert!(judged > 3, "the tools judged {judged} images damaged");
}

#[test]
fn veritysetup_and_we_agree_on_a_slot() {
    let site = Site::new();
    let path = site.build("disk.img");
    let facts = crate::tool::inspect(&path);
    let slot = &facts["slots"][0];
    let text = |key: &str| slot[key].as_str().expect("a text").to_owned();
    let number = |key: &str| slot[key].as_u64().expect("a number");
    let (start, size) = {
        let partition = &facts["partitions"][1];
        (
            partition["start_bytes"].as_u64().expect("a number"),
            partition["size_bytes"].as_u64().expect("a number"),
        )
    };
    let judge = |image: &Path| {
        let part = site.path("slot");
        cut(image, start, size, &part);
        let mut command = tool("veritysetup", ["verify", "--no-superblock", "--hash=sha256", "--format=1"]);
        command.args(["--data-block-size=4096", "--hash-block-size=4096"]);
        command
            .arg(format!("--salt={}", text("salt")))
            .arg(format!("--data-blocks={}", number("data_blocks")));
        command.arg(format!("--hash-offset={}", number("hash_start_block") * 4096));
        run(command.arg(&part).arg(&part).arg(text("root_hash"))).status.success()
    };
    assert!(judge(&path));
    for block in [0, 3, number("data_blocks") - 1, number("hash_start_block")] {
        let changed = site.path("changed.img");
        std::fs::copy(&path, &changed).expect("copied");
        let file = std::fs::File::options().write(true).open(&changed).expect("open");
        std::os::unix::fs::FileExt::write_all_at(&file, b"?", start + block * 4096 + 99).expect("written");
        let ours = run(&mut mkimage(["verify".as_ref(), changed.as_os_str()])).status.code();
        assert_eq!((judge(&changed), ours), (false, Some(6)), "block {block}");
    }
    succeed(&mut site.mkimage(&["verify", "disk.img"]));
}
