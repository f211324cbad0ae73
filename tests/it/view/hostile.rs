//! Bytes that nobody made in good faith.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Project;
use crate::tool::{fail_with, hello_image, mkimage, run, succeed, tool};

/// Every verb on bytes that are no image ends with an error, soon, and never with a panic.
#[test]
fn garbage_is_refused_by_every_verb() {
    let project = Project::new();
    let mut noise = Vec::new();
    let mut state = 88_172_645_463_325_252u64;
    while noise.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    let mut table = noise.clone();
    table[510..512].copy_from_slice(&[0x55, 0xaa]);
    table[512..520].copy_from_slice(b"EFI PART");
    let mut ext4 = noise.clone();
    ext4[1080..1082].copy_from_slice(&[0x53, 0xef]);
    let mut fat = noise.clone();
    fat[510..512].copy_from_slice(&[0x55, 0xaa]);
    fat[82..87].copy_from_slice(b"FAT32");
    for (name, bytes) in
        [("noise", &noise), ("table", &table), ("ext4", &ext4), ("fat", &fat), ("empty", &Vec::new())]
    {
        std::fs::write(project.path(name), bytes).expect("written");
        let place = format!("./{name}");
        for arguments in [
            &["ls", &place][..],
            &["cat", &place, "/etc/passwd"],
            &["cp", &place, "out"],
            &["tree", &place],
            &["du", &place],
            &["diff", &place, &place],
            &["why", &place, "/etc/passwd"],
            &["checkout", &place, "out"],
            &["mount", &place, "."],
            &["inspect", &place],
            &["inspect", "--dump", &place],
            &["report", &place, "-o", "out"],
            &["sbom", &place],
        ] {
            let output = run(&mut project.call(arguments));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                matches!(output.status.code(), Some(2 | 5 | 6)),
                "{arguments:?}: {} {said}",
                output.status
            );
            assert!(said.starts_with("error: ") && !said.contains("panicked"), "{said}");
        }
        assert!(!project.path("out").exists(), "{name}");
    }
}

#[test]
fn what_is_no_file_is_not_opened() {
    let project = Project::new();
    run(std::process::Command::new("mkfifo").arg(project.path("pipe")));
    for place in ["./pipe", ".", "/dev/null", "/dev/tty"] {
        let said = fail_with(2, &mut project.call(&["ls", place]));
        assert!(said.starts_with("error: "), "{said}");
    }
}

/// Copies the hello image, holes as holes.
fn copy(to: &Path) -> File {
    succeed(
        tool("cp", ["--sparse=always".as_ref(), hello_image().as_os_str(), to.as_os_str()])
            .env("LC_ALL", "C"),
    );
    File::options().read(true).write(true).open(to).expect("opened")
}

/// Flips bits where tables, directories and inodes are: what comes out is an error or a listing, and no panic.
#[test]
fn a_damaged_image_never_ends_a_verb_badly() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("x.img");
    let file = copy(&image);
    let inspected = crate::tool::inspect_with(&[], &image);
    let start = |index: usize| inspected["partitions"][index]["start_bytes"].as_u64().expect("a number");
    // Table; boot sector, map and directories of the boot partition; superblock, inodes and directories of a slot.
    let places = [(0, 34 * 512), (start(0), 1 << 20), (start(1), 1 << 16), (start(1), 4 << 10)];
    let mut state = 88_172_645_463_325_252u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut read, mut refused) = (0, 0);
    for round in 0..60usize {
        let (from, length) = places[round % places.len()];
        let at = from + random(length);
        let mut sound = [0];
        file.read_exact_at(&mut sound, at).expect("read");
        file.write_all_at(&[sound[0] ^ 1 << random(8)], at).expect("written");
        let output = run(mkimage(if round % 2 == 0 { &["ls", "-R"][..] } else { &["du"] }).arg(&image));
        match output.status.code() {
            Some(0) => read += 1,
            Some(5 | 6) => refused += 1,
            code => panic!("{at}: {code:?} {}", String::from_utf8_lossy(&output.stderr)),
        }
        file.write_all_at(&sound, at).expect("written");
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}

#[test]
fn an_image_that_is_cut_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("x.img");
    let file = copy(&image);
    let length = file.metadata().expect("a file").len();
    for length in [length - 512, length / 2, 1 << 20, 34 * 512, 1024, 512, 1, 0] {
        file.set_len(length).expect("cut");
        let output = run(mkimage(["ls"]).arg(&image));
        assert!(matches!(output.status.code(), Some(5 | 6)), "{length}: {}", output.status);
    }
}
