//! Bytes that nobody made in good faith.

use super::Project;
use crate::tool::{fail_with, hello_image, mkimage, run};

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

/// Flips bits all over an image: what comes out is an error or a listing, and no panic, whatever was hit.
#[test]
fn a_damaged_image_never_ends_a_verb_badly() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("x.img");
    let sound = std::fs::read(hello_image()).expect("an image");
    let used: Vec<usize> = (0..sound.len()).filter(|&at| sound[at] != 0).collect();
    let (mut read, mut refused) = (0, 0);
    for round in 0..40usize {
        let mut bytes = sound.clone();
        for flip in 0..3 {
            // Half of the flips hit the first mebibytes, where tables and inodes are.
            let among = if flip == 0 { used.len() } else { used.len() / 50 };
            bytes[used[(round * 7919 + flip * 104_729) % among]] ^= 1 << (round % 8);
        }
        std::fs::write(&image, &bytes).expect("written");
        for arguments in [&["ls", "-R"][..], &["du"]] {
            let output = run(mkimage(arguments).arg(&image));
            match output.status.code() {
                Some(0) => read += 1,
                Some(5 | 6) => refused += 1,
                code => panic!("{round}: {code:?} {}", String::from_utf8_lossy(&output.stderr)),
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}

#[test]
fn an_image_that_is_cut_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("x.img");
    let sound = std::fs::read(hello_image()).expect("an image");
    for length in [0, 1, 512, 1024, 34 * 512, 1 << 20, sound.len() / 2, sound.len() - 512] {
        std::fs::write(&image, &sound[..length]).expect("written");
        let output = run(mkimage(["ls"]).arg(&image));
        assert!(matches!(output.status.code(), Some(5 | 6)), "{length}: {}", output.status);
    }
}
