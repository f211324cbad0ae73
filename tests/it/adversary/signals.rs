//! Interruptions, and others who do the same at the same time.

use std::process::Child;

use mkimage::base::fs;
use rustix::process::Signal;

use super::{Site, digest};
use crate::tool::succeed;

/// Makes a project with so much to read and write that it can be interrupted.
fn large() -> Site {
    let site = Site::bootable();
    std::fs::create_dir(site.path("data")).expect("a folder");
    // Incompressible, so that every byte reaches the disk; the same in each run.
    let mut bytes = vec![0; 48 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    site.write("data/noise", &bytes);
    let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
    let text = text.replace("  slot_size = \"1MiB\"\n", "");
    let text = format!("{text}\ntree \"data\" {{\n  source = \"data\"\n  path = \"/srv\"\n}}\n");
    site.write("disk.hcl", text.as_bytes());
    site
}

/// Starts a build and sends it a signal once its pack, or its image, has begun to grow.
fn interrupted(site: &Site, signal: Signal, in_image: bool) -> (Option<i32>, String) {
    let names = |below: &str| fs::list(&site.path(below)).unwrap_or_default();
    let grows = || match in_image {
        true => names(".").iter().any(|name| name.to_string_lossy().ends_with(".tmp")),
        false => {
            let packs =
                names("store/tmp").into_iter().map(|name| site.path("store/tmp").join(name).join("pack"));
            packs.filter_map(|pack| pack.metadata().ok()).any(|pack| pack.len() > 1 << 20)
        }
    };
    let output = site.interrupted(&["build", "disk.hcl", "-o", "out.img"], &["out.img"], signal, grows);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_interrupted_build_says_so_and_leaves_nothing() {
    let site = large();
    for (signal, in_image) in
        [(Signal::INT, false), (Signal::TERM, false), (Signal::HUP, true), (Signal::INT, true)]
    {
        let (code, said) = interrupted(&site, signal, in_image);
        assert_eq!(code, Some(130), "{signal:?}, image {in_image}: {said}");
        assert!(said.contains("interrupted") && !said.contains("because"), "{said}");
        assert!(!site.path("out.img").exists());
        site.assert_tidy();
        succeed(&mut site.mkimage(&["refs"]));
    }
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "out.img"]));
}

#[test]
fn what_a_killed_build_left_goes_with_the_next() {
    let site = large();
    for in_image in [false, true] {
        assert_eq!(interrupted(&site, Signal::KILL, in_image).0, None, "image {in_image}");
        succeed(&mut site.mkimage(&["refs"]));
        let place = if in_image { "." } else { "store/tmp" };
        assert!(site.names(place).iter().any(|name| name.ends_with(".tmp") || name.len() == 32));
        let text = std::fs::read_to_string(site.path("disk.hcl")).expect("the recipe");
        succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "out.img"]));
        site.assert_tidy();
        site.write("disk.hcl", text.replace("\"1\"", "\"2\"").as_bytes());
    }
    succeed(&mut site.mkimage(&["inspect", "--verify", "out.img"]));
}

#[test]
fn builds_of_one_output_in_one_store_at_once_all_succeed() {
    let site = Site::bootable();
    succeed(&mut site.mkimage(&["build", "disk.hcl", "-o", "right.img", "--store", "another"]));
    for _ in 0..4 {
        let start = |_| site.mkimage(&["build", "disk.hcl", "-o", "out.img"]).spawn().expect("mkimage");
        let children: Vec<Child> = (0..3).map(start).collect();
        for mut child in children {
            assert!(child.wait().expect("its end").success());
        }
        assert_eq!(digest(&site.path("out.img")), digest(&site.path("right.img")));
        site.assert_tidy();
        for path in ["store", "out.img"].map(|name| site.path(name)) {
            let _ = std::fs::remove_dir_all(&path);
            let _ = std::fs::remove_file(&path);
        }
    }
}
