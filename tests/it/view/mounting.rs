//! A mount is what a checkout is. These tests need `/dev/fuse` and root, as CI has them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::Project;
use crate::tool::{self, run, succeed, tool};

/// The epoch of images that name none: 1980-01-01.
const EPOCH: i64 = 315_532_800;

/// A mounted view; ended by an interruption, as Ctrl-C sends it.
struct Mount {
    child: Option<Child>,
    at: PathBuf,
}

impl Mount {
    fn new(project: &Project, place: &str, name: &str) -> Mount {
        let at = project.path(name);
        std::fs::create_dir(&at).expect("a folder");
        let mut command = project.call(&["mount", place, name]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started");
        let mount = Mount { child: Some(child), at };
        for _ in 0..600 {
            if mount.is_there() {
                return mount;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{place} is not mounted after 30 s: are /dev/fuse and root there?");
    }

    fn is_there(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("proc");
        mounts.lines().any(|line| line.split(' ').nth(1) == self.at.to_str() && line.contains("fuse"))
    }

    /// Interrupts it and returns its exit code.
    fn end(mut self) -> Option<i32> {
        tool::signal(self.child.as_ref().expect("a child"), rustix::process::Signal::INT);
        let status = self.wait();
        assert!(!self.is_there(), "it is still mounted");
        status.code()
    }

    fn wait(&mut self) -> ExitStatus {
        let status = tool::ends(self.child.as_mut().expect("a child"), Duration::from_secs(60));
        self.child = None;
        status
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = run(&mut tool("umount", ["-l".as_ref(), self.at.as_os_str()]));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a directory of the host holds: by path, all that `lstat` says but numbers of inodes, and attributes.
fn listing(folder: &Path) -> BTreeMap<String, String> {
    let listed = succeed(
        Command::new("find").arg(".").args(["-printf", "%P\t%y %m %U:%G %n %l\n"]).current_dir(folder),
    );
    let mut found = BTreeMap::new();
    for line in listed.lines() {
        let (path, facts) = line.split_once('\t').expect("two fields");
        let at = folder.join(path);
        let metadata = std::fs::symlink_metadata(&at).expect("an entry");
        let size = if metadata.is_file() || metadata.is_symlink() { metadata.len() } else { 0 };
        // Sub-directories count in a directory's links, and what a host thinks of that is its own.
        let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
        found.insert(path.to_owned(), format!("{facts} {size} {links} {}", metadata.rdev()));
    }
    found
}

fn attributes(folder: &Path) -> String {
    succeed(Command::new("getfattr").args(["-R", "-h", "-d", "-m", "-", "."]).current_dir(folder))
}

/// Demands that two directories are the same: names, kinds, modes, owners, links, attributes, bytes.
fn same(one: &Path, other: &Path) {
    let strip = |listing: BTreeMap<String, String>| -> BTreeMap<String, String> {
        // A directory's number of links stands among what find prints.
        let one = |(path, facts): (String, String)| match facts.strip_prefix("d ") {
            Some(facts) => {
                let words: Vec<&str> = facts.split(' ').collect();
                (path, format!("d {} {}", words[0], words[1]))
            }
            None => (path, facts),
        };
        listing.into_iter().map(one).collect()
    };
    assert_eq!(strip(listing(one)), strip(listing(other)));
    assert_eq!(attributes(one), attributes(other));
    // Devices and pipes are no files to be read: what they are was compared above.
    let files = succeed(Command::new("find").args([".", "-type", "f", "-print"]).current_dir(one));
    for file in files.lines() {
        let [one, other] = [one, other].map(|folder| std::fs::read(folder.join(file)).expect("read"));
        assert!(one == other, "{file} differs");
    }
}

#[test]
fn a_mount_is_what_a_checkout_is() {
    let project = Project::new();
    project.compose(1);
    project.done(&["checkout", "all", "out"]);
    let file = project.filesystem("all", "all.ext4");
    for (place, name) in [("all", "of-commit"), (file.as_str(), "of-filesystem")] {
        let mount = Mount::new(&project, place, name);
        same(&mount.at, &project.path("out"));
        if place == "all" {
            for path in ["", "etc/motd", "srv/large", "etc/link", "dev/null"] {
                let time = std::fs::symlink_metadata(mount.at.join(path)).expect("an entry").mtime();
                assert_eq!(time, EPOCH, "{path}");
            }
        }
        let [one, again] = ["large", "again"].map(|name| mount.at.join("srv").join(name));
        let inode = |path: &Path| std::fs::metadata(path).expect("a file").ino();
        assert_eq!(inode(&one), inode(&again), "a hard link is one inode");
        let written = std::fs::write(mount.at.join("etc/motd"), b"x").expect_err("read-only");
        assert_eq!(written.raw_os_error(), Some(30), "EROFS, not {written}");
        assert!(std::fs::create_dir(mount.at.join("new")).is_err());
        assert_eq!(mount.end(), Some(130));
    }
}

#[test]
fn a_path_of_an_image_is_mounted_and_unmounted_from_outside() {
    let project = Project::new();
    project.compose(1);
    let mut mount = Mount::new(&project, "all:/srv", "part");
    let names: Vec<_> = succeed(Command::new("ls").arg(&mount.at)).lines().map(str::to_owned).collect();
    assert_eq!(names, ["again", "large"]);
    let open = std::fs::File::open(mount.at.join("large")).expect("opened");
    drop(open);
    succeed(&mut tool("umount", [mount.at.as_os_str()]));
    let status = mount.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn a_mount_with_an_open_file_ends_nevertheless() {
    let project = Project::new();
    project.compose(1);
    let mount = Mount::new(&project, "all", "busy");
    let _open = std::fs::File::open(mount.at.join("srv/large")).expect("opened");
    assert_eq!(mount.end(), Some(130));
}

#[test]
fn where_nothing_can_be_mounted_is_said() {
    let project = Project::new();
    project.compose(1);
    let said = project.refused(5, &["mount", "all", "nowhere"]);
    assert!(said.contains("no directory") && said.contains("mkdir"), "{said}");
    std::fs::create_dir(project.path("at")).expect("a folder");
    project.refused(5, &["mount", "all:/none", "at"]);
}
