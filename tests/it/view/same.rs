//! A commit, its image and a partition are the same view.

use super::Project;
use crate::tool::{hello_image, mkimage, succeed};

/// Calls mkimage with the store that the hello image was built into.
fn with_image(arguments: &[&str]) -> String {
    succeed(&mut mkimage(arguments))
}

fn image() -> String {
    hello_image().to_string_lossy().into_owned()
}

#[test]
fn an_image_and_its_commit_are_the_same_view() {
    let image = image();
    let inspected: serde_json::Value =
        serde_json::from_str(&with_image(&["inspect", "--json", &image])).expect("JSON");
    let commit = inspected["slots"][0]["commit"].as_str().expect("a commit").to_owned();
    for arguments in [&["ls", "-R", "--json"][..], &["tree"], &["du"], &["du", "--json"]] {
        let of = |place: &str| with_image(&[arguments, &[place]].concat());
        assert_eq!(of(&image), of(&commit), "{arguments:?}");
    }
    for path in ["/app/hello", "/etc/os-release"] {
        let bytes = |place: &str| {
            let output = crate::tool::run(&mut mkimage(["cat", place, path]));
            assert!(output.status.success());
            output.stdout
        };
        assert!(bytes(&image) == bytes(&commit), "{path}");
    }
    with_image(&["diff", &image, &commit]);
    with_image(&["diff", &format!("{image}:slot-a"), &format!("{commit}:/")]);
    with_image(&["diff", &format!("{image}:/etc"), &format!("{commit}:/etc")]);
}

#[test]
fn every_partition_of_an_image_can_be_looked_into() {
    let image = image();
    let esp = with_image(&["ls", "-R", &format!("{image}:esp")]);
    assert!(esp.contains("EFI/BOOT/BOOTX64.EFI") && esp.contains("EFI/Linux/"), "{esp}");
    assert_eq!(with_image(&["ls", &format!("{image}:data:/")]).trim(), "");
    let said = crate::tool::fail_with(5, &mut mkimage(["ls", &format!("{image}:slot-b")]));
    assert!(said.contains("slot-b is empty"), "{said}");
    let said = crate::tool::fail_with(2, &mut mkimage(["ls", &format!("{image}:slot-c")]));
    assert!(said.contains("esp, slot-a, slot-b, data"), "{said}");
    let said = crate::tool::fail_with(2, &mut mkimage(["cat", &format!("{image}:etc/hostname")]));
    assert!(said.contains("write :/etc/hostname"), "{said}");
    let said = crate::tool::fail_with(5, &mut mkimage(["cat", &format!("{image}:/etc/hostnam")]));
    assert!(said.contains("did you mean /etc/hostname?"), "{said}");
}

#[test]
fn a_file_of_the_boot_partition_is_read_in_any_pieces() {
    // The kernel image of the slot is larger than a piece, and lies in one run of clusters.
    let image = image();
    let folder = tempfile::tempdir().expect("a folder");
    let esp = format!("{image}:esp");
    let listed = with_image(&["ls", "-R", &esp]);
    let uki =
        listed.lines().find(|line| line.ends_with(".EFI") && line.contains("Linux")).expect("a kernel image");
    with_image(&["cp", &format!("{esp}:/{uki}"), &folder.path().join("uki").to_string_lossy()]);
    let ours = std::fs::read(folder.path().join("uki")).expect("copied");
    let partition = folder.path().join("esp");
    let inspected: serde_json::Value =
        serde_json::from_str(&with_image(&["inspect", "--json", &image])).expect("JSON");
    let number = |key: &str| inspected["partitions"][0][key].as_u64().expect("a number");
    crate::tool::cut(&hello_image(), number("start_bytes"), number("size_bytes"), &partition);
    let theirs = folder.path().join("theirs");
    let from = format!("::/{uki}");
    succeed(
        crate::tool::tool("mcopy", ["-i".as_ref(), partition.as_os_str(), from.as_ref(), theirs.as_os_str()])
            .env("MTOOLS_SKIP_CHECK", "1"),
    );
    assert!(ours == std::fs::read(theirs).expect("copied"), "mtools reads other bytes");
    let partition = partition.to_string_lossy().into_owned();
    assert_eq!(with_image(&["ls", "-R", &partition]), listed, "a partition in a file of its own");
}

#[test]
fn a_filesystem_that_others_made_is_the_same_view() {
    let project = Project::new();
    project.compose(1);
    let file = project.filesystem("all", "all.ext4");
    let told = project.done(&["ls", "-R", "--json", "all"]);
    assert_eq!(project.done(&["ls", "-R", "--json", &file]), told);
    project.done(&["diff", "all", &file]);
    // Another version of the tree differs in just what differs between the commits.
    project.compose(2);
    let between = project.done_lines(&["diff", "--name-only", "all~1", "all"]);
    assert!(
        between.contains(&"/etc/only-2".to_owned()) && between.contains(&"/srv/again".to_owned()),
        "{between:?}"
    );
    let image = project.filesystem("all", "two.ext4");
    assert_eq!(project.done_lines(&["diff", "--name-only", &file, &image]), between);
    assert_eq!(project.done_lines(&["diff", "--name-only", "all~1", &image]), between);
    let of_etc = project.differs(&["--name-only", &format!("{file}:/etc"), &format!("{image}:/etc")]);
    assert_eq!(of_etc, project.differs(&["--name-only", "all~1:/etc", "all:/etc"]));
    let only = project.differs(&["--stat", &file, &image, "/etc/motd"]);
    assert!(only.contains("files: 1 changed"), "{only}");
    let patch = project.differs(&["-p", &file, &image, "/etc/motd"]);
    assert!(patch.contains("-welcome to 1\n+welcome to 2\n"), "{patch}");
}

#[test]
fn a_ref_never_becomes_a_file_that_lies_about() {
    let project = Project::new();
    project.compose(1);
    std::fs::write(project.path("all"), b"a note").expect("written");
    assert!(project.done(&["ls", "all"]).contains("etc/"));
    let said = project.refused(6, &["ls", "./all"]);
    assert!(said.contains("./all"), "{said}");
    std::fs::remove_file(project.path("all")).expect("removed");
    // What begins like a filesystem is one, and the ref is named by what no file is called.
    project.filesystem("all", "fs");
    std::fs::copy(project.path("fs"), project.path("all")).expect("copied");
    project.done(&["diff", "all", "all~0"]);
    let said = project.refused(5, &["ls", "none.img"]);
    assert!(said.contains("no file of this name"), "{said}");
}

#[test]
fn copies_stay_where_they_are_put() {
    let project = Project::new();
    project.compose(1);
    let file = project.filesystem("all", "all.ext4");
    for (place, name) in [("all".to_owned(), "one"), (file, "two")] {
        project.done(&["cp", &format!("{place}:/etc"), name]);
        assert_eq!(std::fs::read(project.path(name).join("motd")).expect("copied"), b"welcome to 1\n");
        let link = std::fs::read_link(project.path(name).join("out")).expect("a link, not what it leads to");
        assert_eq!(link.to_string_lossy(), "/../../../../etc/passwd");
        // A directory that is there takes it under its own name, and nothing is written over.
        project.refused(1, &["cp", &format!("{place}:/etc/motd"), name]);
        project.done(&["cp", &format!("{place}:/usr/bin/lend"), name]);
        project.refused(1, &["cp", &format!("{place}:/etc"), &format!("{name}/motd")]);
        project.done(&["cp", &format!("{place}:/srv/again"), &format!("{name}.large")]);
        assert!(std::fs::read(project.path(&format!("{name}.large"))).expect("copied") == super::large());
        // A name that is a link on the host is no way out.
        std::os::unix::fs::symlink("/nonexistent/target", project.path(&format!("{name}.link")))
            .expect("a link");
        project.refused(1, &["cp", &format!("{place}:/etc/motd"), &format!("{name}.link")]);
    }
}
