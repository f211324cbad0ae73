//! The hello image before other people's tools.

use std::path::PathBuf;

use crate::tool::{cut, hello_image, inspect, succeed, tool};

struct Cut {
    file: tempfile::NamedTempFile,
}

impl Cut {
    /// Cuts the partition with a name out of the hello image.
    fn partition(name: &str) -> Cut {
        let image = hello_image();
        let facts = inspect(&image);
        let partitions = facts["partitions"].as_array().expect("partitions");
        let partition = partitions.iter().find(|partition| partition["name"] == name).expect("the partition");
        let number = |key: &str| partition[key].as_u64().expect("a number");
        let file = tempfile::NamedTempFile::new().expect("a file");
        cut(&image, number("start_bytes"), number("size_bytes"), file.path());
        Cut { file }
    }

    fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }
}

#[test]
fn sgdisk_and_sfdisk_find_no_problem() {
    let image = hello_image();
    let said = succeed(&mut tool("sgdisk", ["-v".as_ref(), image.as_os_str()]));
    assert!(said.contains("No problems found"), "{said}");
    succeed(&mut tool("sfdisk", ["--verify".as_ref(), image.as_os_str()]));
}

#[test]
fn e2fsck_finds_the_slot_and_the_data_partition_clean() {
    for name in ["slot-a", "data"] {
        let partition = Cut::partition(name);
        let mut check = tool("e2fsck", ["-fn".as_ref(), partition.path().as_os_str()]);
        succeed(&mut check);
    }
}

#[test]
fn fsck_fat_finds_the_esp_clean() {
    let partition = Cut::partition("esp");
    let said = succeed(&mut tool("fsck.fat", ["-n".as_ref(), partition.path().as_os_str()]));
    assert!(!said.contains("bad") && !said.contains("rror") && !said.contains("differ"), "{said}");
}

#[test]
fn veritysetup_verifies_the_slot_with_the_root_hash_of_inspect() {
    let facts = inspect(&hello_image());
    let slot = &facts["slots"][0];
    let text = |key: &str| slot[key].as_str().expect("a text").to_owned();
    let number = |key: &str| slot[key].as_u64().expect("a number");
    let partition = Cut::partition("slot-a");
    let arguments = |root_hash: String| {
        vec![
            "verify".to_owned(),
            "--no-superblock".to_owned(),
            format!("--data-blocks={}", number("data_blocks")),
            format!("--hash-offset={}", number("hash_start_block") * 4096),
            "--data-block-size=4096".to_owned(),
            "--hash-block-size=4096".to_owned(),
            "--hash=sha256".to_owned(),
            format!("--salt={}", text("salt")),
            partition.path().display().to_string(),
            partition.path().display().to_string(),
            root_hash,
        ]
    };
    succeed(&mut tool("veritysetup", arguments(text("root_hash"))));
    let wrong = "0".repeat(64);
    let output = crate::tool::run(&mut tool("veritysetup", arguments(wrong)));
    assert!(!output.status.success(), "veritysetup took a wrong root hash");
}

#[test]
fn systemd_dissect_reads_the_image() {
    let image = hello_image();
    succeed(&mut tool("systemd-dissect", ["--json=short".as_ref(), image.as_os_str()]));
}

#[test]
fn a_fresh_image_is_small() {
    use std::os::unix::fs::MetadataExt;
    let image = hello_image();
    let allocated = std::fs::metadata(&image).expect("an image").blocks() * 512;
    assert!(allocated <= 24_000_000, "{allocated} bytes are allocated, at most 24 MB may be");
    let packed = tempfile::NamedTempFile::new().expect("a file");
    let mut xz = tool("xz", ["-9".as_ref(), "-T1".as_ref(), "--stdout".as_ref(), image.as_os_str()]);
    let status =
        xz.stdout(packed.reopen().expect("a file")).status().expect("xz is installed by `make test`");
    assert!(status.success(), "xz: {status}");
    let length = packed.path().metadata().expect("a file").len();
    assert!(length <= 12_000_000, "{length} bytes as an xz file, at most 12 MB may be");
}
