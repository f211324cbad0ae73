//! Outputs that can't be one, images that are none, images with flipped bits.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::{Site, digest};
use crate::tool::{fail_with, run, succeed, tool};

#[test]
fn an_output_that_can_not_be_one_is_refused_before_any_work() {
    let site = Site::bootable();
    std::fs::create_dir(site.path("folder")).expect("a folder");
    succeed(&mut tool("mkfifo", [site.path("fifo")]));
    let cases = [
        ("folder", "it is a directory"),
        ("..", "it is a directory"),
        ("fifo", "it is no file"),
        ("/dev/null", "copy that onto the device"),
        ("missing/disk.img", "there is no such folder"),
        ("app/disk.img", "there is no such folder"),
    ];
    for (output, reason) in cases {
        let said = fail_with(2, &mut site.mkimage(&["build", "disk.hcl", "-o", output]));
        assert!(said.contains(&format!("to {output}: ")) && said.contains(reason), "{said}");
    }
    assert!(!site.path("store").exists(), "work was done");
    fail_with(1, &mut site.mkimage(&["fmt", "folder"]));
    assert!(!std::path::Path::new("/dev/null").is_file());
}

#[test]
fn the_right_image_is_left_alone_also_without_the_store() {
    let site = Site::bootable();
    let build = ["build", "disk.hcl", "-o", "disk.img"];
    let said = || String::from_utf8_lossy(&run(&mut site.mkimage(&build)).stderr).into_owned();
    assert!(said().starts_with("wrote disk.img: disk "));
    let stamp = || {
        let metadata = site.path("disk.img").metadata().expect("an image");
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    };
    let (before, right) = (stamp(), digest(&site.path("disk.img")));
    assert!(said().starts_with("unchanged: disk.img: "));
    std::fs::remove_dir_all(site.path("store")).expect("removed");
    assert!(said().starts_with("unchanged: disk.img: "));
    let json = succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img", "--json"]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("JSON")["changed"], false);
    assert_eq!(stamp(), before);
    // One bit that another tool flipped, with length and time stamp as they were, is seen and set right.
    let image = std::fs::OpenOptions::new().write(true).open(site.path("disk.img")).expect("an image");
    image.write_all_at(b"X", 3 << 20).expect("written");
    drop(image);
    let touch = ["-d".to_owned(), format!("@{}.{:09}", before.1, before.2)];
    succeed(tool("touch", touch).arg(site.path("disk.img")));
    assert!(said().starts_with("wrote disk.img: "));
    assert_eq!(digest(&site.path("disk.img")), right);
}

#[test]
fn odd_names_and_links_are_outputs_like_others() {
    let site = Site::bootable();
    let long = "n".repeat(255);
    let names: [&[u8]; 4] = [long.as_bytes(), b"line\nend \x01\xff.img", b"-dash.img", "é ü.img".as_bytes()];
    let mut digests = Vec::new();
    for name in names {
        let path = site.folder.path().join(std::ffi::OsStr::from_bytes(name));
        succeed(site.mkimage(&["build", "disk.hcl", "-o"]).arg(&path));
        digests.push(digest(&path));
        succeed(site.mkimage(&["inspect", "--verify"]).arg(&path));
        std::fs::remove_file(&path).expect("removed");
    }
    site.write("real.img", b"before");
    std::os::unix::fs::symlink("real.img", site.path("link.img")).expect("a link");
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "link.img"]));
    assert!(site.path("link.img").is_symlink());
    digests.push(digest(&site.path("real.img")));
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    site.assert_tidy();
}

#[test]
fn what_is_no_image_is_named_by_inspect_and_run() {
    let site = Site::new();
    succeed(&mut tool("mkfifo", [site.path("fifo")]));
    site.write("empty", b"");
    site.write("zeros", &vec![0; 1 << 20]);
    for name in ["fifo", ".", "/dev/null", "empty", "small.hcl", "zeros"] {
        for verb in [&["inspect"][..], &["inspect", "--dump"], &["run"], &["inspect", "--json"]] {
            let said = fail_with(6, site.mkimage(verb).arg(name));
            assert!(said.contains(name), "{verb:?}: {said}");
        }
    }
    for verb in ["inspect", "run"] {
        assert!(fail_with(5, &mut site.mkimage(&[verb, "nothing"])).contains("nothing"));
    }
}

#[test]
fn flipped_bits_and_cut_ends_neither_crash_nor_hang_inspect() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "disk.img"]));
    let path = site.path("disk.img");
    let image = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("an image");
    let size = image.metadata().expect("an image").len();
    let facts = succeed(&mut site.mkimage(&["inspect", "--json", "disk.img"]));
    let facts: serde_json::Value = serde_json::from_str(&facts).expect("JSON");
    let starts: Vec<u64> = facts["partitions"]
        .as_array()
        .expect("partitions")
        .iter()
        .map(|partition| partition["start_bytes"].as_u64().expect("a start"))
        .collect();
    // Where structure is: both partition tables, the beginnings of partitions, the ESP's files.
    let mut places = vec![(0, 17_408), (size - 17_408, 17_408), (starts[0], 2 << 20)];
    places.extend(starts.iter().map(|start| (*start, 8192)));
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut next = |limit: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % limit
    };
    for round in 0..300 {
        let (start, length) = places[round % places.len()];
        let mut before = Vec::new();
        for _ in 0..=next(3) {
            let at = start + next(length);
            let mut byte = [0];
            image.read_exact_at(&mut byte, at).expect("read");
            before.push((at, byte));
            let byte = if next(2) == 0 { byte[0] ^ 1 << next(8) } else { next(256) as u8 };
            image.write_all_at(&[byte], at).expect("written");
        }
        let verb: &[&str] = match round % 4 {
            0 => &["inspect", "--dump", "disk.img"],
            1 => &["inspect", "--verify", "disk.img"],
            _ => &["inspect", "--json", "disk.img"],
        };
        let output = run(&mut site.through("timeout", &["-s", "KILL", "60"], verb));
        let code = output.status.code();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(code, Some(0 | 6)), "{code:?} after {before:?}: {said}");
        assert!(code == Some(0) || said.contains("disk.img") || verb.contains(&"--verify"), "{said}");
        for (at, byte) in before.into_iter().rev() {
            image.write_all_at(&byte, at).expect("written");
        }
    }
    succeed(&mut site.mkimage(&["inspect", "--verify", "disk.img"]));
    for cut in [0, 1, 511, 512, 1024, 17_408, 1 << 20, starts[1] + 5000, size - 512, size - 1] {
        image.set_len(cut).expect("cut");
        let said = fail_with(6, &mut site.mkimage(&["inspect", "disk.img"]));
        assert!(said.contains("disk.img"), "{said}");
        image.set_len(size).expect("longer");
        fail_with(6, &mut site.mkimage(&["inspect", "disk.img"]));
    }
}
