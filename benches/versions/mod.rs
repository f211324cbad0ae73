//! Two versions of a package laid over a tree, as an update brings them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::run;

/// Returns the versions that the mirror has, oldest first.
pub fn of(package: &str) -> Vec<String> {
    let output = Command::new("apt-cache").args(["madison", package]).output().expect("apt-cache runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut versions: Vec<String> =
        text.lines().filter_map(|line| line.split('|').nth(1)).map(|text| text.trim().to_owned()).collect();
    versions.sort_by(|left, right| {
        let is_older = Command::new("dpkg").args(["--compare-versions", left, "lt", right]).status();
        match (left == right, is_older.expect("dpkg runs").success()) {
            (true, _) => std::cmp::Ordering::Equal,
            (_, true) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        }
    });
    versions.dedup();
    versions
}

/// Lays a version of a package over a tree, and tells dpkg's database of it.
pub fn install(scratch: &Path, package: &str, version: &str, tree: &Path) {
    let folder = scratch.join("deb");
    fs::create_dir_all(&folder).expect("made");
    run(Command::new("apt-get").args(["download", &format!("{package}={version}")]).current_dir(&folder));
    let files = mkimage::base::fs::list(&folder).expect("listed");
    let file = folder.join(files.first().expect("one file"));
    run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(tree));
    let control = folder.join("control");
    run(Command::new("dpkg-deb").arg("-e").arg(&file).arg(&control));
    let info = tree.join("var/lib/dpkg/info");
    for name in [format!("{package}.md5sums"), format!("{package}:amd64.md5sums")] {
        if info.join(&name).exists() {
            fs::copy(control.join("md5sums"), info.join(&name)).expect("copied");
        }
    }
    let status = tree.join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).expect("read");
    let mut inside = false;
    let lines = text.lines().map(|line| {
        if let Some(name) = line.strip_prefix("Package: ") {
            inside = name == package;
        }
        if inside && line.starts_with("Version: ") {
            format!("Version: {version}\n")
        } else {
            format!("{line}\n")
        }
    });
    fs::write(&status, lines.collect::<String>()).expect("written");
    fs::remove_dir_all(folder).expect("removed");
}
