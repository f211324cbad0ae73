//! The child that reads foreign bytes can do nothing else, and what becomes of it is told.

use super::{Site, image};
use crate::tool::{fail_with, mkimage, run, succeed, tool};

#[test]
fn images_that_are_compressed_are_unpacked_and_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    image().whole().write(&path);
    for (program, arguments, suffix) in [("xz", "-1kT2", "xz"), ("zstd", "-qk", "zst"), ("gzip", "-1k", "gz")]
    {
        succeed(tool(program, [arguments]).arg(&path));
        let packed = folder.path().join(format!("disk.img.{suffix}"));
        let said = succeed(&mut mkimage(["same".as_ref(), packed.as_os_str(), path.as_os_str()]));
        assert!(said.starts_with("the same: both hold the commit"), "{said}");
        let bytes = std::fs::read(&packed).expect("packed");
        std::fs::write(&packed, &bytes[..bytes.len() - 9]).expect("written");
        fail_with(6, &mut mkimage(["verify".as_ref(), packed.as_os_str()]));
    }
}

#[test]
fn larger_files_and_parts_of_a_disk_are_the_same_commit_and_others_are_not() {
    let site = Site::new();
    let path = site.build("disk.img");
    let larger = site.path("larger.img");
    std::fs::copy(&path, &larger).expect("copied");
    let length = std::fs::metadata(&larger).expect("there").len();
    std::fs::File::options()
        .write(true)
        .open(&larger)
        .expect("open")
        .set_len(length + (5 << 20))
        .expect("longer");
    let facts = crate::tool::inspect_with(&[], &path);
    for (name, number) in [("esp", 0), ("slot-a", 1)] {
        let partition = &facts["partitions"][number];
        assert_eq!(partition["name"], name);
        let range = ["start_bytes", "size_bytes"].map(|key| partition[key].as_u64().expect("a number"));
        crate::tool::cut(&path, range[0], range[1], &site.path(name));
    }
    for other in ["larger.img", "esp", "slot-a"] {
        let said = succeed(&mut site.mkimage(&["same", "disk.img", other]));
        assert!(said.starts_with("the same: "), "{other}: {said}");
    }
    fail_with(1, &mut site.mkimage(&["same", "esp", "slot-a"]));
    site.write("app", b"#!/bin/sh\necho other\n");
    site.build("other.img");
    let said = run(&mut site.mkimage(&["same", "disk.img", "other.img"]));
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stdout).starts_with("NOT the same: one holds the commit"));
}

#[test]
fn the_child_is_held_by_landlock_seccomp_and_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, log) = (folder.path().join("disk.img"), folder.path().join("log"));
    image().whole().write(&path);
    let mut traced = tool("strace", ["-f", "-o"]);
    traced
        .arg(&log)
        .args(["-e", "trace=landlock_restrict_self,seccomp,prctl,prlimit64,openat,execve,socket"]);
    traced.arg(env!("CARGO_BIN_EXE_mkimage")).arg("verify").arg(&path);
    succeed(&mut traced);
    let log = std::fs::read_to_string(&log).expect("a log");
    let lines: Vec<&str> = log.lines().collect();
    let at = |what: &str| {
        lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {log}"))
    };
    let (landlock, filter) = (at("landlock_restrict_self"), at("_MODE_FILTER"));
    assert!(at("RLIMIT_AS") < landlock && landlock < filter, "{log}");
    let child = lines[filter].split(' ').next().expect("a number");
    let after = lines[filter..].iter().filter(|line| line.starts_with(child));
    let opened: Vec<_> = after
        .filter(|line| (line.contains("openat(") && !line.contains("EACCES")) || line.contains("execve("))
        .collect();
    assert!(opened.is_empty(), "{opened:?}");
}

#[test]
fn a_child_that_is_killed_or_told_nonsense_is_reported_as_such() {
    let said = run(&mut mkimage(["confined-child"]));
    assert!(String::from_utf8_lossy(&said.stdout).contains("not for people"), "{said:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    image().whole().write(&path);
    // The child's threads die at their first write of the answer.
    let mut killed =
        tool("strace", ["-f", "-o", "/dev/null", "-e", "inject=landlock_restrict_self:signal=KILL"]);
    killed.arg(env!("CARGO_BIN_EXE_mkimage")).arg("verify").arg(&path);
    let output = run(&mut killed);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("the confined reader of the image was stopped"), "{said}");
}

#[test]
fn without_landlock_or_seccomp_it_warns_and_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("disk.img");
    image().whole().write(&path);
    let inject = "inject=landlock_create_ruleset:error=ENOSYS";
    let mut without = tool("strace", ["-f", "-o", "/dev/null", "-e", inject]);
    without.arg(env!("CARGO_BIN_EXE_mkimage")).arg("verify").arg(&path);
    let output = run(&mut without);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("goes on without Landlock"), "{said}");
}
